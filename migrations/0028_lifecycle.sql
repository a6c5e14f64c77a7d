SET LOCAL ROLE tokenvault_owner;

-- Who goes by the stored keys. A rotation waits for all of them: what a process cannot read yet, nobody may write.
CREATE TABLE pii_vault.key_followers (
  instance uuid PRIMARY KEY,
  process text COLLATE "C" NOT NULL CHECK (process ~ '^[a-z][a-z ]{0,31}$'),
  keyset bytea NOT NULL CHECK (octet_length(keyset) = 32),
  started_at timestamptz NOT NULL DEFAULT now(),
  looked_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pii_vault.key_followers IS 'Running processes that hold keys, and by which keys each of them goes; one that has not looked for a minute has ended.';
COMMENT ON COLUMN pii_vault.key_followers.instance IS 'Made up by the process when it starts.';
COMMENT ON COLUMN pii_vault.key_followers.process IS 'What it is: worker, api, lambda.';
COMMENT ON COLUMN pii_vault.key_followers.keyset IS 'SHA-256 of the stored keys that it uses: names, states and wrapped bytes.';
COMMENT ON COLUMN pii_vault.key_followers.started_at IS 'When it was first seen here.';
COMMENT ON COLUMN pii_vault.key_followers.looked_at IS 'When it last said so, by the clock of the database.';

-- A process may say by which keys it goes, and neither read nor remove what another said within the minute.
CREATE FUNCTION pii_vault.follow_keys(follower uuid, its_process text, its_keyset bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM pii_vault.key_followers WHERE looked_at < now() - interval '1 minute' AND instance <> follower;
  INSERT INTO pii_vault.key_followers AS present (instance, process, keyset) VALUES (follower, its_process, its_keyset)
  ON CONFLICT (instance) DO UPDATE SET process = excluded.process, keyset = excluded.keyset, looked_at = now();
$$;
COMMENT ON FUNCTION pii_vault.follow_keys(uuid, text, bytea) IS 'Says by which stored keys a running process goes.';
REVOKE ALL ON FUNCTION pii_vault.follow_keys(uuid, text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_vault.follow_keys(uuid, text, bytea) TO tokenvault_worker, tokenvault_api;

RESET ROLE;
