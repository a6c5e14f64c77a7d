-- The role as which the API stores what services send. It adds originals and can do nothing else: not read one, not change one.
-- So a stolen password of it opens nothing, and the role that reads cannot add.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'tokenvault_store') THEN
    BEGIN
      CREATE ROLE tokenvault_store LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL; -- made by another database's migration at this moment
    END;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO tokenvault_store', current_database());
END
$$;

-- Its limits, given once, as those of the other roles: whatever an operator sets instead, here or later, stays.
DO $$
DECLARE
  available integer := current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
    - current_setting('reserved_connections')::integer;
  setting text;
  setting_value text;
BEGIN
  BEGIN
    IF (SELECT rolconnlimit = -1 FROM pg_catalog.pg_roles WHERE rolname = 'tokenvault_store') THEN
      EXECUTE format('ALTER ROLE tokenvault_store CONNECTION LIMIT %s', greatest(4, available / 2));
    END IF;
  EXCEPTION WHEN insufficient_privilege OR internal_error THEN
    NULL; -- who migrates did not make the role; or another database's migration is setting it at this moment
  END;

  FOR setting, setting_value IN VALUES
    ('statement_timeout', '5min'),
    ('idle_in_transaction_session_timeout', '1min'),
    ('temp_file_limit', '1GB')
  LOOP
    BEGIN
      IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_db_role_setting, unnest(setconfig) AS entry
        WHERE setrole = to_regrole('tokenvault_store') AND starts_with(entry, setting || '=')
          AND setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
      ) THEN
        EXECUTE format('ALTER ROLE tokenvault_store IN DATABASE %I SET %I = %L', current_database(), setting, setting_value);
      END IF;
    EXCEPTION WHEN insufficient_privilege OR internal_error THEN
      NULL; -- temp_file_limit is for superusers to set, or for those to whom one granted it
    END;
  END LOOP;
END
$$;

SET LOCAL ROLE tokenvault_owner;

GRANT USAGE ON SCHEMA pii_vault TO tokenvault_store;
GRANT INSERT ON pii_vault.originals TO tokenvault_store;

RESET ROLE;
