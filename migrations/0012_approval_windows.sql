SET LOCAL ROLE tokenvault_owner;

-- What principals took without a second person. A slot counts whole for as long as any part of it is inside the window, as in
-- pii_vault.spending; it is a table of its own because lifting a suspension forgets what was spent, and not this.
CREATE TABLE pii_vault.taken_without_approval (
  principal uuid NOT NULL,
  slot timestamptz NOT NULL,
  "values" bigint NOT NULL,
  PRIMARY KEY (principal, slot)
);
CREATE INDEX taken_without_approval_by_slot ON pii_vault.taken_without_approval (slot);
COMMENT ON TABLE pii_vault.taken_without_approval IS 'What principals took without the approval of a second person: one row for each principal and ten minutes. A row is removed some time after it left the longest window, a week.';
COMMENT ON COLUMN pii_vault.taken_without_approval.principal IS 'Id of the principal: pii_vault.principal_id of issuer and subject.';
COMMENT ON COLUMN pii_vault.taken_without_approval.slot IS 'When the ten minutes begin.';
COMMENT ON COLUMN pii_vault.taken_without_approval."values" IS 'How many values were revealed to the principal in them.';

ALTER TYPE pii_vault.standing
  ADD ATTRIBUTE taken jsonb, -- values taken without approval before this group, by seconds of the window
  ADD ATTRIBUTE unapproved bigint; -- what this group adds to all of them

-- How the principals [{issuer, subject, windows: [seconds]}] stand, in their order.
CREATE OR REPLACE FUNCTION pii_vault.read_standings(principals jsonb, moment timestamptz) RETURNS pii_vault.standing[]
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
      0,
      CASE WHEN jsonb_array_length(windows) > 0 THEN
        (SELECT jsonb_object_agg(seconds,
          coalesce((SELECT sum(taken."values") FROM pii_vault.taken_without_approval AS taken
            WHERE taken.principal = id AND taken.slot > moment - make_interval(secs => seconds::integer + 600)), 0))
        FROM jsonb_array_elements_text(windows) AS seconds)
      END,
      0)::pii_vault.standing ORDER BY place)
    FROM (
      SELECT place, named ->> 'issuer' AS issuer, named ->> 'subject' AS subject, named -> 'windows' AS windows,
        pii_vault.principal_id(named ->> 'issuer', named ->> 'subject') AS id
      FROM jsonb_array_elements(principals) WITH ORDINALITY AS given (named, place)
    ) AS named_principals);
END
$$;

-- Checks whether a principal may take values without a second person. `terms` is {asked, allowances: a list for each field of
-- {values, windowSeconds}, of which one must hold what was taken in its window and what is asked for}. Returns null if so, or
-- what is left of the allowance that comes nearest: {above, windowSeconds, left}.
CREATE FUNCTION pii_vault.check_allowances(standing pii_vault.standing, terms jsonb) RETURNS jsonb
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  asked bigint := terms -> 'asked';
  allowances jsonb;
  allowance jsonb;
  remaining bigint;
  most bigint;
  nearest jsonb;
BEGIN
  IF asked > 0 THEN
    FOR allowances IN SELECT jsonb_array_elements(terms -> 'allowances') LOOP
      most := NULL;
      FOR allowance IN SELECT jsonb_array_elements(allowances) LOOP
        -- A window that was not read holds nothing.
        remaining := coalesce((allowance -> 'values')::bigint - standing.unapproved
          - (standing.taken -> (allowance ->> 'windowSeconds'))::bigint, 0);
        IF most IS NULL OR remaining > most THEN
          most := remaining;
          nearest := jsonb_build_object('above', allowance -> 'values', 'windowSeconds', allowance -> 'windowSeconds',
            'left', greatest(remaining, 0));
        END IF;
      END LOOP;
      IF most < asked THEN
        RETURN nearest;
      END IF;
    END LOOP;
  END IF;
  RETURN NULL;
END
$$;

-- Checks whether all actions are plain: no action changes anything, no principal is suspended, and budgets and allowances hold
-- all actions in their order. Returns how the principals stand after them, or null if an action is not plain.
CREATE OR REPLACE FUNCTION pii_vault.check_plain(standings pii_vault.standing[], actions jsonb) RETURNS pii_vault.standing[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  action record;
  standing pii_vault.standing;
BEGIN
  FOR action IN
    SELECT principal + 1 AS place, coalesce("values", 0) AS taken, "perMinute" AS per_minute, "perDay" AS per_day,
      "withoutApproval" AS without_approval, change
    FROM ROWS FROM (jsonb_to_recordset(actions)
      AS (principal integer, "values" bigint, "perMinute" bigint, "perDay" bigint, "withoutApproval" jsonb, change jsonb))
      WITH ORDINALITY
    ORDER BY ordinality
  LOOP
    standing := standings[action.place];
    standing.charged := standing.charged + action.taken;
    IF action.change IS NOT NULL OR standing.is_suspended OR action.taken > 0 AND (
      standing.day_values + standing.charged > action.per_day OR standing.minute_values + standing.charged > action.per_minute) THEN
      RETURN NULL;
    END IF;
    IF action.without_approval IS NOT NULL THEN
      IF pii_vault.check_allowances(standing, action.without_approval) IS NOT NULL THEN
        RETURN NULL;
      END IF;
      standing.unapproved := standing.unapproved + action.taken;
    END IF;
    standings[action.place] := standing;
  END LOOP;
  RETURN standings;
END
$$;

-- Adds what a group took: one row for each principal and kind of slot, however many actions it has in the group.
CREATE OR REPLACE FUNCTION pii_vault.apply_charges(standings pii_vault.standing[], moment timestamptz) RETURNS void
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
  WITH added AS (
    INSERT INTO pii_vault.taken_without_approval AS taken (principal, slot, "values")
    SELECT standing.principal, date_bin('10 minutes', moment, 'epoch'), standing.unapproved
    FROM unnest(standings) AS standing
    WHERE standing.unapproved > 0
    ON CONFLICT (principal, slot) DO UPDATE SET "values" = taken."values" + excluded."values"
    RETURNING xmax = 0 AS is_new
  )
  SELECT count(*) FILTER (WHERE is_new) INTO opened FROM added;
  IF opened > 0 THEN
    DELETE FROM pii_vault.taken_without_approval WHERE (principal, slot) IN (
      SELECT principal, slot FROM pii_vault.taken_without_approval
      WHERE slot <= moment - interval '7 days 10 minutes' ORDER BY slot LIMIT 100 + opened);
  END IF;
END
$$;

-- Admits actions in their order, each by suspension, allowances, change and charge, and applies what is admitted. `request` is
-- {principals: [{issuer, subject, windows}], actions: [{principal: its place from 0, values, perMinute, perDay, withoutApproval,
-- change, otherwise}]}. An action that no allowance holds becomes the change `otherwise`, a request for approval. Returns one
-- admission for each action, null if it is admitted and nothing more is to be said. The head's row lock is taken first and held
-- to the end of the transaction, in which the events are appended: the next action to be admitted sees what was spent, taken,
-- suspended and approved here.
CREATE OR REPLACE FUNCTION pii_vault.admit_actions(request jsonb) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  moment timestamptz;
  standings pii_vault.standing[];
  standing pii_vault.standing;
  action record;
  change jsonb;
  taken bigint;
  nearest jsonb; -- null where the allowances hold the action
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
    SELECT principal + 1 AS place, coalesce("values", 0) AS taken, "perMinute" AS per_minute, "perDay" AS per_day,
      "withoutApproval" AS without_approval, given.change, otherwise
    FROM ROWS FROM (jsonb_to_recordset(request -> 'actions')
      AS (principal integer, "values" bigint, "perMinute" bigint, "perDay" bigint, "withoutApproval" jsonb, change jsonb,
        otherwise jsonb)) WITH ORDINALITY AS given
    ORDER BY ordinality
  LOOP
    standing := standings[action.place];
    change := action.change;
    taken := action.taken;
    nearest := pii_vault.check_allowances(standing, action.without_approval);
    admission := NULL;
    IF nearest IS NOT NULL AND change IS NULL THEN
      change := action.otherwise;
      taken := 0;
    END IF;
    IF standing.is_suspended THEN
      admission := '{"code": "principal_suspended"}';
    ELSIF change IS NOT NULL THEN
      admission := pii_vault.check_change(change, standing, moment);
      IF nearest IS NOT NULL AND admission -> 'code' IS NULL THEN
        admission := coalesce(admission, '{}') || jsonb_build_object('withoutApproval', nearest);
      END IF;
    ELSIF nearest IS NOT NULL THEN
      admission := jsonb_build_object('code', 'approval_required', 'withoutApproval', nearest);
    END IF;
    IF taken > 0 AND admission -> 'code' IS NULL THEN
      admission := coalesce(pii_vault.check_charge(standing, taken, action.per_minute, action.per_day, moment), admission);
    END IF;

    -- Only now, so that a call that the budget refuses does not use up its approval.
    IF admission -> 'code' IS NULL THEN
      standing.charged := standing.charged + taken;
      IF action.without_approval IS NOT NULL THEN
        standing.unapproved := standing.unapproved + taken;
      END IF;
      standings[action.place] := standing;
      IF change ->> 'kind' = 'lift_suspension' THEN
        -- A lift forgets what was spent, also by earlier actions of this group: so these are applied first, and all is read again.
        PERFORM pii_vault.apply_charges(standings, moment);
        PERFORM pii_vault.apply_change(change, admission, standing, moment);
        standings := pii_vault.read_standings(request -> 'principals', moment);
      ELSIF change IS NOT NULL THEN
        PERFORM pii_vault.apply_change(change, admission, standing, moment);
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

REVOKE ALL ON FUNCTION pii_vault.check_allowances(pii_vault.standing, jsonb) FROM PUBLIC;

RESET ROLE;
