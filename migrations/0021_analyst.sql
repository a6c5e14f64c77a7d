SET LOCAL ROLE tokenvault_owner;

-- What analysts query beside public.user_logins, which keeps its seven columns for ever.
CREATE SCHEMA analyst;
COMMENT ON SCHEMA analyst IS 'What analysts query beside public.user_logins: networks of addresses, and logins with the clear columns that are configured.';
GRANT USAGE ON SCHEMA analyst TO tokenvault_worker, tokenvault_analyst;

CREATE TABLE analyst.ip_networks (
  masked_ip varchar(256) PRIMARY KEY,
  masked_network varchar(256) NOT NULL,
  family smallint NOT NULL CHECK (family IN (4, 6)),
  scope text NOT NULL
);
CREATE INDEX ip_networks_masked_network ON analyst.ip_networks USING hash (masked_network);

COMMENT ON TABLE analyst.ip_networks IS 'One row for each address that was met since a field derived from it was configured: the token of its network.';
COMMENT ON COLUMN analyst.ip_networks.masked_ip IS 'Token of the IP address, as in public.user_logins.';
COMMENT ON COLUMN analyst.ip_networks.masked_network IS 'Token of the network of the address: the /24 of an IPv4 address, the /48 of an IPv6 one. Equal networks have equal tokens.';
COMMENT ON COLUMN analyst.ip_networks.family IS 'Version of IP: 4 or 6.';
COMMENT ON COLUMN analyst.ip_networks.scope IS 'What kind of address it is: public, private, unique_local, shared, loopback, link_local, multicast, documentation, benchmarking, transition or reserved.';

GRANT INSERT ON analyst.ip_networks TO tokenvault_worker;
GRANT SELECT ON analyst.ip_networks TO tokenvault_analyst;

-- `tokenvault migrate` adds the configured columns behind these.
CREATE TABLE analyst.login_details (
  login_id uuid NOT NULL,
  user_id varchar(128),
  device_type varchar(32),
  masked_ip varchar(256),
  masked_device_id varchar(256),
  locale varchar(32),
  app_version integer,
  create_date date NOT NULL,
  PRIMARY KEY (create_date, login_id)
) PARTITION BY RANGE (create_date);

CREATE TABLE ingest.login_details_default PARTITION OF analyst.login_details DEFAULT;

CREATE INDEX login_details_masked_ip ON analyst.login_details USING hash (masked_ip);
CREATE INDEX login_details_masked_device_id ON analyst.login_details USING hash (masked_device_id);

COMMENT ON TABLE analyst.login_details IS 'The rows of public.user_logins once more, with the clear columns that are configured; written since the first one was configured, partitioned by month of create_date.';
COMMENT ON COLUMN analyst.login_details.login_id IS 'Id of the login, made of the message id and the place of the event in the message: the same on every delivery.';
COMMENT ON COLUMN analyst.login_details.user_id IS 'The user who logged in, as the producer names them.';
COMMENT ON COLUMN analyst.login_details.device_type IS 'Kind of device, as the producer names it; null where the event has none.';
COMMENT ON COLUMN analyst.login_details.masked_ip IS 'Token of the IP address; null as in public.user_logins.';
COMMENT ON COLUMN analyst.login_details.masked_device_id IS 'Token of the device id; null as in public.user_logins.';
COMMENT ON COLUMN analyst.login_details.locale IS 'Locale of the app, as the producer names it; null where the event has none.';
COMMENT ON COLUMN analyst.login_details.app_version IS 'First number of the app version; null where the event has none.';
COMMENT ON COLUMN analyst.login_details.create_date IS 'UTC day on which the producer sent the message that held the event.';
COMMENT ON TABLE ingest.login_details_default IS 'Partition of analyst.login_details for months that have none of their own.';

GRANT INSERT ON analyst.login_details TO tokenvault_worker;
GRANT SELECT ON analyst.login_details TO tokenvault_analyst;

ALTER TABLE ingest.receipts ADD COLUMN details_stored integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN ingest.receipts.details_stored IS 'Rows of analyst.login_details that were made from the message: as many as rows_stored, or 0 where no clear column was configured.';

CREATE OR REPLACE FUNCTION ingest.ensure_partitions(days date[]) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '20s'
AS $$
DECLARE
  day date;
  month date;
  parent text;
  partition_name text;
BEGIN
  PERFORM pii_vault.require(cardinality(days) <= 10000, 'too many days');
  PERFORM pii_vault.bound_transaction();
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

  FOR parent, month IN SELECT DISTINCT of_table, (date_trunc('month', d) + ahead)::date
    FROM unnest(days) AS d, unnest('{0, 1 month}'::interval[]) AS ahead,
      unnest('{public.user_logins, analyst.login_details}'::text[]) AS of_table
  LOOP
    partition_name := split_part(parent, '.', 2) || to_char(month, '_YYYY_MM');
    CONTINUE WHEN to_regclass(format('ingest.%I', partition_name)) IS NOT NULL;
    BEGIN
      SET LOCAL lock_timeout = '1s';
      EXECUTE format('CREATE TABLE ingest.%I (LIKE %s INCLUDING ALL)', partition_name, parent);
      EXECUTE format('ALTER TABLE %s ATTACH PARTITION ingest.%I FOR VALUES FROM (%L) TO (%L)',
        parent, partition_name, month, (month + interval '1 month')::date);
    EXCEPTION WHEN check_violation OR lock_not_available THEN
      NULL; -- the default partition takes this month's rows; one that holds some already keeps them
    END;
  END LOOP;
END
$$;

-- As before, with the rows of analyst.login_details.
DROP FUNCTION pii_vault.settle_redrives(uuid[], text[], integer[], integer[]);
CREATE FUNCTION pii_vault.settle_redrives(ids uuid[], reasons text[], stored integer[], details integer[], quarantined integer[])
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settled integer;
BEGIN
  PERFORM pii_vault.require(cardinality(ids) <= 10000 AND cardinality(reasons) = cardinality(ids)
    AND cardinality(stored) = cardinality(ids) AND cardinality(details) = cardinality(ids)
    AND cardinality(quarantined) = cardinality(ids), 'each id has one outcome');
  PERFORM pii_vault.require((SELECT coalesce(bool_and(coalesce(reason ~ '^[a-z0-9_]{1,100}$', true)
      AND coalesce(rows_stored BETWEEN 0 AND 1000000 AND details_stored BETWEEN 0 AND rows_stored
        AND rows_quarantined BETWEEN -1 AND 1000000, false)), true)
    FROM unnest(reasons, stored, details, quarantined) AS outcome (reason, rows_stored, details_stored, rows_quarantined)),
    'an outcome is not possible');

  UPDATE pii_vault.quarantine AS entry SET
    state = CASE WHEN outcome.reason IS NULL THEN 'redriven' ELSE 'quarantined' END,
    reason = coalesce(outcome.reason, entry.reason),
    sealed = CASE WHEN outcome.reason IS NULL THEN NULL ELSE entry.sealed END,
    redrives = entry.redrives + 1,
    changed_at = now()
  FROM unnest(ids, reasons) AS outcome (id, reason)
  WHERE entry.id = outcome.id AND entry.state = 'redrive_requested';
  GET DIAGNOSTICS settled = ROW_COUNT;
  IF settled <> cardinality(ids) THEN
    RAISE EXCEPTION 'no redrive was requested' USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;

  PERFORM FROM ingest.receipts AS delivery
  WHERE (delivery.sent_on, delivery.message_id) IN
    (SELECT entry.sent_on, entry.message_id FROM pii_vault.quarantine AS entry WHERE entry.id = ANY (ids))
  ORDER BY delivery.sent_on, delivery.message_id FOR UPDATE;
  UPDATE ingest.receipts AS delivery SET
    rows_stored = delivery.rows_stored + added.stored,
    details_stored = delivery.details_stored + added.details,
    rows_quarantined = delivery.rows_quarantined + added.quarantined
  FROM (
    SELECT entry.sent_on, entry.message_id, sum(outcome.stored) AS stored, sum(outcome.details) AS details,
      sum(outcome.quarantined) AS quarantined
    FROM unnest(ids, stored, details, quarantined) AS outcome (id, stored, details, quarantined)
    JOIN pii_vault.quarantine AS entry ON entry.id = outcome.id
    GROUP BY entry.sent_on, entry.message_id
  ) AS added
  WHERE delivery.sent_on = added.sent_on AND delivery.message_id = added.message_id
    AND (added.stored <> 0 OR added.quarantined <> 0);
END
$$;

-- As before, with what delivery records count of analyst.login_details, and what stands in it.
DROP FUNCTION pii_vault.reconcile_days();
CREATE FUNCTION pii_vault.reconcile_days()
  RETURNS TABLE (
    day date, is_provable boolean, delivery_records bigint, rows_recorded bigint, rows_stored bigint,
    details_recorded bigint, details_stored bigint, quarantine_recorded bigint, quarantine_stored bigint)
  LANGUAGE sql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
  SELECT day, coalesce(day >= current_date - 30, true) OR sum(records) > 0, sum(records)::bigint,
    sum(rows_recorded)::bigint, sum(rows_stored)::bigint, sum(details_recorded)::bigint, sum(details_stored)::bigint,
    sum(quarantine_recorded)::bigint, sum(quarantine_stored)::bigint
  FROM (
    SELECT sent_on, count(*), sum(rows_stored), 0, sum(details_stored), 0, sum(rows_quarantined), 0
      FROM ingest.receipts GROUP BY sent_on
    UNION ALL
    SELECT create_date, 0, 0, count(*), 0, 0, 0, 0 FROM public.user_logins GROUP BY create_date
    UNION ALL
    SELECT create_date, 0, 0, 0, 0, count(*), 0, 0 FROM analyst.login_details GROUP BY create_date
    UNION ALL
    -- A redriven entry gave rows, and its delivery record says so; a discarded one was quarantined for good.
    SELECT sent_on, 0, 0, 0, 0, 0, 0, count(*) FROM pii_vault.quarantine WHERE state <> 'redriven' GROUP BY sent_on
  ) AS counts (day, records, rows_recorded, rows_stored, details_recorded, details_stored, quarantine_recorded, quarantine_stored)
  GROUP BY day ORDER BY day
$$;

-- As reconcile_tokens, for fields whose tokens stand in analyst.ip_networks. A row there has no day. An original whose token is kept
-- elsewhere (a column of 0022_token_columns) needs none there.
CREATE FUNCTION pii_vault.reconcile_networks(fields text[])
  RETURNS TABLE (finding text, field text, day date, tokens bigint)
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
BEGIN
  PERFORM pii_vault.require(cardinality(fields) BETWEEN 1 AND 100
    AND (SELECT count(DISTINCT name) = count(*) FROM unnest(fields) AS name), 'each field stands once');
  PERFORM pii_vault.require((SELECT bool_and(name IN (SELECT key.field FROM pii_vault.keys AS key WHERE key.purpose = 'token'))
    FROM unnest(fields) AS name), 'a field has no key');

  RETURN QUERY
    WITH token AS MATERIALIZED (
      SELECT DISTINCT name, masked_network, CASE
        WHEN substr(masked_network, length(name) + 3) ~ '^[1-9][0-9]*_[A-Za-z0-9_-]+$'
          AND length(masked_network) - strpos(substr(masked_network, length(name) + 3), '_') = length(name) + 3 + 21
          AND strpos('AQgw', right(masked_network, 1)) > 0
        THEN encode(decode(translate(right(masked_network, 22), '-_', '+/') || '==', 'base64'), 'hex')::uuid END AS token_id
      FROM analyst.ip_networks JOIN unnest(fields) AS name ON starts_with(masked_network, name || '_v')
    )
    SELECT 'token_without_original', token.name, NULL::date, count(*) FROM token
    WHERE NOT EXISTS (SELECT FROM pii_vault.originals AS original
      WHERE original.token_id = token.token_id AND original.field = token.name)
    GROUP BY token.name
    UNION ALL
    SELECT 'original_without_token', original.field, original.created_at::date, count(*) FROM pii_vault.originals AS original
    WHERE original.field = ANY (fields) AND NOT original.kept_elsewhere AND NOT EXISTS (SELECT FROM token
      WHERE token.token_id = original.token_id AND token.name = original.field)
    GROUP BY original.field, original.created_at::date
    ORDER BY 1 DESC, 2, 3;
END
$$;

REVOKE ALL ON FUNCTION
  pii_vault.settle_redrives(uuid[], text[], integer[], integer[], integer[]), pii_vault.reconcile_days(),
  pii_vault.reconcile_networks(text[])
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_vault.settle_redrives(uuid[], text[], integer[], integer[], integer[]) TO tokenvault_worker;
GRANT EXECUTE ON FUNCTION pii_vault.reconcile_days(), pii_vault.reconcile_networks(text[]) TO tokenvault_auditor;

RESET ROLE;
