-- Answered challenges of the last hour, when several processes share this database (gateway/admissions.ts). The identity
-- is the order of admissions and never starts again, whatever is deleted.
CREATE TABLE link_admissions (
    nonce text PRIMARY KEY,
    place bigint GENERATED ALWAYS AS IDENTITY,
    admitted_at timestamptz NOT NULL DEFAULT now()
);
