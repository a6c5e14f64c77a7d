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
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF follower IS NULL OR coalesce(length(its_process), 0) NOT BETWEEN 1 AND 32 OR coalesce(octet_length(its_keyset), 0) <> 32 THEN
    RAISE EXCEPTION 'not a follower' USING ERRCODE = '22023';
  END IF;
  DELETE FROM pii_vault.key_followers WHERE looked_at < now() - interval '1 minute' AND instance <> follower;
  INSERT INTO pii_vault.key_followers AS present (instance, process, keyset) VALUES (follower, its_process, its_keyset)
  ON CONFLICT (instance) DO UPDATE SET process = excluded.process, keyset = excluded.keyset, looked_at = now();
END
$$;
COMMENT ON FUNCTION pii_vault.follow_keys(uuid, text, bytea) IS 'Says by which stored keys a running process goes.';
REVOKE ALL ON FUNCTION pii_vault.follow_keys(uuid, text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_vault.follow_keys(uuid, text, bytea) TO tokenvault_worker, tokenvault_api;

-- Refuses what was sealed under a key that is not in use any more, by a process that has not noticed. The lock is shared among those who
-- write; who takes a key out of use waits for them, so that afterwards nothing is written under it. A query in PL/pgSQL has a
-- snapshot of its own, taken once the lock is there.
CREATE FUNCTION pii_vault.require_keys_in_use(purposes text[], its_fields text[], versions integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF purposes IS NULL OR its_fields IS NULL OR versions IS NULL OR cardinality(purposes) > 1000
    OR cardinality(its_fields) <> cardinality(purposes) OR cardinality(versions) <> cardinality(purposes) THEN
    RAISE EXCEPTION 'not a list of keys' USING ERRCODE = '22023';
  END IF;
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('pii_vault.keys in use', 0));
  IF EXISTS (
    SELECT FROM unnest(purposes, its_fields, versions) AS used (purpose, field, version)
    JOIN pii_vault.keys AS key ON key.purpose = used.purpose AND key.field = used.field AND key.version = used.version
    WHERE key.status IN ('disabled', 'destroyed'))
  THEN
    RAISE EXCEPTION 'a key is not in use any more' USING ERRCODE = '55TV1';
  END IF;
END
$$;
COMMENT ON FUNCTION pii_vault.require_keys_in_use(text[], text[], integer[]) IS 'Refuses (SQLSTATE 55TV1) what was sealed under a key that is disabled or destroyed.';
REVOKE ALL ON FUNCTION pii_vault.require_keys_in_use(text[], text[], integer[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_vault.require_keys_in_use(text[], text[], integer[]) TO tokenvault_worker, tokenvault_store;

RESET ROLE;
