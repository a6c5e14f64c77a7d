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

  -- Who makes a role without being superuser may grant it, but neither act as it nor use what it owns.
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
