-- Quotas of credentials, and what of them is lent to which node.

-- CreateTable
CREATE TABLE "quotas" (
    "id" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "credential_id" UUID NOT NULL,
    "bytes" BIGINT NOT NULL,
    "period" TEXT NOT NULL,
    "billing_day" INTEGER,
    "period_start" TIMESTAMPTZ(3) NOT NULL,
    "used" BIGINT NOT NULL DEFAULT 0,
    "set_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "quotas_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "quota_leases" (
    "quota_id" UUID NOT NULL,
    "node_id" UUID NOT NULL,
    "epoch" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "spent" BIGINT NOT NULL,
    "counted" BIGINT NOT NULL,
    "allowed" BIGINT NOT NULL,
    "serial" BIGINT NOT NULL,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,
    "reclaimed" BOOLEAN NOT NULL DEFAULT false,
    "opened_spent" BIGINT NOT NULL,
    "opened_ledger" BIGINT NOT NULL,

    CONSTRAINT "quota_leases_pkey" PRIMARY KEY ("quota_id","node_id","epoch")
);

-- CreateIndex
CREATE UNIQUE INDEX "quotas_credential_id_key" ON "quotas"("credential_id");

-- CreateIndex
CREATE INDEX "quotas_organization_id_idx" ON "quotas"("organization_id");

-- CreateIndex
CREATE INDEX "quota_leases_organization_id_idx" ON "quota_leases"("organization_id");

-- CreateIndex
CREATE INDEX "quota_leases_node_id_idx" ON "quota_leases"("node_id");

-- AddForeignKey
ALTER TABLE "quotas" ADD CONSTRAINT "quotas_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "quotas" ADD CONSTRAINT "quotas_credential_id_fkey" FOREIGN KEY ("credential_id") REFERENCES "credentials"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "quota_leases" ADD CONSTRAINT "quota_leases_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "quota_leases" ADD CONSTRAINT "quota_leases_quota_id_fkey" FOREIGN KEY ("quota_id") REFERENCES "quotas"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "quota_leases" ADD CONSTRAINT "quota_leases_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "nodes"("id") ON DELETE CASCADE ON UPDATE CASCADE;
