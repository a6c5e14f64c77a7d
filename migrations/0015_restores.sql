-- Where PUBLIC may not use schema public, as hardened databases have it, our roles still may.
GRANT USAGE ON SCHEMA public TO tokenvault_worker, tokenvault_analyst;

SET LOCAL ROLE tokenvault_owner;

-- A worker that waited for another one here, in a session whose isolation level keeps what it saw before, still sees the days
-- that the other one dropped.
CREATE OR REPLACE FUNCTION ingest.drop_expired_delivery_records() RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '1s'
AS $$
DECLARE
  partition_name text;
  dropped integer := 0;
BEGIN
  LOCK TABLE ingest.receipts IN SHARE UPDATE EXCLUSIVE MODE;
  FOR partition_name IN
    SELECT child.relname FROM pg_inherits
    JOIN pg_class child ON child.oid = inhrelid
    WHERE inhparent = 'ingest.receipts'::regclass
      AND child.relname < 'receipts_' || to_char(current_date - 30, 'YYYY_MM_DD')
  LOOP
    CONTINUE WHEN to_regclass(format('ingest.%I', partition_name)) IS NULL;
    EXECUTE format('DROP TABLE ingest.%I', partition_name);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
EXCEPTION WHEN lock_not_available THEN
  RETURN 0;
END
$$;

RESET ROLE;
