SET LOCAL ROLE tokenvault_owner;

CREATE SCHEMA pii_vault;

CREATE TABLE pii_vault.keys (
  purpose text NOT NULL CHECK (purpose IN ('token', 'data', 'quarantine', 'audit')),
  field text NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  status text NOT NULL CHECK (status IN ('primary', 'active', 'disabled')),
  kek_id text NOT NULL,
  wrapped bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (purpose, field, version)
);
CREATE UNIQUE INDEX keys_one_primary ON pii_vault.keys (purpose, field) WHERE status = 'primary';

CREATE TABLE pii_vault.originals (
  token_id uuid PRIMARY KEY,
  field text NOT NULL,
  token_key_version integer NOT NULL,
  data_key_version integer NOT NULL,
  sealed bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE pii_vault.quarantine (
  id uuid PRIMARY KEY,
  message_id text NOT NULL,
  event_index integer NOT NULL,
  reason text NOT NULL,
  data_key_version integer NOT NULL,
  sealed bytea NOT NULL,
  sent_on date NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

GRANT USAGE ON SCHEMA pii_vault TO tokenvault_worker, tokenvault_api;
GRANT SELECT ON pii_vault.keys TO tokenvault_worker, tokenvault_api;
-- The worker can add an original and never read one back; the API can read them and never add one.
GRANT INSERT ON pii_vault.originals, pii_vault.quarantine TO tokenvault_worker;
GRANT SELECT ON pii_vault.originals TO tokenvault_api;

RESET ROLE;
