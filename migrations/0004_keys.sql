SET LOCAL ROLE tokenvault_owner;

CREATE TABLE pii_vault.keys (
  purpose text NOT NULL CHECK (purpose IN ('token', 'data', 'quarantine', 'audit', 'signing')),
  field text NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  status text NOT NULL CHECK (status IN ('primary', 'active', 'disabled')),
  kek_id text NOT NULL,
  wrapped bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (purpose, field, version)
);
CREATE UNIQUE INDEX keys_one_primary ON pii_vault.keys (purpose, field) WHERE status = 'primary';

COMMENT ON TABLE pii_vault.keys IS 'The keys of the vault, each wrapped under the key-encryption key (KEK), which is never in the database.';
COMMENT ON COLUMN pii_vault.keys.purpose IS 'token makes tokens, data seals originals, quarantine seals quarantined bodies, audit makes token digests, signing signs checkpoints and receipts.';
COMMENT ON COLUMN pii_vault.keys.field IS 'Field that a token or data key serves; empty for keys that serve the whole vault.';
COMMENT ON COLUMN pii_vault.keys.version IS 'Version from 1 within a purpose and field; never used twice.';
COMMENT ON COLUMN pii_vault.keys.status IS 'primary: new content uses it; active: only reads what it wrote; disabled: not used.';
COMMENT ON COLUMN pii_vault.keys.kek_id IS 'Identifier of the KEK that wraps this key; reveals nothing of the KEK.';
COMMENT ON COLUMN pii_vault.keys.wrapped IS 'The wrapped key; useless without the KEK.';
COMMENT ON COLUMN pii_vault.keys.created_at IS 'When the key was stored.';

GRANT SELECT ON pii_vault.keys TO tokenvault_worker, tokenvault_api;

RESET ROLE;
