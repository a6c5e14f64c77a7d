-- Roles belong to the whole cluster, so another database's migration may be making them at this moment.
DO $$
DECLARE
  role_name text;
  attributes text;
BEGIN
  FOR role_name, attributes IN VALUES
    ('tokenvault_owner', 'NOLOGIN'),
    ('tokenvault_worker', 'LOGIN'),
    ('tokenvault_api', 'LOGIN'),
    ('tokenvault_analyst', 'LOGIN'),
    ('tokenvault_auditor', 'LOGIN')
  LOOP
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I %s NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', role_name, attributes);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL; -- made by the other migration
      END;
    END IF;
  END LOOP;

  -- A migrator without superuser rights may grant a role that it made, but may neither act as it nor use what it owns.
  IF NOT (pg_catalog.pg_has_role(current_user, 'tokenvault_owner', 'SET')
    AND pg_catalog.pg_has_role(current_user, 'tokenvault_owner', 'USAGE')) THEN
    EXECUTE format('GRANT tokenvault_owner TO %I WITH SET TRUE, INHERIT TRUE', current_user);
  END IF;

  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CREATE, CONNECT ON DATABASE %I TO tokenvault_owner', current_database());
  EXECUTE format(
    'GRANT CONNECT ON DATABASE %I TO tokenvault_worker, tokenvault_api, tokenvault_analyst, tokenvault_auditor',
    current_database());
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO tokenvault_owner;

SET LOCAL ROLE tokenvault_owner;

CREATE SCHEMA ingest;
COMMENT ON SCHEMA ingest IS 'What the workers need to store each message once, and the partitions of public.user_logins.';
GRANT USAGE ON SCHEMA ingest TO tokenvault_worker;

CREATE SCHEMA pii_vault;
COMMENT ON SCHEMA pii_vault IS 'Sealed originals, wrapped keys, quarantine, and the evidence of who asked for what. Values of persons are in it in sealed form only.';
GRANT USAGE ON SCHEMA pii_vault TO tokenvault_worker, tokenvault_api, tokenvault_auditor;

RESET ROLE;
