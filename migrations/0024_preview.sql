SET LOCAL ROLE tokenvault_owner;

-- How a call that is not made stands with the budgets and approvals of its caller. `call` is {values, perMinute, perDay,
-- withoutApproval} as of an action, and the digest by which its approval is known. Returns {minuteLeft, dayLeft, exceeds:
-- {window, retryAfterSeconds}, allowances: [{above, windowSeconds, left}], nearest, request: {id, state, expiresAt},
-- hasTooManyRequests}; what does not apply is absent.
CREATE FUNCTION pii_vault.preview_call(call jsonb, caller pii_vault.standing, moment timestamptz) RETURNS jsonb
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  per_minute bigint := call -> 'perMinute';
  per_day bigint := call -> 'perDay';
  -- No request for approval has this id, so one that is named otherwise is open already.
  none uuid := '00000000-0000-0000-0000-000000000000';
  request jsonb := pii_vault.check_change(
    jsonb_build_object('kind', 'request_approval', 'id', none, 'digest', call -> 'digest'), caller, moment);
BEGIN
  RETURN jsonb_strip_nulls(jsonb_build_object(
    'minuteLeft', CASE WHEN per_minute IS NOT NULL THEN greatest(per_minute - caller.minute_values - caller.charged, 0) END,
    'dayLeft', CASE WHEN per_day IS NOT NULL THEN greatest(per_day - caller.day_values - caller.charged, 0) END,
    'exceeds', pii_vault.check_charge(caller, (call -> 'values')::bigint, per_minute, per_day, moment) - 'code',
    'allowances', coalesce((
      SELECT jsonb_agg(jsonb_build_object('above', allowance -> 'values', 'windowSeconds', allowance -> 'windowSeconds',
          'left', greatest(coalesce((allowance -> 'values')::bigint - caller.unapproved
            - (caller.taken -> (allowance ->> 'windowSeconds'))::bigint, 0), 0))
        ORDER BY (allowance -> 'windowSeconds')::bigint, (allowance -> 'values')::bigint)
      FROM (
        SELECT DISTINCT allowance
        FROM jsonb_array_elements(call #> '{withoutApproval,allowances}') AS list, jsonb_array_elements(list) AS allowance
      ) AS given), '[]'),
    'nearest', pii_vault.check_allowances(caller, call -> 'withoutApproval'),
    'request', CASE WHEN (request ->> 'approvalId')::uuid <> none THEN jsonb_build_object(
      'id', request -> 'approvalId', 'state', request -> 'approvalState', 'expiresAt', request -> 'approvalExpiresAt') END,
    'hasTooManyRequests', CASE WHEN request ->> 'code' = 'approvals_too_many' THEN true END));
END
$$;

-- Checks whether a caller may make a change. Returns null if so, or {code} if not. For a request for approval it returns the
-- request that is open afterwards: {approvalId, approvalState, approvalExpiresAt}; for a preview, how the call would stand:
-- {standing}. It is called under the audit head's row lock: if two actions use one approval, the second finds it used, and a
-- preview is of this moment.
CREATE OR REPLACE FUNCTION pii_vault.check_change(change jsonb, caller pii_vault.standing, moment timestamptz) RETURNS jsonb
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
    ELSIF request.principal = caller.principal THEN
      RETURN '{"code": "approval_self"}';
    ELSIF request.state <> 'pending' OR request.expires_at <= moment THEN
      RETURN '{"code": "approval_settled"}';
    END IF;
  WHEN 'lift_suspension' THEN
    IF NOT EXISTS (SELECT FROM pii_vault.suspensions AS suspension
      WHERE suspension.principal = pii_vault.principal_id(change ->> 'issuer', change ->> 'subject')) THEN
      RETURN '{"code": "suspension_unknown"}';
    END IF;
  WHEN 'preview' THEN
    RETURN jsonb_build_object('standing', pii_vault.preview_call(change, caller, moment));
  END CASE;
  RETURN NULL;
END
$$;

-- Makes a change that check_change admitted at this moment.
CREATE OR REPLACE FUNCTION pii_vault.apply_change(change jsonb, admission jsonb, caller pii_vault.standing, moment timestamptz) RETURNS void
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
      decided_by = caller.subject, decided_by_issuer = caller.issuer, decided_at = moment
    WHERE approval.id = (change ->> 'id')::uuid;
  WHEN 'lift_suspension' THEN
    DELETE FROM pii_vault.suspensions AS suspension
    WHERE suspension.principal = pii_vault.principal_id(change ->> 'issuer', change ->> 'subject');
    DELETE FROM pii_vault.spending AS spent
    WHERE spent.principal = pii_vault.principal_id(change ->> 'issuer', change ->> 'subject');
  WHEN 'preview' THEN
    NULL; -- costs and changes nothing
  END CASE;
END
$$;

REVOKE ALL ON FUNCTION pii_vault.preview_call(jsonb, pii_vault.standing, timestamptz) FROM PUBLIC;

RESET ROLE;
