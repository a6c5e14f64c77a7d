SET LOCAL ROLE tokenvault_owner;

CREATE TABLE pii_vault.originals (
  token_id uuid PRIMARY KEY,
  field text NOT NULL,
  token_key_version integer NOT NULL,
  data_key_version integer NOT NULL,
  sealed bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE pii_vault.originals IS 'One sealed original for each token. Deleting a row does not erase its value: the token key opens the token without it.';
COMMENT ON COLUMN pii_vault.originals.token_id IS 'Token id: the first 16 bytes (the SIV) of the base64url part of the token.';
COMMENT ON COLUMN pii_vault.originals.field IS 'Field of the value, for example ip.';
COMMENT ON COLUMN pii_vault.originals.token_key_version IS 'Version of the token key that made the token.';
COMMENT ON COLUMN pii_vault.originals.data_key_version IS 'Version of the data key that seals the original.';
COMMENT ON COLUMN pii_vault.originals.sealed IS 'The sealed value; opens under the data key of this version, and for this token id only.';
COMMENT ON COLUMN pii_vault.originals.created_at IS 'When the value was stored for the first time.';

-- The worker can add an original and never read one back; the API can read them and never add one.
GRANT INSERT ON pii_vault.originals TO tokenvault_worker;
GRANT SELECT ON pii_vault.originals TO tokenvault_api;

RESET ROLE;
