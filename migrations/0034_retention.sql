SET LOCAL ROLE tokenvault_owner;

ALTER TABLE pii_vault.originals ADD COLUMN last_seen date;
COMMENT ON COLUMN pii_vault.originals.last_seen IS 'First UTC day of the newest month whose rows were dropped while they held the token; null where none was. Rows that are there say the rest.';

-- What retention removed and reconcile would otherwise miss: tokens in rows that are older than their originals were to live.
CREATE TABLE pii_vault.expired_originals (
  token_id uuid PRIMARY KEY,
  field text NOT NULL,
  expired_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pii_vault.expired_originals IS 'Tokens whose originals lived as long as retention says. One that was seen again since has an original again.';
COMMENT ON COLUMN pii_vault.expired_originals.token_id IS 'Id of the token.';
COMMENT ON COLUMN pii_vault.expired_originals.field IS 'Field of the token.';
COMMENT ON COLUMN pii_vault.expired_originals.expired_at IS 'When the original was deleted last.';

CREATE TABLE pii_vault.dropped_months (
  month date PRIMARY KEY CHECK (extract(day FROM month) = 1),
  rows bigint NOT NULL CHECK (rows >= 0),
  dropped_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pii_vault.dropped_months IS 'Months of rows that retention dropped. Originals of that time and earlier need no token in the database.';
COMMENT ON COLUMN pii_vault.dropped_months.month IS 'First UTC day of the month of create_date.';
COMMENT ON COLUMN pii_vault.dropped_months.rows IS 'Rows of public.user_logins that were dropped, late ones included.';
COMMENT ON COLUMN pii_vault.dropped_months.dropped_at IS 'When rows of the month were dropped last.';

RESET ROLE;
