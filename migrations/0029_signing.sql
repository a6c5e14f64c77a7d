SET LOCAL ROLE tokenvault_owner;

CREATE TABLE pii_vault.signing_hand_overs (
  key_version integer PRIMARY KEY CHECK (key_version > 1),
  tree_size bigint NOT NULL UNIQUE CHECK (tree_size >= 0),
  note text NOT NULL CHECK (length(note) <= 8192),
  created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE pii_vault.signing_hand_overs IS 'Where one signing key of the audit log gave way to the next: public, signed by both, and published beside the checkpoints.';
COMMENT ON COLUMN pii_vault.signing_hand_overs.key_version IS 'Version of the signing key that took over.';
COMMENT ON COLUMN pii_vault.signing_hand_overs.tree_size IS 'How many events the log had: the earlier key signs these, the later one all events and trees beyond.';
COMMENT ON COLUMN pii_vault.signing_hand_overs.note IS 'The hand-over as a signed note (docs/evidence.md).';
COMMENT ON COLUMN pii_vault.signing_hand_overs.created_at IS 'When it was stored, in the transaction that made the later key the primary one.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pii_vault.signing_hand_overs
  FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change();

GRANT SELECT ON pii_vault.signing_hand_overs TO tokenvault_api, tokenvault_auditor;

-- Volatile, so that it sees what was committed while the statement that calls it waited for the head of the log: whoever appends an event
-- beyond a hand-over is told of it with the event's sequence.
CREATE FUNCTION pii_vault.signing_key_version() RETURNS integer
  LANGUAGE plpgsql VOLATILE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce((SELECT max(key_version) FROM pii_vault.signing_hand_overs), 1);
END
$$;
COMMENT ON FUNCTION pii_vault.signing_key_version() IS 'Version of the key that signs what is appended next. Called behind the lock of pii_vault.audit_head it is exact.';
REVOKE ALL ON FUNCTION pii_vault.signing_key_version() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_vault.signing_key_version() TO tokenvault_api;

RESET ROLE;
