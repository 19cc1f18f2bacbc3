-- What whoever runs the cloud looks at. Figures for eyes and alarms, written seconds late and never the base of a bill;
-- statements on these tables are in cloud/server/ledger/watch-sql.ts and cloud/server/insight.

-- Where each node's spool stands against the ledger. Rewritten every few seconds while it sends: room on its page keeps
-- that out of the index.
CREATE TABLE ingest_watch (
    node_id UUID PRIMARY KEY REFERENCES nodes (id) ON DELETE RESTRICT,
    organization_id UUID NOT NULL REFERENCES organizations (id) ON DELETE RESTRICT,
    epoch UUID NOT NULL,
    -- Highest sequence in the ledger, and the highest that the node said it has.
    mark BIGINT NOT NULL,
    announced BIGINT NOT NULL,
    -- The minute of the newest record that is in the ledger; null before the first.
    last_period_start TIMESTAMPTZ(3),
    first_heard_at TIMESTAMPTZ(3) NOT NULL,
    updated_at TIMESTAMPTZ(3) NOT NULL
) WITH (fillfactor = 70);

-- Ingest of the whole installation by minute of its arrival.
CREATE TABLE ingest_minutes (
    minute TIMESTAMPTZ(3) PRIMARY KEY,
    batches BIGINT NOT NULL,
    stored BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    gaps BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    unattributed BIGINT NOT NULL
) WITH (fillfactor = 50);

-- Batches that were not taken, by UTC day and stable code.
CREATE TABLE ingest_refusals (
    day TIMESTAMPTZ(3) NOT NULL,
    code TEXT NOT NULL,
    batches BIGINT NOT NULL,
    PRIMARY KEY (day, code)
);

-- Processes of the cloud and their figures of the moment.
CREATE TABLE cloud_processes (
    process_id UUID PRIMARY KEY,
    version TEXT NOT NULL,
    started_at TIMESTAMPTZ(3) NOT NULL,
    reported_at TIMESTAMPTZ(3) NOT NULL,
    figures JSONB NOT NULL
) WITH (fillfactor = 50);
