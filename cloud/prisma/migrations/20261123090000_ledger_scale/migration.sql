-- The ledger at the scale of ten thousand boxes. Statements on these tables are in cloud/server/ledger only.

-- Hourly rollups by week: a week that is over is put in order of credential once (cloud/server/ledger/partitions.ts),
-- so that a month of one credential lies on few pages. A row is updated up to once a record while its hour lasts:
-- room on its page keeps that update out of the indexes.
ALTER TABLE usage_rollups RENAME TO usage_rollups_old;
ALTER TABLE usage_rollups_old RENAME CONSTRAINT usage_rollups_pkey TO usage_rollups_old_pkey;
DROP INDEX usage_rollups_host_hour;
DROP INDEX usage_rollups_credential_hour;

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
    -- Credential before hour: one key serves both to find the row at ingest and a credential's range for a screen.
    PRIMARY KEY (organization_id, credential_key, hour, endpoint_key, node_key, slot, modem_key)
) PARTITION BY RANGE (hour);
CREATE INDEX usage_rollups_host_hour ON usage_rollups (host_organization_id, hour);
CREATE TABLE usage_rollups_default PARTITION OF usage_rollups DEFAULT WITH (fillfactor = 70);

INSERT INTO usage_rollups SELECT * FROM usage_rollups_old;
DROP TABLE usage_rollups_old;

-- The same by UTC day, for long ranges.
CREATE TABLE usage_rollups_daily (
    day TIMESTAMPTZ(3) NOT NULL,
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
    PRIMARY KEY (organization_id, credential_key, day, endpoint_key, node_key, slot, modem_key)
) WITH (fillfactor = 70);
CREATE INDEX usage_rollups_daily_host_day ON usage_rollups_daily (host_organization_id, day);

INSERT INTO usage_rollups_daily
SELECT date_trunc('day', hour, 'UTC'), organization_id, host_organization_id, node_key, endpoint_key,
       credential_key, modem_key, slot, sum(up_bytes)::bigint, sum(down_bytes)::bigint, sum(flows)::bigint,
       max(last_period_start)
  FROM usage_rollups
 GROUP BY 1, organization_id, host_organization_id, node_key, endpoint_key, credential_key, modem_key, slot;

-- Two B-trees on (organization, minute) cost more than the rows themselves at 50,000 records a second, and what asked
-- by them reads the last hours only, which lie together at the end: block ranges find those.
DROP INDEX usage_records_organization_period;
DROP INDEX usage_records_host_period;
CREATE INDEX usage_records_received ON usage_records USING brin (received_at) WITH (pages_per_range = 32);

-- Before which instant retention has removed records and rollups; at most one row.
CREATE TABLE usage_retention (
    id BOOLEAN PRIMARY KEY DEFAULT true CHECK (id),
    records_before TIMESTAMPTZ(3) NOT NULL,
    rollups_before TIMESTAMPTZ(3) NOT NULL
);

-- What was counted at ingest, per node and UTC day: for the desk that watches the ledger, never for a bill.
CREATE TABLE usage_ingest_daily (
    node_id UUID NOT NULL REFERENCES nodes (id) ON DELETE RESTRICT,
    day TIMESTAMPTZ(3) NOT NULL,
    organization_id UUID NOT NULL REFERENCES organizations (id) ON DELETE RESTRICT,
    stored BIGINT NOT NULL DEFAULT 0,
    duplicates BIGINT NOT NULL DEFAULT 0,
    gaps BIGINT NOT NULL DEFAULT 0,
    refused BIGINT NOT NULL DEFAULT 0,
    unattributed BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (node_id, day)
);

-- Work that is due once, however many processes there are: whoever inserts the key does it.
CREATE TABLE job_runs (
    job TEXT NOT NULL,
    -- The instant it was due: the same in every process.
    due_at TIMESTAMPTZ(3) NOT NULL,
    -- Who runs it, and until when it is theirs: a process that dies leaves its run to another.
    process_id TEXT NOT NULL,
    started_at TIMESTAMPTZ(3) NOT NULL,
    lease_until TIMESTAMPTZ(3) NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 1,
    finished_at TIMESTAMPTZ(3),
    outcome TEXT,
    detail TEXT,
    PRIMARY KEY (job, due_at)
);
