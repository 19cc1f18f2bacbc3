-- What nodes remember of flows and of themselves. Statements on the three tables are in cloud/server/connections only.

-- What an organization decides: how long it is kept, and what is said of its credentials' targets.
ALTER TABLE "organizations" ADD COLUMN     "connection_log_days" INTEGER NOT NULL DEFAULT 30,
ADD COLUMN     "event_days" INTEGER NOT NULL DEFAULT 90,
ADD COLUMN     "log_destinations" TEXT NOT NULL DEFAULT 'host-and-port';

-- How far each stream of each run of an agent is kept, so that what comes twice is kept once.
CREATE TABLE event_marks (
    node_id UUID NOT NULL REFERENCES nodes (id) ON DELETE RESTRICT,
    epoch UUID NOT NULL,
    stream TEXT NOT NULL,
    organization_id UUID NOT NULL REFERENCES organizations (id) ON DELETE RESTRICT,
    mark BIGINT NOT NULL DEFAULT 0 CHECK (mark >= 0),
    -- What the node says that it had no room for.
    dropped BIGINT NOT NULL DEFAULT 0,
    -- What was not kept: it named what does not belong to the node, or was older than anybody keeps.
    foreign_items BIGINT NOT NULL DEFAULT 0,
    stale_items BIGINT NOT NULL DEFAULT 0,
    first_seen_at TIMESTAMPTZ(3) NOT NULL,
    updated_at TIMESTAMPTZ(3) NOT NULL,
    PRIMARY KEY (node_id, epoch, stream)
);
CREATE INDEX event_marks_updated ON event_marks (updated_at);

-- Flows that are over, by week. Never the base of a bill.
CREATE SEQUENCE connection_logs_id AS BIGINT;
CREATE TABLE connection_logs (
    ended_at TIMESTAMPTZ(3) NOT NULL,
    id BIGINT NOT NULL DEFAULT nextval('connection_logs_id'),
    -- The credential's customer.
    organization_id UUID NOT NULL,
    host_organization_id UUID NOT NULL,
    node_key BIGINT NOT NULL,
    endpoint_key BIGINT NOT NULL,
    credential_key BIGINT NOT NULL,
    modem_key BIGINT,
    slot INTEGER,
    protocol TEXT NOT NULL,
    outcome TEXT NOT NULL,
    took_ms BIGINT NOT NULL,
    up_bytes BIGINT NOT NULL,
    down_bytes BIGINT NOT NULL,
    times BIGINT NOT NULL,
    -- As far as the customer's policy let the node say.
    host TEXT,
    address TEXT,
    port INTEGER,
    source_port INTEGER,
    PRIMARY KEY (organization_id, ended_at, id)
) PARTITION BY RANGE (ended_at);
CREATE INDEX connection_logs_credential ON connection_logs (credential_key, ended_at, id);
CREATE INDEX connection_logs_node ON connection_logs (node_key, ended_at, id);
CREATE TABLE connection_logs_default PARTITION OF connection_logs DEFAULT;

-- What happened on nodes; their hosts read it.
CREATE TABLE node_events (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    at TIMESTAMPTZ(3) NOT NULL,
    organization_id UUID NOT NULL REFERENCES organizations (id) ON DELETE RESTRICT,
    node_key BIGINT NOT NULL,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    slot INTEGER,
    source TEXT,
    -- Null also when the node named one that it does not serve.
    credential_key BIGINT,
    times BIGINT NOT NULL,
    took_ms BIGINT,
    detail TEXT NOT NULL,
    PRIMARY KEY (organization_id, at, id)
);
CREATE INDEX node_events_node ON node_events (node_key, at, id);
