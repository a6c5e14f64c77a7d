SET LOCAL ROLE tokenvault_owner;

-- Principals of two issuers are two people, whatever their subjects are: so a decision names both, as a request does.
ALTER TABLE pii_vault.approvals ADD COLUMN decided_by_issuer text;
COMMENT ON COLUMN pii_vault.approvals.decided_by_issuer IS 'Issuer of the access token of the approver who decided; null while the request is pending, and where it was decided before this column existed.';
ALTER TABLE pii_vault.approvals DROP CONSTRAINT approvals_by_another;
-- Every path through the functions ensures this already; a second check costs nothing.
ALTER TABLE pii_vault.approvals ADD CONSTRAINT approvals_by_another
  CHECK (decided_by <> subject OR coalesce(decided_by_issuer <> issuer, false));

-- Checks whether a caller may make a change. Returns null if so, or {code} if not. For a request for approval it returns the
-- request that is open afterwards: {approvalId, approvalState, approvalExpiresAt}. It is called under the audit head's row lock:
-- if two actions use one approval, the second finds it used.
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
  END CASE;
END
$$;

RESET ROLE;
