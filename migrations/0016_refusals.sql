SET LOCAL ROLE tokenvault_owner;

-- Refused actions of a principal that are not in the log yet. The log cannot be shortened, so whoever may do nothing must not make
-- it grow with each call: the first refusal of a kind is an event at once, those of the minute after it are counted here, and
-- become one event together.
CREATE TABLE pii_vault.refusals (
  principal uuid NOT NULL,
  kind text NOT NULL,
  since timestamptz NOT NULL,
  counted bigint NOT NULL DEFAULT 0,
  requested bigint NOT NULL DEFAULT 0,
  event text,
  last_at text,
  PRIMARY KEY (principal, kind)
);
CREATE INDEX refusals_by_time ON pii_vault.refusals (since);
COMMENT ON TABLE pii_vault.refusals IS 'Refused actions that are counted and not yet in the audit log: one row for each principal and kind. After a minute the row becomes one event.';
COMMENT ON COLUMN pii_vault.refusals.principal IS 'Id of the principal: pii_vault.principal_id of issuer and subject.';
COMMENT ON COLUMN pii_vault.refusals.kind IS 'What is counted together: operation, decision and code.';
COMMENT ON COLUMN pii_vault.refusals.since IS 'When the first of the kind was refused, whose event is in the log.';
COMMENT ON COLUMN pii_vault.refusals.counted IS 'How many came after it.';
COMMENT ON COLUMN pii_vault.refusals.requested IS 'How many items they asked for, together.';
COMMENT ON COLUMN pii_vault.refusals.event IS 'The event that the first of those counted would have had; null while there is none.';
COMMENT ON COLUMN pii_vault.refusals.last_at IS 'The time that the event of the last of them would have had; null while there is none.';

-- The event of those that a row counts: that of the first of them, with all items asked for, and count and until behind the
-- other members. None where there was none, and one as it is.
CREATE FUNCTION pii_vault.fold_refusal(refusal pii_vault.refusals) RETURNS SETOF bytea
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT convert_to(CASE refusal.counted
    WHEN 1 THEN refusal.event
    ELSE (
      SELECT '{' || string_agg(to_json(name)::text || ':' ||
          CASE name WHEN 'requested' THEN refusal.requested::text ELSE value::text END, ',' ORDER BY place)
        || ',"count":' || refusal.counted || ',"until":' || to_json(refusal.last_at) || '}'
      FROM json_each(refusal.event::json) WITH ORDINALITY AS member (name, value, place))
    END, 'UTF8')
  WHERE refusal.counted > 0
$$;

-- Appends events in their order, but counts those that repeat a refusal of the last minute. `repeats` holds for each event null,
-- or {issuer, subject, kind, requested, at}. Returns for each event its sequence, or null where it was counted. What was counted
-- of an earlier minute is appended first.
CREATE FUNCTION pii_vault.append_actions(events bytea[], repeats jsonb) RETURNS bigint[]
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
      WHERE refusal.principal = id AND refusal.kind = repeat ->> 'kind' AND refusal.since > moment - interval '1 minute';
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

-- Appends what was counted in minutes that are over, or all that was counted: at most 500 rows, oldest first. Returns how many
-- rows were done with.
CREATE FUNCTION pii_vault.fold_refusals(everything boolean) RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- Of the time before the lock, which is earlier: a minute that is over by then stays over.
  due timestamptz := CASE WHEN everything THEN 'infinity' ELSE clock_timestamp() - interval '1 minute' END;
  done integer;
  appended bytea[];
BEGIN
  -- Nearly always there is nothing to do, and nobody has to wait for it.
  IF NOT EXISTS (SELECT FROM pii_vault.refusals WHERE since <= due) THEN
    RETURN 0;
  END IF;
  PERFORM FROM pii_vault.audit_head FOR UPDATE;
  WITH over AS (
    DELETE FROM pii_vault.refusals AS refusal WHERE (refusal.principal, refusal.kind) IN (
      SELECT principal, kind FROM pii_vault.refusals WHERE since <= due ORDER BY since LIMIT 500)
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

CREATE OR REPLACE VIEW pii_vault.audit_events WITH (security_barrier) AS
  SELECT
    sequence,
    CASE WHEN pg_input_is_valid(event ->> 'at', 'timestamptz') THEN (event ->> 'at')::timestamptz END AS at,
    event ->> 'type' AS type,
    event ->> 'subject' AS subject,
    event ->> 'issuer' AS issuer,
    event -> 'roles' AS roles,
    event ->> 'purpose' AS purpose,
    event ->> 'decision' AS decision,
    event ->> 'code' AS code,
    CASE WHEN pg_input_is_valid(event ->> 'requested', 'integer') THEN (event ->> 'requested')::integer END AS requested,
    CASE WHEN pg_input_is_valid(event ->> 'granted', 'integer') THEN (event ->> 'granted')::integer END AS granted,
    event -> 'tokens' AS tokens,
    event -> 'withheld' AS withheld,
    event ->> 'requestId' AS request_id,
    event -> 'quarantine' AS quarantine,
    event ->> 'ticket' AS ticket,
    CASE WHEN pg_input_is_valid(event ->> 'partial', 'integer') THEN (event ->> 'partial')::integer END AS partial,
    event ->> 'approval' AS approval,
    event -> 'concerns' AS concerns,
    event ->> 'policy' AS policy,
    CASE WHEN pg_input_is_valid(event ->> 'count', 'integer') THEN (event ->> 'count')::integer END AS count,
    CASE WHEN pg_input_is_valid(event ->> 'until', 'timestamptz') THEN (event ->> 'until')::timestamptz END AS until
  FROM (
    SELECT sequence, CASE WHEN pg_input_is_valid(event, 'jsonb') THEN event::jsonb END AS event
    FROM (SELECT sequence, convert_from(event, 'UTF8') AS event FROM pii_vault.audit_log) AS text
  ) AS log;
COMMENT ON COLUMN pii_vault.audit_events.count IS 'Number of refused actions that the event stands for; null where it stands for one.';
COMMENT ON COLUMN pii_vault.audit_events.until IS 'When the last of these was asked for; null where the event stands for one.';

REVOKE ALL ON FUNCTION
  pii_vault.fold_refusal(pii_vault.refusals), pii_vault.append_actions(bytea[], jsonb), pii_vault.fold_refusals(boolean)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_vault.append_actions(bytea[], jsonb), pii_vault.fold_refusals(boolean) TO tokenvault_api;
GRANT SELECT ON pii_vault.refusals TO tokenvault_auditor;

RESET ROLE;
