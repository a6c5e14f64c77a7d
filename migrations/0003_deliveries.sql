SET LOCAL ROLE tokenvault_owner;

-- A message takes effect once because its delivery record can be written once. The day is that of sending, which every
-- delivery repeats, so a redelivery after midnight still meets the record of the first delivery.
CREATE TABLE ingest.receipts (
  sent_on date NOT NULL,
  message_id text NOT NULL,
  rows_stored integer NOT NULL,
  rows_quarantined integer NOT NULL,
  PRIMARY KEY (sent_on, message_id)
) PARTITION BY RANGE (sent_on);

COMMENT ON TABLE ingest.receipts IS 'Delivery records: one row for each message that took effect, partitioned by UTC day of sending and kept for 30 days.';
COMMENT ON COLUMN ingest.receipts.sent_on IS 'UTC day on which the producer sent the message; for a redriven message, the day on which it was sent first.';
COMMENT ON COLUMN ingest.receipts.message_id IS 'First identity of the message: the message id that the queue gave it when it was sent first.';
COMMENT ON COLUMN ingest.receipts.rows_stored IS 'Rows of public.user_logins that were made from the message.';
COMMENT ON COLUMN ingest.receipts.rows_quarantined IS 'Entries of pii_vault.quarantine that were made from the message, without those that were redriven since.';

-- Makes the partitions for the days that a batch needs. Workers have no right to create anything; this is the one way.
--
-- A reader cannot stop it, be it a dump that takes hours or an analyst: tables are attached, not made in place, because
-- that needs no exclusive lock on the parent; and callers take turns by a table lock, which no other role can take,
-- while any role can take an advisory one. The one exclusive lock left is that on the default partition of user_logins,
-- so months are made ahead, and one whose lock is not granted within a second is left to another day.
CREATE FUNCTION ingest.ensure_partitions(days date[]) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '20s'
AS $$
DECLARE
  day date;
  month date;
  partition_name text;
BEGIN
  LOCK TABLE ingest.receipts IN SHARE UPDATE EXCLUSIVE MODE;
  FOR day IN SELECT DISTINCT unnest(days) LOOP
    IF day > current_date + 2 OR day < current_date - 30 THEN
      RAISE EXCEPTION 'day out of range' USING ERRCODE = 'datetime_field_overflow';
    END IF;
    partition_name := 'receipts_' || to_char(day, 'YYYY_MM_DD');
    CONTINUE WHEN to_regclass(format('ingest.%I', partition_name)) IS NOT NULL;
    EXECUTE format('CREATE TABLE ingest.%I (LIKE ingest.receipts INCLUDING ALL)', partition_name);
    EXECUTE format('ALTER TABLE ingest.receipts ATTACH PARTITION ingest.%I FOR VALUES FROM (%L) TO (%L)',
      partition_name, day, day + 1);
  END LOOP;

  FOR month IN SELECT DISTINCT (date_trunc('month', d) + ahead)::date
    FROM unnest(days) AS d, unnest('{0, 1 month}'::interval[]) AS ahead
  LOOP
    partition_name := 'user_logins_' || to_char(month, 'YYYY_MM');
    CONTINUE WHEN to_regclass(format('ingest.%I', partition_name)) IS NOT NULL;
    BEGIN
      SET LOCAL lock_timeout = '1s';
      EXECUTE format('CREATE TABLE ingest.%I (LIKE public.user_logins INCLUDING ALL)', partition_name);
      EXECUTE format('ALTER TABLE public.user_logins ATTACH PARTITION ingest.%I FOR VALUES FROM (%L) TO (%L)',
        partition_name, month, (month + interval '1 month')::date);
    EXCEPTION WHEN check_violation OR lock_not_available THEN
      NULL; -- the default partition takes this month's rows; one that holds some already keeps them
    END;
  END LOOP;
END
$$;

-- Drops the days of delivery records that are over. A queue keeps a message for 14 days at most; a record twice as old
-- can meet no redelivery. Days that are being read are left to another call: waiting for the exclusive lock would hold
-- up every worker. Returns how many days were dropped.
CREATE FUNCTION ingest.drop_expired_delivery_records() RETURNS integer
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
    EXECUTE format('DROP TABLE ingest.%I', partition_name);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
EXCEPTION WHEN lock_not_available THEN
  RETURN 0;
END
$$;

REVOKE ALL ON FUNCTION ingest.ensure_partitions(date[]), ingest.drop_expired_delivery_records() FROM PUBLIC;
GRANT SELECT, INSERT ON ingest.receipts TO tokenvault_worker;
GRANT EXECUTE ON FUNCTION ingest.ensure_partitions(date[]), ingest.drop_expired_delivery_records() TO tokenvault_worker;

RESET ROLE;
