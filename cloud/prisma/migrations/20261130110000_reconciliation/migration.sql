-- CreateTable
CREATE TABLE "slot_days" (
    "node_id" UUID NOT NULL,
    "slot_number" INTEGER NOT NULL,
    "day" TIMESTAMPTZ(3) NOT NULL,
    "organization_id" UUID NOT NULL,
    "reported_at" TIMESTAMPTZ(3) NOT NULL,
    "oldest_pending" TIMESTAMPTZ(3),
    "imei" TEXT,
    "interface" TEXT,
    "driver" TEXT,
    "relayed_up" BIGINT NOT NULL,
    "relayed_down" BIGINT NOT NULL,
    "committed_up" BIGINT NOT NULL,
    "committed_down" BIGINT NOT NULL,
    "carried_up" BIGINT,
    "carried_down" BIGINT,
    "packets_up" BIGINT NOT NULL,
    "packets_down" BIGINT NOT NULL,
    "own_up" BIGINT NOT NULL,
    "own_down" BIGINT NOT NULL,
    "unseen_up" BIGINT NOT NULL,
    "unseen_down" BIGINT NOT NULL,
    "unattributed_up" BIGINT NOT NULL,
    "unattributed_down" BIGINT NOT NULL,
    "crashes" INTEGER NOT NULL,
    "resets" INTEGER NOT NULL,
    "ledger_up" BIGINT NOT NULL DEFAULT 0,
    "ledger_down" BIGINT NOT NULL DEFAULT 0,
    "difference" BIGINT NOT NULL DEFAULT 0,
    "state" TEXT NOT NULL DEFAULT 'waiting',
    "cause" TEXT,
    "judged_at" TIMESTAMPTZ(3),

    CONSTRAINT "slot_days_pkey" PRIMARY KEY ("node_id","slot_number","day")
);

-- CreateTable
CREATE TABLE "alerts" (
    "id" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "node_id" UUID,
    "key" TEXT NOT NULL,
    "code" TEXT NOT NULL,
    "severity" TEXT NOT NULL,
    "cause" TEXT NOT NULL,
    "subject_kind" TEXT NOT NULL,
    "subject_id" TEXT NOT NULL,
    "details" JSONB NOT NULL DEFAULT '{}',
    "since" TIMESTAMPTZ(3) NOT NULL,
    "updated_at" TIMESTAMPTZ(3) NOT NULL,
    "resolved_at" TIMESTAMPTZ(3),

    CONSTRAINT "alerts_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "slot_days_day_idx" ON "slot_days"("day");

-- CreateIndex
CREATE INDEX "slot_days_organization_id_idx" ON "slot_days"("organization_id");

-- CreateIndex
CREATE UNIQUE INDEX "alerts_key_key" ON "alerts"("key");

-- CreateIndex
CREATE INDEX "alerts_organization_id_since_idx" ON "alerts"("organization_id", "since");

-- CreateIndex
CREATE INDEX "alerts_node_id_idx" ON "alerts"("node_id");

-- AddForeignKey
ALTER TABLE "slot_days" ADD CONSTRAINT "slot_days_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "slot_days" ADD CONSTRAINT "slot_days_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "nodes"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "alerts" ADD CONSTRAINT "alerts_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "alerts" ADD CONSTRAINT "alerts_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "nodes"("id") ON DELETE CASCADE ON UPDATE CASCADE;


-- Not in Prisma's schema: what one node's slots have in the ledger on a few days is asked with each of its reports.
CREATE INDEX usage_rollups_daily_node_day ON usage_rollups_daily (node_key, day);
