SET LOCAL ROLE tokenvault_owner;

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

COMMENT ON TABLE pii_vault.idempotency IS 'Replies of calls that change something, so that a repeat of the call changes nothing and gets the same reply: one row for each principal and key, kept for 24 hours.';
COMMENT ON COLUMN pii_vault.idempotency.principal IS 'Id of the principal: pii_vault.principal_id of issuer and subject.';
COMMENT ON COLUMN pii_vault.idempotency.key IS 'The header Idempotency-Key of the call.';
COMMENT ON COLUMN pii_vault.idempotency.fingerprint IS 'Digest of method, route and body: the same key for another request is refused.';
COMMENT ON COLUMN pii_vault.idempotency.status IS 'HTTP status of the reply; null while the call is being worked on.';
COMMENT ON COLUMN pii_vault.idempotency.body IS 'Body of the reply, which never holds a value; null while the call is being worked on.';
COMMENT ON COLUMN pii_vault.idempotency.created_at IS 'When the key was claimed.';

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
  pii_vault.claim_idempotency(text, text, text, text), pii_vault.complete_idempotency(text, text, text, integer, text),
  pii_vault.release_idempotency(text, text, text)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  pii_vault.claim_idempotency(text, text, text, text), pii_vault.complete_idempotency(text, text, text, integer, text),
  pii_vault.release_idempotency(text, text, text)
  TO tokenvault_api;

RESET ROLE;
