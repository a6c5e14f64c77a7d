SET LOCAL ROLE tokenvault_owner;

-- A principal as a key of fixed length: issuers and subjects may be longer than an index takes.
CREATE FUNCTION pii_vault.principal_id(issuer text, subject text) RETURNS uuid
  LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT encode(substr(sha256(convert_to(length(issuer) || ':' || issuer || subject, 'UTF8')), 1, 16), 'hex')::uuid
$$;

-- A slot counts whole for as long as any part of it is inside the window, so that no window of that length ever holds more
-- than the budget.
CREATE TABLE pii_vault.spending (
  principal uuid NOT NULL,
  slot_seconds integer NOT NULL CHECK (slot_seconds IN (10, 3600)),
  slot timestamptz NOT NULL,
  "values" bigint NOT NULL,
  PRIMARY KEY (principal, slot_seconds, slot)
);
CREATE INDEX spending_by_slot ON pii_vault.spending (slot_seconds, slot);

CREATE TABLE pii_vault.suspensions (
  principal uuid PRIMARY KEY,
  issuer text NOT NULL,
  subject text NOT NULL,
  suspended_at timestamptz NOT NULL
);

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
  -- Every path through the functions ensures this already; a second check costs nothing.
  CONSTRAINT approvals_by_another CHECK (decided_by <> subject)
);
-- Rows are never removed, so each kind of list has an index in its order, and is read up to the end of its page.
CREATE INDEX approvals_by_time ON pii_vault.approvals (created_at, id);
CREATE INDEX approvals_by_state ON pii_vault.approvals (state, created_at, id);
CREATE INDEX approvals_by_principal ON pii_vault.approvals (principal, created_at, id);
CREATE INDEX approvals_by_principal_and_state ON pii_vault.approvals (principal, state, created_at, id);
CREATE INDEX approvals_open ON pii_vault.approvals (principal, digest) WHERE state IN ('pending', 'approved');

-- When a charge that a window refuses fits again: whole seconds until enough slots have left the window. A charge that is
-- larger than the budget never fits; it gets the length of the window.
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

-- How a principal stands while a group of actions is admitted: read once, then kept up to date from action to action.
CREATE TYPE pii_vault.standing AS (
  principal uuid,
  issuer text,
  subject text,
  is_suspended boolean,
  minute_values bigint, -- what was spent of the budget of a minute, and of that of a day
  day_values bigint,
  charged bigint -- what this group adds to both
);

-- How the principals [{issuer, subject}] stand, in their order.
CREATE FUNCTION pii_vault.read_standings(principals jsonb, moment timestamptz) RETURNS pii_vault.standing[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT array_agg(ROW(id, issuer, subject,
      EXISTS (SELECT FROM pii_vault.suspensions AS suspension WHERE suspension.principal = id),
      coalesce((SELECT sum(spent."values") FROM pii_vault.spending AS spent
        WHERE spent.principal = id AND spent.slot_seconds = 10 AND spent.slot > moment - interval '70 seconds'), 0),
      coalesce((SELECT sum(spent."values") FROM pii_vault.spending AS spent
        WHERE spent.principal = id AND spent.slot_seconds = 3600 AND spent.slot > moment - interval '25 hours'), 0),
      0)::pii_vault.standing ORDER BY place)
    FROM (
      SELECT place, named ->> 'issuer' AS issuer, named ->> 'subject' AS subject,
        pii_vault.principal_id(named ->> 'issuer', named ->> 'subject') AS id
      FROM jsonb_array_elements(principals) WITH ORDINALITY AS given (named, place)
    ) AS named_principals);
END
$$;

-- Checks whether all actions are plain: no action changes anything, no principal is suspended, and the budgets hold the
-- charges of all actions in their order. Returns how the principals stand after them, or null if an action is not plain.
CREATE FUNCTION pii_vault.check_plain(standings pii_vault.standing[], actions jsonb) RETURNS pii_vault.standing[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  action record;
  standing pii_vault.standing;
BEGIN
  FOR action IN
    SELECT principal + 1 AS place, coalesce("values", 0) AS taken, "perMinute" AS per_minute, "perDay" AS per_day, change
    FROM ROWS FROM (jsonb_to_recordset(actions)
      AS (principal integer, "values" bigint, "perMinute" bigint, "perDay" bigint, change jsonb)) WITH ORDINALITY
    ORDER BY ordinality
  LOOP
    standing := standings[action.place];
    standing.charged := standing.charged + action.taken;
    IF action.change IS NOT NULL OR standing.is_suspended OR action.taken > 0 AND (
      standing.day_values + standing.charged > action.per_day OR standing.minute_values + standing.charged > action.per_minute) THEN
      RETURN NULL;
    END IF;
    standings[action.place] := standing;
  END LOOP;
  RETURN standings;
END
$$;

-- Checks whether the budgets hold a charge. Returns null, or why not: {code, window, retryAfterSeconds}.
CREATE FUNCTION pii_vault.check_charge(
  standing pii_vault.standing, taken bigint, per_minute bigint, per_day bigint, moment timestamptz) RETURNS jsonb
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF taken > 0 AND standing.day_values + standing.charged + taken > per_day THEN
    RETURN jsonb_build_object('code', 'budget_exceeded', 'window', 'day', 'retryAfterSeconds', pii_vault.seconds_until_fit(
      standing.principal, 3600, interval '24 hours', standing.charged, taken, per_day, moment));
  ELSIF taken > 0 AND standing.minute_values + standing.charged + taken > per_minute THEN
    RETURN jsonb_build_object('code', 'budget_exceeded', 'window', 'minute', 'retryAfterSeconds', pii_vault.seconds_until_fit(
      standing.principal, 10, interval '1 minute', standing.charged, taken, per_minute, moment));
  END IF;
  RETURN NULL;
END
$$;

-- Checks whether a caller may make a change. Returns null if so, or {code} if not. For a request for approval it returns the
-- request that is open afterwards: {approvalId, approvalState, approvalExpiresAt}. It is called under the audit head's row lock:
-- if two actions use one approval, the second finds it used.
CREATE FUNCTION pii_vault.check_change(change jsonb, caller pii_vault.standing, moment timestamptz) RETURNS jsonb
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- Text that is not a UUID is the id of no request.
  named uuid := CASE WHEN pg_input_is_valid(change ->> 'id', 'uuid') THEN (change ->> 'id')::uuid END;
  request pii_vault.approvals;
BEGIN
  CASE change ->> 'kind'
  WHEN 'request_approval' THEN
    SELECT * INTO request FROM pii_vault.approvals AS approval
    WHERE approval.principal = caller.principal AND approval.digest = change ->> 'digest'
      AND approval.state IN ('pending', 'approved') AND approval.expires_at > moment
    ORDER BY approval.created_at LIMIT 1;
    IF NOT FOUND THEN
      IF (SELECT count(*) FROM pii_vault.approvals AS approval
        WHERE approval.principal = caller.principal AND approval.state = 'pending' AND approval.expires_at > moment
          AND approval.created_at > moment - interval '24 hours') >= 100 THEN
        RETURN '{"code": "approvals_too_many"}';
      END IF;
      request.id := (change ->> 'id')::uuid;
      request.state := 'pending';
      request.expires_at := moment + interval '24 hours';
    END IF;
    RETURN jsonb_build_object('approvalId', request.id, 'approvalState', request.state,
      'approvalExpiresAt', to_char(request.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));
  WHEN 'use_approval' THEN
    -- One code for every cause, so that nobody learns about the requests of others.
    IF NOT EXISTS (SELECT FROM pii_vault.approvals AS approval
      WHERE approval.id = named AND approval.principal = caller.principal AND approval.digest = change ->> 'digest'
        AND approval.state = 'approved' AND approval.expires_at > moment) THEN
      RETURN '{"code": "approval_unusable"}';
    END IF;
  WHEN 'decide_approval' THEN
    SELECT * INTO request FROM pii_vault.approvals AS approval WHERE approval.id = named;
    IF NOT FOUND THEN
      RETURN '{"code": "approval_unknown"}';
    -- Equal subjects count as one person, even of two issuers.
    ELSIF request.subject = caller.subject THEN
      RETURN '{"code": "approval_self"}';
    ELSIF request.state <> 'pending' OR request.expires_at <= moment THEN
      RETURN '{"code": "approval_settled"}';
    END IF;
  WHEN 'lift_suspension' THEN
    IF NOT EXISTS (SELECT FROM pii_vault.suspensions AS suspension
      WHERE suspension.principal = pii_vault.principal_id(change ->> 'issuer', change ->> 'subject')) THEN
      RETURN '{"code": "suspension_unknown"}';
    END IF;
  END CASE;
  RETURN NULL;
END
$$;

-- Makes a change that check_change admitted at this moment.
CREATE FUNCTION pii_vault.apply_change(change jsonb, admission jsonb, caller pii_vault.standing, moment timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  CASE change ->> 'kind'
  WHEN 'request_approval' THEN
    -- Unless a request for the same call is open already.
    IF (admission ->> 'approvalId')::uuid = (change ->> 'id')::uuid THEN
      INSERT INTO pii_vault.approvals (id, principal, issuer, subject, roles, purpose, ticket, reveal, "values", fields,
        digest, state, created_at, expires_at)
      VALUES ((change ->> 'id')::uuid, caller.principal, caller.issuer, caller.subject, change -> 'roles', change ->> 'purpose',
        change ->> 'ticket', change ->> 'reveal', (change ->> 'values')::bigint, change -> 'fields', change ->> 'digest',
        'pending', moment, moment + interval '24 hours');
    END IF;
  WHEN 'use_approval' THEN
    UPDATE pii_vault.approvals AS approval SET state = 'used' WHERE approval.id = (change ->> 'id')::uuid;
  WHEN 'decide_approval' THEN
    UPDATE pii_vault.approvals AS approval SET
      state = CASE change ->> 'decision' WHEN 'approve' THEN 'approved' WHEN 'refuse' THEN 'refused' END,
      expires_at = CASE change ->> 'decision' WHEN 'approve' THEN moment + interval '15 minutes' ELSE approval.expires_at END,
      decided_by = caller.subject, decided_at = moment
    WHERE approval.id = (change ->> 'id')::uuid;
  WHEN 'lift_suspension' THEN
    DELETE FROM pii_vault.suspensions AS suspension
    WHERE suspension.principal = pii_vault.principal_id(change ->> 'issuer', change ->> 'subject');
    DELETE FROM pii_vault.spending AS spent
    WHERE spent.principal = pii_vault.principal_id(change ->> 'issuer', change ->> 'subject');
  END CASE;
END
$$;

-- Adds the charges of a group: one row for each principal, however many actions it has in the group.
CREATE FUNCTION pii_vault.apply_charges(standings pii_vault.standing[], moment timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  opened integer;
BEGIN
  WITH added AS (
    INSERT INTO pii_vault.spending AS spent (principal, slot_seconds, slot, "values")
    SELECT standing.principal, seconds, date_bin(make_interval(secs => seconds), moment, 'epoch'), standing.charged
    FROM unnest(standings) AS standing, unnest(ARRAY[10, 3600]) AS seconds
    WHERE standing.charged > 0
    ON CONFLICT (principal, slot_seconds, slot) DO UPDATE SET "values" = spent."values" + excluded."values"
    RETURNING xmax = 0 AS is_new
  )
  SELECT count(*) FILTER (WHERE is_new) INTO opened FROM added;
  -- Slots that left their window are removed when new ones are made, so that few are kept. The head's lock lets one caller at a
  -- time do it.
  IF opened > 0 THEN
    DELETE FROM pii_vault.spending WHERE (principal, slot_seconds, slot) IN (
      (SELECT principal, slot_seconds, slot FROM pii_vault.spending
        WHERE slot_seconds = 10 AND slot <= moment - interval '70 seconds' ORDER BY slot LIMIT 100 + opened)
      UNION ALL
      (SELECT principal, slot_seconds, slot FROM pii_vault.spending
        WHERE slot_seconds = 3600 AND slot <= moment - interval '25 hours' ORDER BY slot LIMIT 100 + opened));
  END IF;
END
$$;

-- Admits actions in their order, each by suspension, change and charge, and applies what is admitted. `request` is
-- {principals: [{issuer, subject}], actions: [{principal: its place from 0, values, perMinute, perDay, change}]}. Returns one
-- admission for each action, null if it is admitted and nothing more is to be said. The head's row lock is taken first and held
-- to the end of the transaction, in which the events are appended: the next action to be admitted sees what was spent,
-- suspended and approved here.
CREATE FUNCTION pii_vault.admit_actions(request jsonb) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  moment timestamptz;
  standings pii_vault.standing[];
  standing pii_vault.standing;
  action record;
  admission jsonb;
  admissions jsonb[] := '{}';
BEGIN
  -- Between admission and append the head stays locked while the caller works: one stalled caller must not stop all others.
  PERFORM set_config('idle_in_transaction_session_timeout', '3000', true);
  PERFORM FROM pii_vault.audit_head FOR UPDATE;
  -- The time after the lock was taken: the transaction may have begun long before.
  moment := clock_timestamp();
  standings := pii_vault.read_standings(request -> 'principals', moment);

  FOR action IN
    SELECT principal + 1 AS place, coalesce("values", 0) AS taken, "perMinute" AS per_minute, "perDay" AS per_day, change
    FROM ROWS FROM (jsonb_to_recordset(request -> 'actions')
      AS (principal integer, "values" bigint, "perMinute" bigint, "perDay" bigint, change jsonb)) WITH ORDINALITY
    ORDER BY ordinality
  LOOP
    standing := standings[action.place];
    admission := NULL;
    IF standing.is_suspended THEN
      admission := '{"code": "principal_suspended"}';
    ELSIF action.change IS NOT NULL THEN
      admission := pii_vault.check_change(action.change, standing, moment);
    END IF;
    IF action.taken > 0 AND admission -> 'code' IS NULL THEN
      admission := coalesce(pii_vault.check_charge(standing, action.taken, action.per_minute, action.per_day, moment), admission);
    END IF;

    -- Only now, so that a call that the budget refuses does not use up its approval.
    IF admission -> 'code' IS NULL THEN
      standing.charged := standing.charged + action.taken;
      standings[action.place] := standing;
      IF action.change ->> 'kind' = 'lift_suspension' THEN
        -- A lift forgets what was spent, also by earlier actions of this group: so these are applied first, and all is read again.
        PERFORM pii_vault.apply_charges(standings, moment);
        PERFORM pii_vault.apply_change(action.change, admission, standing, moment);
        standings := pii_vault.read_standings(request -> 'principals', moment);
      ELSIF action.change IS NOT NULL THEN
        PERFORM pii_vault.apply_change(action.change, admission, standing, moment);
      END IF;
    ELSIF admission ->> 'window' = 'day' THEN
      standings[action.place].is_suspended := true;
      INSERT INTO pii_vault.suspensions (principal, issuer, subject, suspended_at)
      VALUES (standing.principal, standing.issuer, standing.subject, moment);
    END IF;
    admissions := admissions || admission;
  END LOOP;

  PERFORM pii_vault.apply_charges(standings, moment);
  RETURN to_jsonb(admissions);
END
$$;

-- Admits and records a group whose actions are all plain, as nearly every group is, in one statement: no round trip is made
-- while the head is locked. Returns the sequence of the first event, or null, with nothing changed, if an action is not plain.
-- It also returns null if the isolation level is not read committed, which a session's default may cause: under another level
-- a transaction that waited for the head would fail. The caller then opens a transaction of its own with the right level.
CREATE FUNCTION pii_vault.commit_plain_actions(request jsonb, events bytea[]) RETURNS bigint
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

COMMENT ON TABLE pii_vault.spending IS 'What principals took of their budgets: one row for each principal and slot of time. A slot is removed some time after it left its window.';
COMMENT ON COLUMN pii_vault.spending.principal IS 'Id of the principal: pii_vault.principal_id of issuer and subject.';
COMMENT ON COLUMN pii_vault.spending.slot_seconds IS 'Length of the slot: 10 for the budget of a minute, 3600 for that of a day. Each value counts in one slot of both.';
COMMENT ON COLUMN pii_vault.spending.slot IS 'When the slot begins.';
COMMENT ON COLUMN pii_vault.spending."values" IS 'How many values the principal took in the slot.';

COMMENT ON TABLE pii_vault.suspensions IS 'Principals who asked for more than their budget of a day: one row each. All their requests are refused until an administrator lifts the suspension, which removes the row.';
COMMENT ON COLUMN pii_vault.suspensions.principal IS 'Id of the principal: pii_vault.principal_id of issuer and subject.';
COMMENT ON COLUMN pii_vault.suspensions.issuer IS 'Issuer of the access tokens, their claim iss.';
COMMENT ON COLUMN pii_vault.suspensions.subject IS 'The principal as the issuer calls it, the claim sub.';
COMMENT ON COLUMN pii_vault.suspensions.suspended_at IS 'When the budget was exceeded.';

COMMENT ON TABLE pii_vault.approvals IS 'Requests for the approval of a second person, and what became of them: one row each. Rows are never removed.';
COMMENT ON COLUMN pii_vault.approvals.id IS 'Random id of the request, as callers and approvers name it.';
COMMENT ON COLUMN pii_vault.approvals.principal IS 'Who asks: pii_vault.principal_id of issuer and subject.';
COMMENT ON COLUMN pii_vault.approvals.issuer IS 'Issuer of the access token of the caller who asks.';
COMMENT ON COLUMN pii_vault.approvals.subject IS 'Who asks, as the issuer calls it; nobody of this subject may decide.';
COMMENT ON COLUMN pii_vault.approvals.roles IS 'Roles of the caller who asks, a JSON array.';
COMMENT ON COLUMN pii_vault.approvals.purpose IS 'Why they ask.';
COMMENT ON COLUMN pii_vault.approvals.ticket IS 'Ticket under which they ask; null where they named none.';
COMMENT ON COLUMN pii_vault.approvals.reveal IS 'full, or partial where only a part of each value is to be revealed.';
COMMENT ON COLUMN pii_vault.approvals."values" IS 'How many distinct tokens are asked for.';
COMMENT ON COLUMN pii_vault.approvals.fields IS 'How many of them are of each field, a JSON object.';
COMMENT ON COLUMN pii_vault.approvals.digest IS 'Keyed digest of exactly what is asked: operation, tokens, purpose, ticket and levels. Equal requests have equal digests.';
COMMENT ON COLUMN pii_vault.approvals.state IS 'pending, approved, refused or used. What is pending or approved past expires_at has expired, and this still says what it was.';
COMMENT ON COLUMN pii_vault.approvals.created_at IS 'When the request was made.';
COMMENT ON COLUMN pii_vault.approvals.expires_at IS 'When the request runs out, 24 hours after it was made; once approved, when the approval does, 15 minutes after the decision.';
COMMENT ON COLUMN pii_vault.approvals.decided_by IS 'Subject of the approver who decided; null while the request is pending.';
COMMENT ON COLUMN pii_vault.approvals.decided_at IS 'When it was decided; null while the request is pending.';

REVOKE ALL ON FUNCTION
  pii_vault.principal_id(text, text),
  pii_vault.seconds_until_fit(uuid, integer, interval, bigint, bigint, bigint, timestamptz),
  pii_vault.read_standings(jsonb, timestamptz),
  pii_vault.check_plain(pii_vault.standing[], jsonb),
  pii_vault.check_charge(pii_vault.standing, bigint, bigint, bigint, timestamptz),
  pii_vault.check_change(jsonb, pii_vault.standing, timestamptz),
  pii_vault.apply_change(jsonb, jsonb, pii_vault.standing, timestamptz),
  pii_vault.apply_charges(pii_vault.standing[], timestamptz),
  pii_vault.admit_actions(jsonb), pii_vault.commit_plain_actions(jsonb, bytea[])
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  pii_vault.principal_id(text, text), pii_vault.admit_actions(jsonb), pii_vault.commit_plain_actions(jsonb, bytea[])
  TO tokenvault_api;
GRANT SELECT ON pii_vault.approvals, pii_vault.suspensions TO tokenvault_api;

RESET ROLE;
