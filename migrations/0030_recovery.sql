SET LOCAL ROLE tokenvault_owner;

-- One row: what an earlier one held beside the present one is a key that was destroyed, or a recipient who was removed.
CREATE TABLE pii_vault.key_recovery (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  recipients text[] NOT NULL CHECK (cardinality(recipients) > 0),
  keyset_digest bytea NOT NULL CHECK (length(keyset_digest) = 32),
  sealed text NOT NULL,
  made_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE pii_vault.key_recovery IS 'All keys that are not destroyed, encrypted to the recovery recipients: whoever holds an identity of one of them opens the vault without its KEK. One row or none.';
COMMENT ON COLUMN pii_vault.key_recovery.only_row IS 'Always true: there is one row at most.';
COMMENT ON COLUMN pii_vault.key_recovery.recipients IS 'The recipients (age1…), which are public. Nothing is ever encrypted to what stands here, only to what RECOVERY_RECIPIENTS says.';
COMMENT ON COLUMN pii_vault.key_recovery.keyset_digest IS 'SHA-256 of the state and the wrapped form of each key at that time: where the keys digest to another, this row is outdated.';
COMMENT ON COLUMN pii_vault.key_recovery.sealed IS 'The keyset as a file of age, armored (docs/formats.md).';
COMMENT ON COLUMN pii_vault.key_recovery.made_at IS 'When it was made, in the transaction of the change of keys.';

-- The API publishes it beside the checkpoints.
GRANT SELECT ON pii_vault.key_recovery TO tokenvault_api;

RESET ROLE;
