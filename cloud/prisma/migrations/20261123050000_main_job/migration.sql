-- CreateSchema
CREATE SCHEMA IF NOT EXISTS "public";

-- CreateTable
CREATE TABLE "audit_entries" (
    "id" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "actor_kind" TEXT NOT NULL,
    "actor_id" UUID,
    "action" TEXT NOT NULL,
    "subject_kind" TEXT NOT NULL,
    "subject_id" TEXT NOT NULL,
    "details" JSONB NOT NULL DEFAULT '{}',

    CONSTRAINT "audit_entries_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "claims" (
    "id" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "code_hash" TEXT NOT NULL,
    "node_name" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "created_by_id" UUID,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,
    "used_at" TIMESTAMPTZ(3),
    "node_id" UUID,

    CONSTRAINT "claims_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "nodes" (
    "id" UUID NOT NULL,
    "key" BIGSERIAL NOT NULL,
    "organization_id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "hostname" TEXT NOT NULL,
    "public_key" BYTEA NOT NULL,
    "agent_version" TEXT NOT NULL,
    "enrolled_at" TIMESTAMPTZ(3) NOT NULL,
    "retired_at" TIMESTAMPTZ(3),
    "last_seen_at" TIMESTAMPTZ(3),
    "consent_text_version" TEXT NOT NULL,
    "consent_accepted_by" TEXT NOT NULL,
    "consent_at" TIMESTAMPTZ(3) NOT NULL,
    "running_revision" INTEGER NOT NULL DEFAULT 0,
    "running_hash" TEXT,
    "reported_revision" INTEGER,
    "reported_outcome" TEXT,
    "reported_problems" JSONB NOT NULL DEFAULT '[]',
    "reported_at" TIMESTAMPTZ(3),

    CONSTRAINT "nodes_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "slots" (
    "id" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "node_id" UUID NOT NULL,
    "number" INTEGER NOT NULL,
    "usb_path" TEXT NOT NULL,
    "interface" TEXT,
    "source_address" TEXT,
    "state" TEXT NOT NULL,
    "reason" TEXT NOT NULL DEFAULT '',
    "state_since" TIMESTAMPTZ(3) NOT NULL,
    "exit_address" TEXT,
    "modem_id" UUID,
    "model" TEXT,
    "firmware" TEXT,
    "virtual" BOOLEAN NOT NULL,
    "last_seen_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "slots_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "modems" (
    "id" UUID NOT NULL,
    "key" BIGSERIAL NOT NULL,
    "organization_id" UUID NOT NULL,
    "imei" TEXT NOT NULL,
    "model" TEXT,
    "firmware" TEXT,
    "virtual" BOOLEAN NOT NULL,
    "first_seen_at" TIMESTAMPTZ(3) NOT NULL,
    "last_seen_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "modems_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "modem_addresses" (
    "id" UUID NOT NULL,
    "organization_id" UUID NOT NULL,
    "slot_id" UUID NOT NULL,
    "modem_id" UUID,
    "address" TEXT NOT NULL,
    "since" TIMESTAMPTZ(3) NOT NULL,
    "until" TIMESTAMPTZ(3),

    CONSTRAINT "modem_addresses_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "endpoints" (
    "id" UUID NOT NULL,
    "key" BIGSERIAL NOT NULL,
    "organization_id" UUID NOT NULL,
    "node_id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "protocols" TEXT[],
    "reach" TEXT NOT NULL,
    "host" TEXT NOT NULL,
    "port" INTEGER NOT NULL,
    "slot_numbers" INTEGER[],
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "deleted_at" TIMESTAMPTZ(3),

    CONSTRAINT "endpoints_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "credentials" (
    "id" UUID NOT NULL,
    "key" BIGSERIAL NOT NULL,
    "organization_id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "username" TEXT NOT NULL,
    "secret_sealed" TEXT NOT NULL,
    "verifier" TEXT NOT NULL,
    "suspended" BOOLEAN NOT NULL DEFAULT false,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "deleted_at" TIMESTAMPTZ(3),

    CONSTRAINT "credentials_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "organizations" (
    "id" UUID NOT NULL,
    "kinds" TEXT[],
    "name" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "organizations_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "users" (
    "id" UUID NOT NULL,
    "email" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "password_hash" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "users_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "memberships" (
    "organization_id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "role" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "memberships_pkey" PRIMARY KEY ("organization_id","user_id")
);

-- CreateTable
CREATE TABLE "sessions" (
    "id" TEXT NOT NULL,
    "user_id" UUID NOT NULL,
    "active_organization_id" UUID,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "sessions_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "desired_states" (
    "node_id" UUID NOT NULL,
    "revision" INTEGER NOT NULL,
    "organization_id" UUID NOT NULL,
    "content_hash" TEXT NOT NULL,
    "hash" TEXT NOT NULL,
    "payload" TEXT NOT NULL,
    "key_id" TEXT NOT NULL,
    "signature" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "desired_states_pkey" PRIMARY KEY ("node_id","revision")
);

-- CreateTable
CREATE TABLE "signing_keys" (
    "id" TEXT NOT NULL,
    "public_key" TEXT NOT NULL,
    "private_sealed" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "retired_at" TIMESTAMPTZ(3),

    CONSTRAINT "signing_keys_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "audit_entries_organization_id_at_idx" ON "audit_entries"("organization_id", "at");

-- CreateIndex
CREATE UNIQUE INDEX "claims_code_hash_key" ON "claims"("code_hash");

-- CreateIndex
CREATE UNIQUE INDEX "claims_node_id_key" ON "claims"("node_id");

-- CreateIndex
CREATE INDEX "claims_organization_id_idx" ON "claims"("organization_id");

-- CreateIndex
CREATE UNIQUE INDEX "nodes_key_key" ON "nodes"("key");

-- CreateIndex
CREATE UNIQUE INDEX "nodes_public_key_key" ON "nodes"("public_key");

-- CreateIndex
CREATE INDEX "nodes_organization_id_idx" ON "nodes"("organization_id");

-- CreateIndex
CREATE INDEX "slots_organization_id_idx" ON "slots"("organization_id");

-- CreateIndex
CREATE UNIQUE INDEX "slots_node_id_number_key" ON "slots"("node_id", "number");

-- CreateIndex
CREATE UNIQUE INDEX "modems_key_key" ON "modems"("key");

-- CreateIndex
CREATE UNIQUE INDEX "modems_organization_id_imei_key" ON "modems"("organization_id", "imei");

-- CreateIndex
CREATE INDEX "modem_addresses_address_since_idx" ON "modem_addresses"("address", "since");

-- CreateIndex
CREATE INDEX "modem_addresses_slot_id_since_idx" ON "modem_addresses"("slot_id", "since");

-- CreateIndex
CREATE UNIQUE INDEX "endpoints_key_key" ON "endpoints"("key");

-- CreateIndex
CREATE INDEX "endpoints_organization_id_idx" ON "endpoints"("organization_id");

-- CreateIndex
CREATE INDEX "endpoints_node_id_idx" ON "endpoints"("node_id");

-- CreateIndex
CREATE UNIQUE INDEX "credentials_key_key" ON "credentials"("key");

-- CreateIndex
CREATE UNIQUE INDEX "credentials_username_key" ON "credentials"("username");

-- CreateIndex
CREATE INDEX "credentials_organization_id_idx" ON "credentials"("organization_id");

-- CreateIndex
CREATE UNIQUE INDEX "users_email_key" ON "users"("email");

-- CreateIndex
CREATE INDEX "memberships_user_id_idx" ON "memberships"("user_id");

-- CreateIndex
CREATE INDEX "sessions_user_id_idx" ON "sessions"("user_id");

-- CreateIndex
CREATE INDEX "sessions_expires_at_idx" ON "sessions"("expires_at");

-- AddForeignKey
ALTER TABLE "audit_entries" ADD CONSTRAINT "audit_entries_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "claims" ADD CONSTRAINT "claims_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "claims" ADD CONSTRAINT "claims_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "nodes"("id") ON DELETE SET NULL ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "nodes" ADD CONSTRAINT "nodes_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "slots" ADD CONSTRAINT "slots_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "slots" ADD CONSTRAINT "slots_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "nodes"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "slots" ADD CONSTRAINT "slots_modem_id_fkey" FOREIGN KEY ("modem_id") REFERENCES "modems"("id") ON DELETE SET NULL ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "modems" ADD CONSTRAINT "modems_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "modem_addresses" ADD CONSTRAINT "modem_addresses_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "modem_addresses" ADD CONSTRAINT "modem_addresses_slot_id_fkey" FOREIGN KEY ("slot_id") REFERENCES "slots"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "modem_addresses" ADD CONSTRAINT "modem_addresses_modem_id_fkey" FOREIGN KEY ("modem_id") REFERENCES "modems"("id") ON DELETE SET NULL ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "endpoints" ADD CONSTRAINT "endpoints_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "endpoints" ADD CONSTRAINT "endpoints_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "nodes"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "credentials" ADD CONSTRAINT "credentials_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "memberships" ADD CONSTRAINT "memberships_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "memberships" ADD CONSTRAINT "memberships_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_active_organization_id_fkey" FOREIGN KEY ("active_organization_id") REFERENCES "organizations"("id") ON DELETE SET NULL ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "desired_states" ADD CONSTRAINT "desired_states_organization_id_fkey" FOREIGN KEY ("organization_id") REFERENCES "organizations"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "desired_states" ADD CONSTRAINT "desired_states_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "nodes"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "desired_states" ADD CONSTRAINT "desired_states_key_id_fkey" FOREIGN KEY ("key_id") REFERENCES "signing_keys"("id") ON DELETE RESTRICT ON UPDATE CASCADE;


-- Usage: written by hand, since Prisma knows no partitions. Statements on these tables are in
-- cloud/server/ledger/usage-sql.ts only. Rows name nodes, endpoints, credentials and modems by their bigint keys; 0
-- stands for none. There are no foreign keys: what usage names is never deleted, and ingest checks every name.

-- How far each node's epoch is in the ledger. Locking its row is what serialises a node's batches.
CREATE TABLE usage_marks (
    key BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    node_id UUID NOT NULL REFERENCES nodes (id) ON DELETE RESTRICT,
    epoch UUID NOT NULL,
    organization_id UUID NOT NULL REFERENCES organizations (id) ON DELETE RESTRICT,
    mark BIGINT NOT NULL DEFAULT 0 CHECK (mark >= 0),
    first_seen_at TIMESTAMPTZ(3) NOT NULL,
    updated_at TIMESTAMPTZ(3) NOT NULL,
    PRIMARY KEY (node_id, epoch)
);

CREATE TABLE usage_records (
    period_start TIMESTAMPTZ(3) NOT NULL,
    mark_key BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    -- Who pays: the credential's owner; the host where that is not known.
    organization_id UUID NOT NULL,
    host_organization_id UUID NOT NULL,
    node_key BIGINT NOT NULL,
    endpoint_key BIGINT NOT NULL,
    credential_key BIGINT NOT NULL,
    modem_key BIGINT NOT NULL,
    slot INTEGER NOT NULL,
    imei TEXT,
    up_bytes BIGINT NOT NULL CHECK (up_bytes >= 0),
    down_bytes BIGINT NOT NULL CHECK (down_bytes >= 0),
    flows BIGINT NOT NULL CHECK (flows >= 0),
    -- Why nobody but the host has it, and the names it came with; null for attributed records.
    unattributed TEXT,
    reported JSONB,
    received_at TIMESTAMPTZ(3) NOT NULL,
    PRIMARY KEY (mark_key, sequence, period_start)
) PARTITION BY RANGE (period_start);

CREATE INDEX usage_records_organization_period ON usage_records (organization_id, period_start);
CREATE INDEX usage_records_host_period ON usage_records (host_organization_id, period_start);

-- Catches what no monthly partition does; cloud/server/ledger/partitions.ts makes those ahead of time.
CREATE TABLE usage_records_default PARTITION OF usage_records DEFAULT;

CREATE TABLE usage_rollups (
    hour TIMESTAMPTZ(3) NOT NULL,
    organization_id UUID NOT NULL,
    host_organization_id UUID NOT NULL,
    node_key BIGINT NOT NULL,
    endpoint_key BIGINT NOT NULL,
    credential_key BIGINT NOT NULL,
    modem_key BIGINT NOT NULL,
    slot INTEGER NOT NULL,
    up_bytes BIGINT NOT NULL,
    down_bytes BIGINT NOT NULL,
    flows BIGINT NOT NULL,
    last_period_start TIMESTAMPTZ(3) NOT NULL,
    PRIMARY KEY (organization_id, hour, credential_key, endpoint_key, node_key, slot, modem_key)
);

CREATE INDEX usage_rollups_host_hour ON usage_rollups (host_organization_id, hour);
CREATE INDEX usage_rollups_credential_hour ON usage_rollups (organization_id, credential_key, hour);
