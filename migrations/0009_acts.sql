SET LOCAL ROLE tokenvault_owner;

-- A principal as a key of fixed length: issuers and subjects may be longer than an index takes.
CREATE FUNCTION pii_vault.principal_id(issuer text, subject text) RETURNS uuid
  LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT encode(substr(sha256(convert_to(length(issuer) || ':' || issuer || subject, 'UTF8')), 1, 16), 'hex')::uuid
$$;

-- Values that a principal took, by slots of 10 seconds for the budget of a minute and of an hour for that of a day. A slot
-- counts whole for as long as any part of it is inside the window, so that no window of that length ever holds more than
-- the budget.
CREATE TABLE pii_vault.spending (
  principal uuid NOT NULL,
  slot_seconds integer NOT NULL CHECK (slot_seconds IN (10, 3600)),
  slot timestamptz NOT NULL,
  "values" bigint NOT NULL,
  PRIMARY KEY (principal, slot_seconds, slot)
);
CREATE INDEX spending_by_slot ON pii_vault.spending (slot_seconds, slot);

-- Who used up a budget of a day, until an administrator lifts it.
CREATE TABLE pii_vault.suspensions (
  principal uuid PRIMARY KEY,
  issuer text NOT NULL,
  subject text NOT NULL,
  suspended_at timestamptz NOT NULL
);

-- Requests for the approval of a second person. `digest` is keyed and covers exactly what is asked.
CREATE TABLE pii_vault.approvals (
  id uuid PRIMARY KEY,
  principal uuid NOT NULL,
  issuer text NOT NULL,
  subject text NOT NULL,
  roles jsonb NOT NULL,
  purpose text NOT NULL,
  ticket text,
  reveal text NOT NULL CHECK (reveal IN ('full', 'partial')),
  "values" bigint NOT NULL,
  fields jsonb NOT NULL,
  digest text NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'approved', 'refused', 'used')),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  decided_by text,
  decided_at timestamptz,
  CONSTRAINT approvals_decided CHECK ((state = 'pending') = (decided_at IS NULL) AND (decided_at IS NULL) = (decided_by IS NULL)),
  -- What every path through the functions ensures already; it costs nothing to have it twice.
  CONSTRAINT approvals_by_another CHECK (decided_by <> subject)
);
-- Rows are never removed, so a list of any kind is read from an index in its order, up to the end of the page.
CREATE INDEX approvals_by_time ON pii_vault.approvals (created_at, id);
CREATE INDEX approvals_by_state ON pii_vault.approvals (state, created_at, id);
CREATE INDEX approvals_by_principal ON pii_vault.approvals (principal, created_at, id);
CREATE INDEX approvals_by_principal_and_state ON pii_vault.approvals (principal, state, created_at, id);
CREATE INDEX approvals_open ON pii_vault.approvals (principal, digest) WHERE state IN ('pending', 'approved');

-- Replies of state-changing calls. Without a status the call is still being worked on.
CREATE TABLE pii_vault.idempotency (
  principal uuid NOT NULL,
  key text NOT NULL,
  fingerprint text NOT NULL,
  status integer,
  body text,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (principal, key),
  CONSTRAINT idempotency_reply CHECK ((status IS NULL) = (body IS NULL))
);
CREATE INDEX idempotency_by_time ON pii_vault.idempotency (created_at);

-- When a charge that a window refuses fits again: whole seconds until enough slots left it. One that is larger than
-- the budget never does; that gets the length of the window.
CREATE FUNCTION pii_vault.seconds_until_fit(
  spender uuid, seconds integer, window_length interval, charged bigint, charge bigint, budget bigint, moment timestamptz)
  RETURNS integer
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(
    ceil(extract(epoch FROM min(leaves) FILTER (WHERE later + charge <= budget) - moment)),
    extract(epoch FROM window_length))::integer
  FROM (
    SELECT slot + make_interval(secs => seconds) + window_length AS leaves,
      sum(taken) OVER (ORDER BY slot DESC) - taken AS later -- what newer slots hold
    FROM (
      SELECT slot, sum(taken) AS taken FROM (
        SELECT slot, "values" AS taken FROM pii_vault.spending
        WHERE principal = spender AND slot_seconds = seconds
          AND slot > moment - window_length - make_interval(secs => seconds)
        UNION ALL SELECT date_bin(make_interval(secs => seconds), moment, 'epoch'), charged
      ) AS stored_and_charged GROUP BY slot
    ) AS slots
  ) AS ends
$$;

-- Applies what an act changes besides being recorded, or says why it may not: an object with a code. With only_check
-- nothing is changed. Called under the audit head's row lock, so that of two that use one approval the second finds it used.
CREATE FUNCTION pii_vault.apply_effect(
  effect jsonb, actor_issuer text, actor_subject text, moment timestamptz, only_check boolean) RETURNS jsonb
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  actor uuid := pii_vault.principal_id(actor_issuer, actor_subject);
  -- An id of another shape is one that nothing has.
  named uuid := CASE WHEN pg_input_is_valid(effect ->> 'id', 'uuid') THEN (effect ->> 'id')::uuid END;
  request pii_vault.approvals;
  lifted uuid;
BEGIN
  CASE effect ->> 'kind'
  WHEN 'request_approval' THEN
    SELECT * INTO request FROM pii_vault.approvals AS approval
    WHERE approval.principal = actor AND approval.digest = effect ->> 'digest' AND approval.state IN ('pending', 'approved')
      AND approval.expires_at > moment
    ORDER BY approval.created_at LIMIT 1;
    IF NOT FOUND THEN
      IF (SELECT count(*) FROM pii_vault.approvals AS approval
        WHERE approval.principal = actor AND approval.state = 'pending' AND approval.expires_at > moment
          AND approval.created_at > moment - interval '24 hours') >= 100 THEN
        RETURN '{"code": "approvals_too_many"}';
      END IF;
      request.id := (effect ->> 'id')::uuid;
      request.state := 'pending';
      request.expires_at := moment + interval '24 hours';
      IF NOT only_check THEN
        INSERT INTO pii_vault.approvals (id, principal, issuer, subject, roles, purpose, ticket, reveal, "values", fields,
          digest, state, created_at, expires_at)
        VALUES (request.id, actor, actor_issuer, actor_subject, effect -> 'roles', effect ->> 'purpose', effect ->> 'ticket',
          effect ->> 'reveal', (effect ->> 'values')::bigint, effect -> 'fields', effect ->> 'digest', request.state, moment,
          request.expires_at);
      END IF;
    END IF;
    RETURN jsonb_build_object('approvalId', request.id, 'approvalState', request.state,
      'approvalExpiresAt', to_char(request.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));
  WHEN 'use_approval' THEN
    -- One code whatever is wrong: nobody learns of requests of others.
    IF NOT EXISTS (SELECT FROM pii_vault.approvals AS approval
      WHERE approval.id = named AND approval.principal = actor AND approval.digest = effect ->> 'digest'
        AND approval.state = 'approved' AND approval.expires_at > moment) THEN
      RETURN '{"code": "approval_unusable"}';
    END IF;
    IF NOT only_check THEN
      UPDATE pii_vault.approvals AS approval SET state = 'used' WHERE approval.id = named;
    END IF;
  WHEN 'decide_approval' THEN
    SELECT * INTO request FROM pii_vault.approvals AS approval WHERE approval.id = named;
    IF NOT FOUND THEN
      RETURN '{"code": "approval_unknown"}';
    -- A subject is one person, whichever issuer says so.
    ELSIF request.subject = actor_subject THEN
      RETURN '{"code": "approval_self"}';
    ELSIF request.state <> 'pending' OR request.expires_at <= moment THEN
      RETURN '{"code": "approval_settled"}';
    END IF;
    IF NOT only_check THEN
      UPDATE pii_vault.approvals AS approval SET
        state = CASE effect ->> 'decision' WHEN 'approve' THEN 'approved' WHEN 'refuse' THEN 'refused' END,
        expires_at = CASE effect ->> 'decision' WHEN 'approve' THEN moment + interval '15 minutes' ELSE approval.expires_at END,
        decided_by = actor_subject, decided_at = moment
      WHERE approval.id = named;
    END IF;
  WHEN 'lift_suspension' THEN
    lifted := pii_vault.principal_id(effect ->> 'issuer', effect ->> 'subject');
    IF NOT EXISTS (SELECT FROM pii_vault.suspensions AS suspension WHERE suspension.principal = lifted) THEN
      RETURN '{"code": "suspension_unknown"}';
    END IF;
    IF NOT only_check THEN
      DELETE FROM pii_vault.suspensions AS suspension WHERE suspension.principal = lifted;
      DELETE FROM pii_vault.spending AS spent WHERE spent.principal = lifted;
      RETURN jsonb_build_object('lifted', lifted);
    END IF;
  END CASE;
  RETURN '{}';
END
$$;

-- Rules acts in their order: suspension, effect, charge. `request` is {principals: [{issuer, subject}], acts: [{principal:
-- its place from 0, values, perMinute, perDay, effect}]}. Returns one ruling an act: null where it is allowed and there is
-- no more to say. The head's row lock comes first and is held to the end of the transaction, in which the events are
-- appended: whoever rules next sees what was spent, suspended and approved here.
--
-- With only_plain it gives up, before anything is changed, where an act has an effect or is refused, and returns null.
CREATE FUNCTION pii_vault.rule_acts(request jsonb, only_plain boolean DEFAULT false) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  moment timestamptz;
  -- What is known of each principal of the request, by its place from 1.
  issuers text[];
  subjects text[];
  ids uuid[];
  suspended boolean[];
  minute_spent bigint[];
  day_spent bigint[];
  charged bigint[];
  act record;
  place integer;
  lifted_place integer;
  ruling jsonb;
  rulings jsonb[] := '{}';
  has_charge boolean := false;
  opened integer;
BEGIN
  -- Between ruling and append the caller has its turn, and the head stays locked: one that stalls must not stop all others.
  IF NOT only_plain THEN
    PERFORM set_config('idle_in_transaction_session_timeout', '3000', true);
  END IF;
  PERFORM FROM pii_vault.audit_head FOR UPDATE;
  -- Not the time at which the transaction began: it may have waited for the lock.
  moment := clock_timestamp();

  SELECT array_agg(issuer ORDER BY n), array_agg(subject ORDER BY n), array_agg(id ORDER BY n), array_agg(0 ORDER BY n),
    array_agg(EXISTS (SELECT FROM pii_vault.suspensions AS suspension WHERE suspension.principal = id) ORDER BY n),
    array_agg(coalesce((SELECT sum(spent."values") FROM pii_vault.spending AS spent
      WHERE spent.principal = id AND spent.slot_seconds = 10 AND spent.slot > moment - interval '70 seconds'), 0) ORDER BY n),
    array_agg(coalesce((SELECT sum(spent."values") FROM pii_vault.spending AS spent
      WHERE spent.principal = id AND spent.slot_seconds = 3600 AND spent.slot > moment - interval '25 hours'), 0) ORDER BY n)
  INTO issuers, subjects, ids, charged, suspended, minute_spent, day_spent
  FROM (
    SELECT n, named ->> 'issuer' AS issuer, named ->> 'subject' AS subject,
      pii_vault.principal_id(named ->> 'issuer', named ->> 'subject') AS id
    FROM jsonb_array_elements(request -> 'principals') WITH ORDINALITY AS given (named, n)
  ) AS principals;

  FOR act IN
    SELECT principal, coalesce("values", 0) AS taken, "perMinute" AS per_minute, "perDay" AS per_day, effect
    FROM ROWS FROM (jsonb_to_recordset(request -> 'acts')
      AS (principal integer, "values" bigint, "perMinute" bigint, "perDay" bigint, effect jsonb)) WITH ORDINALITY
    ORDER BY ordinality
  LOOP
    place := act.principal + 1;
    ruling := NULL;
    IF only_plain AND act.effect IS NOT NULL THEN
      RETURN NULL;
    END IF;

    IF suspended[place] THEN
      ruling := '{"code": "principal_suspended"}';
    ELSIF act.effect IS NOT NULL THEN
      ruling := pii_vault.apply_effect(act.effect, issuers[place], subjects[place], moment, true);
    END IF;
    IF act.taken > 0 AND ruling -> 'code' IS NULL THEN
      IF day_spent[place] + act.taken > act.per_day THEN
        IF only_plain THEN
          RETURN NULL;
        END IF;
        ruling := jsonb_build_object('code', 'budget_exceeded', 'window', 'day', 'retryAfterSeconds',
          pii_vault.seconds_until_fit(ids[place], 3600, interval '24 hours', charged[place], act.taken, act.per_day, moment));
        suspended[place] := true;
        INSERT INTO pii_vault.suspensions (principal, issuer, subject, suspended_at)
        VALUES (ids[place], issuers[place], subjects[place], moment);
      ELSIF minute_spent[place] + act.taken > act.per_minute THEN
        ruling := jsonb_build_object('code', 'budget_exceeded', 'window', 'minute', 'retryAfterSeconds',
          pii_vault.seconds_until_fit(ids[place], 10, interval '1 minute', charged[place], act.taken, act.per_minute, moment));
      ELSE
        minute_spent[place] := minute_spent[place] + act.taken;
        day_spent[place] := day_spent[place] + act.taken;
        charged[place] := charged[place] + act.taken;
        has_charge := true;
      END IF;
    END IF;

    IF only_plain THEN
      IF ruling IS NOT NULL THEN
        RETURN NULL;
      END IF;
      CONTINUE;
    END IF;
    -- Only now: an approval is not used up by a call that the budget refuses.
    IF act.effect IS NOT NULL AND ruling -> 'code' IS NULL THEN
      ruling := pii_vault.apply_effect(act.effect, issuers[place], subjects[place], moment, false);
      lifted_place := array_position(ids, (ruling ->> 'lifted')::uuid);
      IF lifted_place IS NOT NULL THEN
        suspended[lifted_place] := false;
        minute_spent[lifted_place] := 0;
        day_spent[lifted_place] := 0;
        charged[lifted_place] := 0;
      END IF;
    END IF;
    rulings := rulings || ruling;
  END LOOP;

  IF NOT has_charge THEN
    RETURN to_jsonb(rulings);
  END IF;
  -- Once a principal, however many acts it has here.
  WITH added AS (
    INSERT INTO pii_vault.spending AS spent (principal, slot_seconds, slot, "values")
    SELECT id, seconds, date_bin(make_interval(secs => seconds), moment, 'epoch'), taken
    FROM unnest(ids, charged) AS charge (id, taken), unnest(ARRAY[10, 3600]) AS seconds
    WHERE taken > 0
    ON CONFLICT (principal, slot_seconds, slot) DO UPDATE SET "values" = spent."values" + excluded."values"
    RETURNING xmax = 0 AS is_new
  )
  SELECT count(*) FILTER (WHERE is_new) INTO opened FROM added;
  -- A slot that left its window goes when others come, so that there are never many. The head's lock keeps this single.
  IF opened > 0 THEN
    DELETE FROM pii_vault.spending WHERE (principal, slot_seconds, slot) IN (
      (SELECT principal, slot_seconds, slot FROM pii_vault.spending
        WHERE slot_seconds = 10 AND slot <= moment - interval '70 seconds' ORDER BY slot LIMIT 100 + opened)
      UNION ALL
      (SELECT principal, slot_seconds, slot FROM pii_vault.spending
        WHERE slot_seconds = 3600 AND slot <= moment - interval '25 hours' ORDER BY slot LIMIT 100 + opened));
  END IF;
  RETURN to_jsonb(rulings);
END
$$;

-- Acts that are all allowed and change nothing else, which is nearly every group: ruled and recorded in one statement, so
-- that the head is locked for no round trip. Returns the sequence of the first event, or null, with nothing changed, where
-- they are not such acts. Nor does it anything under another isolation level than it needs, which a session's default may
-- be: there, whoever waited for the head would fail. Of a transaction of its own the caller can tell the level.
CREATE FUNCTION pii_vault.commit_plain_acts(request jsonb, events bytea[]) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF jsonb_array_length(request -> 'acts') IS DISTINCT FROM cardinality(events) THEN
    RAISE EXCEPTION 'each act has one event' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' OR pii_vault.rule_acts(request, true) IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN pii_vault.append_audit(events);
END
$$;

-- Claims a key for a request, or tells what became of it. A claim that got no reply within five minutes belonged to a
-- process that died, and goes to whoever repeats the request.
CREATE FUNCTION pii_vault.claim_idempotency(
  caller_issuer text, caller_subject text, caller_key text, request_fingerprint text,
  OUT state text, OUT status integer, OUT body text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  caller uuid := pii_vault.principal_id(caller_issuer, caller_subject);
  found_fingerprint text;
BEGIN
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

CREATE FUNCTION pii_vault.complete_idempotency(
  caller_issuer text, caller_subject text, caller_key text, reply_status integer, reply_body text) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE pii_vault.idempotency SET status = reply_status, body = reply_body
  WHERE principal = pii_vault.principal_id(caller_issuer, caller_subject) AND key = caller_key AND status IS NULL
$$;

CREATE FUNCTION pii_vault.release_idempotency(caller_issuer text, caller_subject text, caller_key text) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  DELETE FROM pii_vault.idempotency
  WHERE principal = pii_vault.principal_id(caller_issuer, caller_subject) AND key = caller_key AND status IS NULL
$$;

REVOKE ALL ON FUNCTION
  pii_vault.principal_id(text, text),
  pii_vault.seconds_until_fit(uuid, integer, interval, bigint, bigint, bigint, timestamptz),
  pii_vault.apply_effect(jsonb, text, text, timestamptz, boolean),
  pii_vault.rule_acts(jsonb, boolean), pii_vault.commit_plain_acts(jsonb, bytea[]),
  pii_vault.claim_idempotency(text, text, text, text), pii_vault.complete_idempotency(text, text, text, integer, text),
  pii_vault.release_idempotency(text, text, text)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  pii_vault.principal_id(text, text), pii_vault.rule_acts(jsonb, boolean), pii_vault.commit_plain_acts(jsonb, bytea[]),
  pii_vault.claim_idempotency(text, text, text, text), pii_vault.complete_idempotency(text, text, text, integer, text),
  pii_vault.release_idempotency(text, text, text)
  TO tokenvault_api;
GRANT SELECT ON pii_vault.approvals, pii_vault.suspensions TO tokenvault_api;

RESET ROLE;
