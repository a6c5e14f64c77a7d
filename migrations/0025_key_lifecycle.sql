SET LOCAL ROLE tokenvault_owner;

ALTER TABLE pii_vault.keys
  ALTER COLUMN wrapped DROP NOT NULL,
  ADD COLUMN primary_since timestamptz,
  ADD COLUMN destroy_after timestamptz,
  ADD COLUMN unreadable bigint,
  ADD COLUMN destroyed_at timestamptz,
  DROP CONSTRAINT keys_status_check,
  ADD CONSTRAINT keys_status CHECK (status IN ('primary', 'active', 'disabled', 'destroyed')),
  -- What is destroyed is gone, and nothing else is.
  ADD CONSTRAINT keys_destroyed CHECK ((status = 'destroyed') = (wrapped IS NULL) AND (status = 'destroyed') = (destroyed_at IS NOT NULL)),
  ADD CONSTRAINT keys_destruction_scheduled CHECK (
    (destroy_after IS NULL OR status IN ('disabled', 'destroyed')) AND (destroy_after IS NULL) = (unreadable IS NULL));
UPDATE pii_vault.keys SET primary_since = created_at WHERE status = 'primary';

COMMENT ON COLUMN pii_vault.keys.status IS 'primary: new content uses it; active: only reads what it wrote; disabled: not used; destroyed: gone for good, and its version is never used again.';
COMMENT ON COLUMN pii_vault.keys.wrapped IS 'The wrapped key; useless without the KEK; null once the key is destroyed.';
COMMENT ON COLUMN pii_vault.keys.primary_since IS 'When the key became the primary one of its purpose and field; null where it never was.';
COMMENT ON COLUMN pii_vault.keys.destroy_after IS 'When a disabled key may be destroyed; null where nobody asked for it.';
COMMENT ON COLUMN pii_vault.keys.unreadable IS 'How much may be lost with the key, as whoever asked for its destruction said: originals or quarantined bodies; null where nobody asked.';
COMMENT ON COLUMN pii_vault.keys.destroyed_at IS 'When the key was destroyed; null where it was not.';

RESET ROLE;
