-- Weeks of rollups that are over are packed when they are put in order (cloud/server/ledger/partitions.ts). Those that were
-- put in order with room left on their pages are to be done once more: the daily job takes those without a mark.
DO $$
DECLARE
    week regclass;
BEGIN
    FOR week IN
        SELECT i.inhrelid::regclass FROM pg_inherits i
         WHERE i.inhparent = 'usage_rollups'::regclass
           AND EXISTS (SELECT FROM pg_index x WHERE x.indrelid = i.inhrelid AND x.indisclustered)
    LOOP
        EXECUTE format('ALTER TABLE %s SET WITHOUT CLUSTER', week);
    END LOOP;
END
$$;
