SET LOCAL ROLE tokenvault_owner;

-- A message takes effect once because its receipt can be written once. The day is that of sending, which every
-- delivery repeats, so a redelivery after midnight still meets its receipt.
CREATE TABLE ingest.receipts (
  sent_on date NOT NULL,
  message_id text NOT NULL,
  rows_stored integer NOT NULL,
  rows_quarantined integer NOT NULL,
  PRIMARY KEY (sent_on, message_id)
) PARTITION BY RANGE (sent_on);

-- Partitions for the days that a batch needs. Workers hold no right to create anything; this is the one way.
CREATE FUNCTION ingest.ensure_partitions(days date[]) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  day date;
  first_of_month date;
  partition_name text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('tokenvault/ensure_partitions', 0));
  FOR day IN SELECT DISTINCT unnest(days) LOOP
    IF day > current_date + 2 OR day < current_date - 30 THEN
      RAISE EXCEPTION 'day out of range' USING ERRCODE = 'datetime_field_overflow';
    END IF;
    partition_name := 'receipts_' || to_char(day, 'YYYY_MM_DD');
    IF to_regclass(format('ingest.%I', partition_name)) IS NULL THEN
      EXECUTE format('CREATE TABLE ingest.%I PARTITION OF ingest.receipts FOR VALUES FROM (%L) TO (%L)',
        partition_name, day, day + 1);
    END IF;
    first_of_month := date_trunc('month', day);
    partition_name := 'user_logins_' || to_char(first_of_month, 'YYYY_MM');
    IF to_regclass(format('ingest.%I', partition_name)) IS NULL THEN
      BEGIN
        EXECUTE format('CREATE TABLE ingest.%I PARTITION OF public.user_logins FOR VALUES FROM (%L) TO (%L)',
          partition_name, first_of_month, (first_of_month + interval '1 month')::date);
      EXCEPTION WHEN check_violation THEN
        NULL; -- the default partition already holds rows of this month, and keeps them
      END;
    END IF;
  END LOOP;
END
$$;

-- A queue keeps a message for 14 days at most; a receipt twice as old can meet no redelivery.
CREATE FUNCTION ingest.drop_expired_receipts() RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  partition_name text;
  dropped integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('tokenvault/ensure_partitions', 0));
  FOR partition_name IN
    SELECT child.relname FROM pg_inherits
    JOIN pg_class child ON child.oid = inhrelid
    WHERE inhparent = 'ingest.receipts'::regclass
      AND child.relname < 'receipts_' || to_char(current_date - 30, 'YYYY_MM_DD')
  LOOP
    EXECUTE format('DROP TABLE ingest.%I', partition_name);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END
$$;

REVOKE ALL ON FUNCTION ingest.ensure_partitions(date[]), ingest.drop_expired_receipts() FROM PUBLIC;
GRANT USAGE ON SCHEMA ingest TO tokenvault_worker;
GRANT SELECT, INSERT ON ingest.receipts TO tokenvault_worker;
GRANT EXECUTE ON FUNCTION ingest.ensure_partitions(date[]), ingest.drop_expired_receipts() TO tokenvault_worker;

RESET ROLE;
