SET LOCAL ROLE tokenvault_owner;

CREATE OR REPLACE FUNCTION pii_vault.reconcile_tokens(fields text[], columns text[])
  RETURNS TABLE (finding text, field text, day date, tokens bigint)
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET enable_nestloop = off
AS $$
DECLARE
  stored text;
BEGIN
  PERFORM pii_vault.require(cardinality(fields) BETWEEN 1 AND 100 AND cardinality(columns) = cardinality(fields)
    AND (SELECT count(DISTINCT name) = count(*) AND count(DISTINCT column_name) = count(*)
      FROM unnest(fields, columns) AS named (name, column_name)), 'each field has one column');
  PERFORM pii_vault.require((SELECT bool_and(name IN (SELECT key.field FROM pii_vault.keys AS key WHERE key.purpose = 'token'))
    FROM unnest(fields) AS name), 'a field has no key');
  PERFORM pii_vault.require((SELECT bool_and(column_name IN (
      SELECT attname FROM pg_attribute
      WHERE attrelid = 'public.user_logins'::regclass AND attnum > 0 AND NOT attisdropped
        AND atttypid IN ('varchar'::regtype, 'text'::regtype) AND attname NOT IN ('user_id', 'device_type', 'locale')))
    FROM unnest(columns) AS column_name), 'a column holds no tokens');

  -- The 22 letters of a token hold 128 bits, and 4 bits that are zero. A match without a capture, and lengths by hand: a capture
  -- costs five times as much, and a count of letters in the pattern four times.
  SELECT string_agg(format(
    'SELECT %1$L::text AS field, create_date AS day, CASE
       WHEN starts_with(%2$I, %3$L) AND substr(%2$I, %4$s) ~ ''^[1-9][0-9]*_[A-Za-z0-9_-]+$''
         AND length(%2$I) - strpos(substr(%2$I, %4$s), ''_'') = %4$s + 21 AND strpos(''AQgw'', right(%2$I, 1)) > 0
       THEN encode(decode(translate(right(%2$I, 22), ''-_'', ''+/'') || ''=='', ''base64''), ''hex'')::uuid END AS token_id
     FROM public.user_logins WHERE %2$I IS NOT NULL',
    name, column_name, name || '_v', length(name) + 3), ' UNION ALL ')
  INTO stored
  FROM unnest(fields, columns) AS named (name, column_name);

  RETURN QUERY EXECUTE format(
    'SELECT ''token_without_original'', token.field, token.day, count(*) FROM (%s) AS token
     WHERE NOT EXISTS (SELECT FROM pii_vault.originals AS original
       WHERE original.token_id = token.token_id AND original.field = token.field)
     GROUP BY token.field, token.day ORDER BY 2, 3', stored);
  RETURN QUERY EXECUTE format(
    'SELECT ''original_without_token'', original.field, original.created_at::date, count(*) FROM pii_vault.originals AS original
     WHERE NOT EXISTS (SELECT FROM (%s) AS token
       WHERE token.token_id = original.token_id AND token.field = original.field)
     GROUP BY original.field, original.created_at::date ORDER BY 2, 3', stored);
END
$$;

-- As in append_audit: nobody holds the head of the log and idles.
CREATE OR REPLACE FUNCTION pii_vault.append_actions(events bytea[], repeats jsonb) RETURNS bigint[]
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  moment timestamptz;
  repeat jsonb;
  id uuid;
  earlier pii_vault.refusals;
  appended bytea[] := '{}';
  places bigint[] := '{}';
  first_sequence bigint;
BEGIN
  -- As in append_audit, which is not called where all events are counted: what is counted is as durable as what is appended.
  IF current_setting('synchronous_commit') <> 'remote_apply' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  PERFORM pii_vault.require(jsonb_typeof(repeats) = 'array' AND jsonb_array_length(repeats) = cardinality(events)
    AND cardinality(events) <= 100000, 'each event has one place in repeats');
  PERFORM pii_vault.require((SELECT coalesce(bool_and(coalesce(octet_length(given ->> 'kind') <= 1024
      AND octet_length(given ->> 'at') <= 64 AND (given -> 'requested')::bigint BETWEEN 0 AND 1000000, false)), true)
    FROM jsonb_array_elements(repeats) AS given WHERE given <> 'null'), 'a repeat is not possible');
  PERFORM pii_vault.bound_transaction();
  PERFORM FROM pii_vault.audit_head FOR UPDATE;
  moment := clock_timestamp();
  FOR place IN 1 .. cardinality(events) LOOP
    repeat := nullif(repeats -> (place - 1), 'null');
    IF repeat IS NOT NULL THEN
      id := pii_vault.principal_id(repeat ->> 'issuer', repeat ->> 'subject');
      UPDATE pii_vault.refusals AS refusal SET
        counted = refusal.counted + 1,
        requested = refusal.requested + (repeat -> 'requested')::bigint,
        event = coalesce(refusal.event, convert_from(events[place], 'UTF8')),
        last_at = repeat ->> 'at'
      -- A clock that was set back must not keep what is refused now out of the log until it has caught up.
      WHERE refusal.principal = id AND refusal.kind = repeat ->> 'kind'
        AND refusal.since > moment - interval '1 minute' AND refusal.since <= moment;
      IF FOUND THEN
        places := places || NULL::bigint;
        CONTINUE;
      END IF;
      DELETE FROM pii_vault.refusals AS refusal WHERE refusal.principal = id AND refusal.kind = repeat ->> 'kind'
        RETURNING * INTO earlier;
      appended := appended || ARRAY(SELECT pii_vault.fold_refusal(earlier));
      INSERT INTO pii_vault.refusals (principal, kind, since) VALUES (id, repeat ->> 'kind', moment);
    END IF;
    appended := appended || events[place];
    places := places || cardinality(appended)::bigint;
  END LOOP;
  IF appended <> '{}' THEN
    first_sequence := pii_vault.append_audit(appended);
  END IF;
  RETURN ARRAY(SELECT first_sequence + appended_place - 1 FROM unnest(places) WITH ORDINALITY AS given (appended_place, place)
    ORDER BY place);
END
$$;

CREATE OR REPLACE FUNCTION pii_vault.fold_refusals(everything boolean) RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- Of the time before the lock, which is earlier: a minute that is over by then stays over.
  -- Another process may have written a later time by then, but not one of a minute ahead, unless the clock was set back.
  ahead timestamptz := clock_timestamp() + interval '1 minute';
  due timestamptz := CASE WHEN everything THEN 'infinity' ELSE clock_timestamp() - interval '1 minute' END;
  done integer;
  appended bytea[];
BEGIN
  -- Nearly always there is nothing to do, and nobody has to wait for it.
  IF NOT EXISTS (SELECT FROM pii_vault.refusals WHERE since <= due OR since > ahead) THEN
    RETURN 0;
  END IF;
  PERFORM pii_vault.bound_transaction();
  PERFORM FROM pii_vault.audit_head FOR UPDATE;
  WITH over AS (
    DELETE FROM pii_vault.refusals AS refusal WHERE (refusal.principal, refusal.kind) IN (
      SELECT principal, kind FROM pii_vault.refusals WHERE since <= due OR since > ahead ORDER BY since LIMIT 500)
    RETURNING refusal
  )
  SELECT count(*), array_agg(event ORDER BY (refusal).since, (refusal).principal, (refusal).kind) FILTER (WHERE event IS NOT NULL)
  INTO done, appended
  FROM over LEFT JOIN LATERAL pii_vault.fold_refusal(refusal) AS event ON true;
  IF appended IS NOT NULL THEN
    PERFORM pii_vault.append_audit(appended);
  END IF;
  RETURN done;
END
$$;

-- Nor does anybody hold the turn of the partitions, and idle. Days count from the newest that there is, too: it was named by the
-- queue, so a server whose clock is fast does not drop records that a redelivery may still meet.
CREATE OR REPLACE FUNCTION ingest.drop_expired_delivery_records() RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '1s'
AS $$
DECLARE
  first_kept date;
  partition_name text;
  dropped integer := 0;
BEGIN
  PERFORM pii_vault.bound_transaction();
  LOCK TABLE ingest.receipts IN SHARE UPDATE EXCLUSIVE MODE;
  SELECT least(current_date, max(to_date(substr(child.relname, 10), 'YYYY_MM_DD'))) - 30 INTO first_kept
  FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
  WHERE inhparent = 'ingest.receipts'::regclass AND child.relname ~ '^receipts_\d{4}_\d{2}_\d{2}$';
  FOR partition_name IN
    SELECT child.relname FROM pg_inherits
    JOIN pg_class child ON child.oid = inhrelid
    WHERE inhparent = 'ingest.receipts'::regclass
      AND child.relname < 'receipts_' || to_char(first_kept, 'YYYY_MM_DD')
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
