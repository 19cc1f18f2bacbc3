-- Rotations as asked for and as told, secret links that ask for them, schedules that are part of desired states.

-- CreateTable
CREATE TABLE "rotations" (
    "id" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "node_id" UUID NOT NULL,
    "slot_number" INTEGER NOT NULL,
    "asked_for" TEXT NOT NULL,
    "asked_by_id" UUID,
    "asked_at" TIMESTAMPTZ(3) NOT NULL,
    "deadline_at" TIMESTAMPTZ(3),
    "ended_at" TIMESTAMPTZ(3),
    "outcome" TEXT,
    "reason" TEXT NOT NULL DEFAULT '',
    "method" TEXT,
    "old_address" TEXT,
    "new_address" TEXT,
    "took_ms" INTEGER,
    "attempts" INTEGER,
    "carrier" TEXT,
    "retry_after_ms" INTEGER,

    CONSTRAINT "rotations_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "rotation_links" (
    "id" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "node_id" UUID NOT NULL,
    "slot_number" INTEGER NOT NULL,
    "name" TEXT NOT NULL,
    "token_hash" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "created_by_id" UUID NOT NULL,
    "revoked_at" TIMESTAMPTZ(3),
    "last_used_at" TIMESTAMPTZ(3),

    CONSTRAINT "rotation_links_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "rotation_schedules" (
    "node_id" UUID NOT NULL,
    "slot_number" INTEGER NOT NULL,
    "organization_id" UUID NOT NULL,
    "schedule" JSONB NOT NULL,
    "set_at" TIMESTAMPTZ(3) NOT NULL,
    "set_by_id" UUID NOT NULL,

    CONSTRAINT "rotation_schedules_pkey" PRIMARY KEY ("node_id","slot_number")
);

-- CreateIndex
CREATE INDEX "rotations_node_id_slot_number_asked_at_idx" ON "rotations"("node_id", "slot_number", "asked_at");

-- CreateIndex
CREATE INDEX "rotations_organization_id_idx" ON "rotations"("organization_id");

-- CreateIndex
CREATE UNIQUE INDEX "rotation_links_token_hash_key" ON "rotation_links"("token_hash");

-- CreateIndex
CREATE INDEX "rotation_links_organization_id_idx" ON "rotation_links"("organization_id");

-- CreateIndex
CREATE INDEX "rotation_links_node_id_idx" ON "rotation_links"("node_id");

-- CreateIndex
CREATE INDEX "rotation_schedules_organization_id_idx" ON "rotation_schedules"("organization_id");

-- AddForeignKey
ALTER TABLE "rotations" ADD CONSTRAINT "rotations_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "rotations" ADD CONSTRAINT "rotations_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "nodes"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "rotation_links" ADD CONSTRAINT "rotation_links_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "rotation_links" ADD CONSTRAINT "rotation_links_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "nodes"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "rotation_schedules" ADD CONSTRAINT "rotation_schedules_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "rotation_schedules" ADD CONSTRAINT "rotation_schedules_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "nodes"("id") ON DELETE CASCADE ON UPDATE CASCADE;
