-- Each role that logs in has limits, given once: whatever an operator sets instead, here or later, stays.
DO $$
DECLARE
  available integer := current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
    - current_setting('reserved_connections')::integer;
  role_name text;
  connections integer;
  setting text;
  setting_value text;
BEGIN
  -- Connections are counted in the whole cluster. No role can take all that there are, so that one stolen password cannot keep
  -- the others out.
  FOR role_name, connections IN VALUES
    ('tokenvault_api', greatest(4, available * 2 / 3)),
    ('tokenvault_worker', greatest(4, available * 2 / 3)),
    ('tokenvault_analyst', greatest(2, least(40, available / 5))),
    ('tokenvault_auditor', greatest(2, least(10, available / 10)))
  LOOP
    BEGIN
      IF (SELECT rolconnlimit = -1 FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
        EXECUTE format('ALTER ROLE %I CONNECTION LIMIT %s', role_name, connections);
      END IF;
    EXCEPTION WHEN insufficient_privilege OR internal_error THEN
      NULL; -- who migrates did not make the roles; or another database's migration is setting it at this moment
    END;
  END LOOP;

  FOR role_name, setting, setting_value IN VALUES
    ('tokenvault_api', 'statement_timeout', '5min'),
    ('tokenvault_api', 'idle_in_transaction_session_timeout', '1min'),
    ('tokenvault_api', 'temp_file_limit', '1GB'),
    ('tokenvault_worker', 'statement_timeout', '5min'),
    ('tokenvault_worker', 'idle_in_transaction_session_timeout', '1min'),
    ('tokenvault_worker', 'temp_file_limit', '1GB'),
    ('tokenvault_analyst', 'statement_timeout', '15min'),
    ('tokenvault_analyst', 'lock_timeout', '30s'),
    ('tokenvault_analyst', 'idle_in_transaction_session_timeout', '5min'),
    ('tokenvault_analyst', 'idle_session_timeout', '1h'),
    ('tokenvault_analyst', 'temp_file_limit', '5GB'),
    ('tokenvault_auditor', 'statement_timeout', '15min'),
    ('tokenvault_auditor', 'lock_timeout', '30s'),
    ('tokenvault_auditor', 'idle_in_transaction_session_timeout', '5min'),
    ('tokenvault_auditor', 'idle_session_timeout', '1h'),
    -- Comparing every token with every original sorts both (reconcile_tokens).
    ('tokenvault_auditor', 'temp_file_limit', '50GB')
  LOOP
    BEGIN
      IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_db_role_setting, unnest(setconfig) AS entry
        WHERE setrole = to_regrole(role_name) AND starts_with(entry, setting || '=')
          AND setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
      ) THEN
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET %I = %L', role_name, current_database(), setting, setting_value);
      END IF;
    EXCEPTION WHEN insufficient_privilege OR internal_error THEN
      NULL; -- temp_file_limit is for superusers to set, or for those to whom one granted it
    END;
  END LOOP;
END
$$;

-- What Postgres lets everybody do and none of our roles needs: locks that fill the table of locks of all, large objects, messages in
-- the write-ahead log, and ending sessions of the same role. Only an owner of these functions, a superuser, can take it away.
DO $$
DECLARE
  signature text;
  database_name name;
BEGIN
  FOR signature IN
    SELECT oid::regprocedure FROM pg_catalog.pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace AND pg_has_role(current_user, proowner, 'USAGE')
      AND proname ~ '^(pg_(try_)?advisory_|lo_|loread$|lowrite$|pg_logical_emit_message$|pg_(cancel|terminate)_backend$)'
  LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', signature);
    -- Whoever migrates takes a lock, and is a member.
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO tokenvault_owner', signature);
  END LOOP;

  -- There, nothing of the above is taken away, and everybody may make temporary tables.
  FOR database_name IN
    SELECT datname FROM pg_catalog.pg_database
    WHERE datname IN ('postgres', 'template1') AND datname <> current_database() AND pg_has_role(current_user, datdba, 'USAGE')
      AND EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0)
  LOOP
    BEGIN
      EXECUTE format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', database_name);
    EXCEPTION WHEN internal_error THEN
      NULL; -- another database's migration is doing it at this moment
    END;
  END LOOP;
END
$$;

SET LOCAL ROLE tokenvault_owner;

-- Raises unless the condition is true; null is not.
CREATE FUNCTION pii_vault.require(condition boolean, says text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF condition IS NOT TRUE THEN
    RAISE EXCEPTION '%', says USING ERRCODE = 'invalid_parameter_value';
  END IF;
END
$$;

-- Ends the transaction of a caller that idles, or goes on for long, while others wait for a lock that it holds, whatever the
-- session's own settings are. Holds for the rest of the transaction. A setting that is lower already stays.
CREATE FUNCTION pii_vault.bound_transaction() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  whole text := current_setting('transaction_timeout', true); -- since Postgres 17
BEGIN
  IF extract(epoch FROM current_setting('idle_in_transaction_session_timeout')::interval) NOT BETWEEN 0.001 AND 3 THEN
    PERFORM set_config('idle_in_transaction_session_timeout', '3s', true);
  END IF;
  IF whole IS NOT NULL AND extract(epoch FROM whole::interval) NOT BETWEEN 0.001 AND 30 THEN
    PERFORM set_config('transaction_timeout', '30s', true);
  END IF;
END
$$;

CREATE OR REPLACE FUNCTION pii_vault.append_audit(events bytea[]) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  first_sequence bigint;
  next_sequence bigint;
  roots bytea[];
  leaves bytea[];
  node bytea;
  merges bigint;
  height integer;
BEGIN
  -- After a crash every event that was answered for must be there, whatever the session's own settings are. This holds for the
  -- whole transaction, beyond the end of this function.
  IF current_setting('synchronous_commit') <> 'remote_apply' THEN -- which is more than on
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  IF events IS NULL THEN
    RAISE EXCEPTION 'events are missing' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  PERFORM pii_vault.require(cardinality(events) <= 100000, 'too many events');
  PERFORM pii_vault.bound_transaction();
  SELECT tree_size, frontier INTO STRICT first_sequence, roots FROM pii_vault.audit_head FOR UPDATE;
  next_sequence := first_sequence;
  -- Raises where one is not valid UTF-8, which audit_events could not show.
  PERFORM count(convert_from(event, 'UTF8')) FROM unnest(events) AS given (event);
  WITH stored AS (
    INSERT INTO pii_vault.audit_log (sequence, event, leaf_hash)
    SELECT first_sequence + place - 1, event, sha256('\x00'::bytea || event)
    FROM unnest(events) WITH ORDINALITY AS given (event, place)
    RETURNING sequence, leaf_hash
  )
  SELECT array_agg(leaf_hash ORDER BY sequence) INTO leaves FROM stored;
  FOREACH node IN ARRAY coalesce(leaves, '{}') LOOP
    merges := next_sequence;
    height := 0;
    WHILE merges & 1 = 1 LOOP
      node := sha256('\x01'::bytea || roots[cardinality(roots)] || node);
      roots := trim_array(roots, 1);
      merges := merges >> 1;
      height := height + 1;
      IF height IN (8, 16, 24, 32) THEN
        INSERT INTO pii_vault.audit_subtrees (level, index, root) VALUES (height, merges, node);
      END IF;
    END LOOP;
    roots := roots || node;
    next_sequence := next_sequence + 1;
  END LOOP;
  UPDATE pii_vault.audit_head SET tree_size = next_sequence, frontier = roots;
  RETURN first_sequence;
END
$$;

CREATE OR REPLACE FUNCTION pii_vault.commit_plain_actions(request jsonb, events bytea[]) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  moment timestamptz;
  standings pii_vault.standing[];
BEGIN
  IF jsonb_array_length(request -> 'actions') IS DISTINCT FROM cardinality(events) THEN
    RAISE EXCEPTION 'each action has one event' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RETURN NULL;
  END IF;
  PERFORM pii_vault.bound_transaction();
  PERFORM FROM pii_vault.audit_head FOR UPDATE;
  moment := clock_timestamp();
  standings := pii_vault.check_plain(pii_vault.read_standings(request -> 'principals', moment), request -> 'actions');
  IF standings IS NULL THEN
    RETURN NULL;
  END IF;
  PERFORM pii_vault.apply_charges(standings, moment);
  RETURN pii_vault.append_audit(events);
END
$$;

CREATE OR REPLACE FUNCTION pii_vault.index_audit(max_events integer) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  first_sequence bigint;
  last_sequence bigint;
BEGIN
  PERFORM pii_vault.require(max_events BETWEEN 1 AND 100000, 'max_events is from 1 to 100000');
  PERFORM pii_vault.bound_transaction();
  SELECT next_sequence INTO STRICT first_sequence FROM pii_vault.audit_tokens_head FOR UPDATE;
  SELECT max(sequence) INTO last_sequence FROM (
    SELECT sequence, octet_length(event) AS bytes, sum(octet_length(event)) OVER (ORDER BY sequence) AS bytes_so_far
    FROM (SELECT sequence, event FROM pii_vault.audit_log WHERE sequence >= first_sequence ORDER BY sequence LIMIT max_events) AS next
  ) AS counted
  WHERE bytes_so_far <= 4194304 OR bytes_so_far = bytes;
  IF last_sequence IS NULL THEN
    RETURN first_sequence;
  END IF;
  INSERT INTO pii_vault.audit_tokens (digest, sequence)
    SELECT digest, sequence FROM pii_vault.audit_log, pii_vault.event_digests(event) AS digest
    WHERE sequence BETWEEN first_sequence AND last_sequence
    ORDER BY digest, sequence
    ON CONFLICT DO NOTHING;
  UPDATE pii_vault.audit_tokens_head SET next_sequence = last_sequence + 1;
  RETURN last_sequence + 1;
END
$$;

CREATE OR REPLACE FUNCTION pii_vault.insert_checkpoint(size bigint, signed_note text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM pii_vault.require(size BETWEEN 0 AND (SELECT tree_size FROM pii_vault.audit_head), 'the tree has another size');
  PERFORM pii_vault.require(octet_length(signed_note) <= 8192, 'longer than a signed note');
  INSERT INTO pii_vault.checkpoints (tree_size, note) VALUES (size, signed_note) ON CONFLICT DO NOTHING;
END
$$;

-- Fields are those that have a key, and columns those of user_logins that may hold tokens: no text of the caller's becomes part
-- of a pattern, which would tell letter by letter, by its time, what the rows hold.
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

  -- The 22 letters of a token hold 128 bits, and 4 bits that are zero. A match without a capture: one costs five times as much.
  SELECT string_agg(format(
    'SELECT %1$L::text AS field, create_date AS day, CASE
       WHEN starts_with(%2$I, %3$L) AND substr(%2$I, %4$s) ~ ''^[1-9][0-9]{0,8}_[A-Za-z0-9_-]{21}[AQgw]$''
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

CREATE OR REPLACE FUNCTION pii_vault.request_redrive(ids uuid[]) RETURNS SETOF uuid
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT pii_vault.require(cardinality(ids) <= 10000, 'too many ids');
  WITH locked AS MATERIALIZED (
    SELECT id FROM pii_vault.quarantine WHERE id = ANY (ids) AND state = 'quarantined' ORDER BY id FOR UPDATE
  )
  UPDATE pii_vault.quarantine AS entry SET state = 'redrive_requested', changed_at = now()
  FROM locked WHERE entry.id = locked.id
  RETURNING entry.id
$$;

CREATE OR REPLACE FUNCTION pii_vault.discard_quarantined(ids uuid[]) RETURNS SETOF uuid
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT pii_vault.require(cardinality(ids) <= 10000, 'too many ids');
  WITH locked AS MATERIALIZED (
    SELECT id FROM pii_vault.quarantine
    WHERE id = ANY (ids) AND state IN ('quarantined', 'redrive_requested') ORDER BY id FOR UPDATE
  )
  UPDATE pii_vault.quarantine AS entry SET state = 'discarded', sealed = NULL, changed_at = now()
  FROM locked WHERE entry.id = locked.id
  RETURNING entry.id
$$;

CREATE OR REPLACE FUNCTION pii_vault.take_redrives(max_entries integer)
  RETURNS TABLE (id uuid, message_id text, data_key_version integer, sealed bytea, sent_on date)
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT pii_vault.require(max_entries BETWEEN 1 AND 10000, 'max_entries is from 1 to 10000');
  WITH locked AS MATERIALIZED (
    SELECT * FROM pii_vault.quarantine AS entry WHERE entry.state = 'redrive_requested'
    ORDER BY entry.created_at, entry.id LIMIT max_entries FOR UPDATE SKIP LOCKED
  )
  SELECT counted.id, counted.message_id, counted.data_key_version, counted.sealed, counted.sent_on
  FROM (
    SELECT locked.*, sum(octet_length(locked.sealed)) OVER (ORDER BY locked.created_at, locked.id) AS bytes FROM locked
  ) AS counted
  WHERE counted.bytes <= 4194304 OR counted.bytes = octet_length(counted.sealed)
$$;

CREATE OR REPLACE FUNCTION pii_vault.settle_redrives(ids uuid[], reasons text[], stored integer[], quarantined integer[]) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settled integer;
BEGIN
  PERFORM pii_vault.require(cardinality(ids) <= 10000 AND cardinality(reasons) = cardinality(ids)
    AND cardinality(stored) = cardinality(ids) AND cardinality(quarantined) = cardinality(ids), 'each id has one outcome');
  PERFORM pii_vault.require((SELECT coalesce(bool_and(coalesce(reason ~ '^[a-z0-9_]{1,100}$', true)
      AND coalesce(rows_stored BETWEEN 0 AND 1000000 AND rows_quarantined BETWEEN -1 AND 1000000, false)), true)
    FROM unnest(reasons, stored, quarantined) AS outcome (reason, rows_stored, rows_quarantined)), 'an outcome is not possible');

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
    rows_quarantined = delivery.rows_quarantined + added.quarantined
  FROM (
    SELECT entry.sent_on, entry.message_id, sum(outcome.stored) AS stored, sum(outcome.quarantined) AS quarantined
    FROM unnest(ids, stored, quarantined) AS outcome (id, stored, quarantined)
    JOIN pii_vault.quarantine AS entry ON entry.id = outcome.id
    GROUP BY entry.sent_on, entry.message_id
  ) AS added
  WHERE delivery.sent_on = added.sent_on AND delivery.message_id = added.message_id
    AND (added.stored <> 0 OR added.quarantined <> 0);
END
$$;

CREATE OR REPLACE FUNCTION pii_vault.claim_idempotency(
  caller_issuer text, caller_subject text, caller_key text, request_fingerprint text,
  OUT state text, OUT status integer, OUT body text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  caller uuid := pii_vault.principal_id(caller_issuer, caller_subject);
  found_fingerprint text;
BEGIN
  PERFORM pii_vault.require(octet_length(caller_key) <= 1024, 'the key is too long');
  PERFORM pii_vault.require(octet_length(request_fingerprint) <= 1024, 'the fingerprint is too long');
  INSERT INTO pii_vault.idempotency AS entry (principal, key, fingerprint, created_at)
  VALUES (caller, caller_key, request_fingerprint, clock_timestamp())
  ON CONFLICT (principal, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, status = NULL, body = NULL, created_at = excluded.created_at
    WHERE entry.created_at <= clock_timestamp() - interval '24 hours'
      OR (entry.status IS NULL AND entry.fingerprint = excluded.fingerprint
        AND entry.created_at <= clock_timestamp() - interval '5 minutes');
  IF FOUND THEN
    state := 'claimed';
    -- Those that another claim holds are passed over, so that two that tidy up cannot wait for each other.
    DELETE FROM pii_vault.idempotency WHERE (principal, key) IN (
      SELECT old.principal, old.key FROM pii_vault.idempotency AS old
      WHERE old.created_at <= clock_timestamp() - interval '24 hours' ORDER BY old.created_at LIMIT 100 FOR UPDATE SKIP LOCKED);
    RETURN;
  END IF;
  SELECT entry.fingerprint, entry.status, entry.body INTO found_fingerprint, status, body
  FROM pii_vault.idempotency AS entry WHERE entry.principal = caller AND entry.key = caller_key;
  IF found_fingerprint IS DISTINCT FROM request_fingerprint THEN
    -- Also where it was released this moment: then the caller may try again.
    state := CASE WHEN found_fingerprint IS NULL THEN 'in_progress' ELSE 'other_request' END;
    status := NULL;
    body := NULL;
  ELSE
    state := CASE WHEN status IS NULL THEN 'in_progress' ELSE 'done' END;
  END IF;
END
$$;

CREATE OR REPLACE FUNCTION pii_vault.complete_idempotency(
  caller_issuer text, caller_subject text, caller_key text, reply_status integer, reply_body text) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT pii_vault.require(reply_status BETWEEN 100 AND 599, 'the status is not one of HTTP');
  SELECT pii_vault.require(octet_length(reply_body) <= 4194304, 'the body is too long');
  UPDATE pii_vault.idempotency SET status = reply_status, body = reply_body
  WHERE principal = pii_vault.principal_id(caller_issuer, caller_subject) AND key = caller_key AND status IS NULL
$$;

CREATE OR REPLACE FUNCTION ingest.ensure_partitions(days date[]) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '20s'
AS $$
DECLARE
  day date;
  month date;
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

REVOKE ALL ON FUNCTION pii_vault.require(boolean, text), pii_vault.bound_transaction() FROM PUBLIC;

RESET ROLE;
