-- Firmware profiles that operators ship to nodes, part of every desired state.

-- CreateTable
CREATE TABLE "shipped_profiles" (
    "profile_id" TEXT NOT NULL,
    "organization_id" UUID NOT NULL,
    "profile" JSONB NOT NULL,
    "set_at" TIMESTAMPTZ(3) NOT NULL,
    "set_by_id" UUID NOT NULL,

    CONSTRAINT "shipped_profiles_pkey" PRIMARY KEY ("profile_id")
);

-- CreateIndex
CREATE INDEX "shipped_profiles_organization_id_idx" ON "shipped_profiles"("organization_id");

-- AddForeignKey
ALTER TABLE "shipped_profiles" ADD CONSTRAINT "shipped_profiles_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
