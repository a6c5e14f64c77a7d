SET LOCAL ROLE tokenvault_owner;

CREATE TABLE pii_vault.honey_tokens (
  id uuid PRIMARY KEY,
  field text NOT NULL,
  token text NOT NULL UNIQUE,
  note text NOT NULL,
  issuer text NOT NULL,
  subject text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  retired_at timestamptz
);

CREATE TABLE pii_vault.honey_meetings (
  sequence bigint NOT NULL,
  honey_token uuid NOT NULL REFERENCES pii_vault.honey_tokens,
  issuer text NOT NULL,
  subject text NOT NULL,
  request_id text NOT NULL,
  met_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (honey_token, sequence)
);

COMMENT ON TABLE pii_vault.honey_tokens IS 'Tokens of values that never logged in. Nobody has a reason to open one, so whoever does is told of.';
COMMENT ON COLUMN pii_vault.honey_tokens.id IS 'Id of the honey token; names it where the token must not stand.';
COMMENT ON COLUMN pii_vault.honey_tokens.field IS 'Field of the value, for example ip.';
COMMENT ON COLUMN pii_vault.honey_tokens.token IS 'The token as it was made. Where its key was rotated since, its successors are honey tokens, too.';
COMMENT ON COLUMN pii_vault.honey_tokens.note IS 'Where it was laid out, for who is told that it was met.';
COMMENT ON COLUMN pii_vault.honey_tokens.issuer IS 'Issuer of the access token of who made it.';
COMMENT ON COLUMN pii_vault.honey_tokens.subject IS 'Who made it.';
COMMENT ON COLUMN pii_vault.honey_tokens.created_at IS 'When it was made.';
COMMENT ON COLUMN pii_vault.honey_tokens.retired_at IS 'Since when nobody is told any more; null while it is laid out.';
COMMENT ON TABLE pii_vault.honey_meetings IS 'Who was given the value of a honey token, or the token for its value.';
COMMENT ON COLUMN pii_vault.honey_meetings.sequence IS 'Sequence of the event `honey` in the audit log.';
COMMENT ON COLUMN pii_vault.honey_meetings.honey_token IS 'The honey token.';
COMMENT ON COLUMN pii_vault.honey_meetings.issuer IS 'Issuer of the access token of who met it.';
COMMENT ON COLUMN pii_vault.honey_meetings.subject IS 'Who met it.';
COMMENT ON COLUMN pii_vault.honey_meetings.request_id IS 'Id of the request; the event of what it did has it, too.';
COMMENT ON COLUMN pii_vault.honey_meetings.met_at IS 'When it was met.';

-- Appends the event, records who met which honey tokens and, where the policy says so, suspends them. Returns the sequence.
CREATE FUNCTION pii_vault.meet_honey(event bytea, met uuid[], suspends boolean) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  described jsonb := convert_from(event, 'UTF8')::jsonb;
  place bigint;
BEGIN
  PERFORM pii_vault.require(coalesce(described ->> 'type' = 'honey' AND described ->> 'issuer' <> ''
    AND described ->> 'subject' <> '' AND described ->> 'requestId' <> '', false), 'the event is not one of honey tokens');
  PERFORM pii_vault.require(coalesce(cardinality(met) BETWEEN 1 AND 10000, false), '1 to 10,000 honey tokens');
  place := pii_vault.append_audit(ARRAY[event]);
  INSERT INTO pii_vault.honey_meetings (sequence, honey_token, issuer, subject, request_id)
  SELECT DISTINCT place, id, described ->> 'issuer', described ->> 'subject', described ->> 'requestId'
  FROM unnest(met) AS id;
  IF suspends THEN
    INSERT INTO pii_vault.suspensions (principal, issuer, subject, suspended_at)
    VALUES (pii_vault.principal_id(described ->> 'issuer', described ->> 'subject'),
      described ->> 'issuer', described ->> 'subject', now())
    ON CONFLICT (principal) DO NOTHING;
  END IF;
  RETURN place;
END
$$;

COMMENT ON TABLE pii_vault.suspensions IS 'Principals who asked for more than their budget of a day, or met a honey token where the policy suspends for it: one row each. All their requests are refused until an administrator lifts the suspension, which removes the row.';
COMMENT ON COLUMN pii_vault.suspensions.suspended_at IS 'When the budget was exceeded, or the honey token met.';

REVOKE ALL ON FUNCTION pii_vault.meet_honey(bytea, uuid[], boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_vault.meet_honey(bytea, uuid[], boolean) TO tokenvault_api;
GRANT SELECT, INSERT, UPDATE (retired_at) ON pii_vault.honey_tokens TO tokenvault_api;
GRANT SELECT ON pii_vault.honey_meetings TO tokenvault_api;

RESET ROLE;
