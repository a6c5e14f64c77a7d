-- The role as which the API answers people about their data: it reads rows by person, and keeps legal holds. It opens nothing: keys
-- and originals are not its to read.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'tokenvault_privacy') THEN
    BEGIN
      CREATE ROLE tokenvault_privacy LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL; -- made by another database's migration at this moment
    END;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO tokenvault_privacy', current_database());
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
    IF (SELECT rolconnlimit = -1 FROM pg_catalog.pg_roles WHERE rolname = 'tokenvault_privacy') THEN
      EXECUTE format('ALTER ROLE tokenvault_privacy CONNECTION LIMIT %s', greatest(4, available / 10));
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
        WHERE setrole = to_regrole('tokenvault_privacy') AND starts_with(entry, setting || '=')
          AND setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
      ) THEN
        EXECUTE format('ALTER ROLE tokenvault_privacy IN DATABASE %I SET %I = %L', current_database(), setting, setting_value);
      END IF;
    EXCEPTION WHEN insufficient_privilege OR internal_error THEN
      NULL; -- temp_file_limit is for superusers to set, or for those to whom one granted it
    END;
  END LOOP;
END
$$;

SET LOCAL ROLE tokenvault_owner;

GRANT USAGE ON SCHEMA pii_vault TO tokenvault_privacy;
GRANT SELECT ON public.user_logins TO tokenvault_privacy;

-- What left the database on purpose. Jobs with the right of the owner enter it; nobody else writes.
CREATE TABLE pii_vault.exports (
  id uuid PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  kind text NOT NULL CHECK (kind IN ('archive', 'export', 'recall')),
  target text NOT NULL,
  from_month date NOT NULL,
  to_month date NOT NULL CHECK (to_month >= from_month),
  rows bigint NOT NULL CHECK (rows >= 0),
  manifest text
);
COMMENT ON TABLE pii_vault.exports IS 'Copies of rows that were sent elsewhere: one row for each archive or export.';
COMMENT ON COLUMN pii_vault.exports.id IS 'Random id of the copy.';
COMMENT ON COLUMN pii_vault.exports.at IS 'When the copy was complete.';
COMMENT ON COLUMN pii_vault.exports.kind IS 'archive: the rows left the database; export: they are in both places; recall: they came back from an archive.';
COMMENT ON COLUMN pii_vault.exports.target IS 'Where the copy is: a URL without login.';
COMMENT ON COLUMN pii_vault.exports.from_month IS 'First UTC day of the first month of create_date that it holds.';
COMMENT ON COLUMN pii_vault.exports.to_month IS 'First UTC day of the last month of create_date that it holds.';
COMMENT ON COLUMN pii_vault.exports.rows IS 'How many rows it holds, of everybody.';
COMMENT ON COLUMN pii_vault.exports.manifest IS 'SHA-256 of its manifest as 64 hexadecimal digits; null where it has none.';
GRANT SELECT ON pii_vault.exports TO tokenvault_privacy;

-- One row for each person whose data must not be erased or age out. A hold that is over, or released, leaves no row that counts.
CREATE TABLE pii_vault.legal_holds (
  person text PRIMARY KEY CHECK (person ~ '^[A-Za-z0-9_-]{22}$'),
  held_until date NOT NULL,
  reason text NOT NULL,
  held_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pii_vault.legal_holds IS 'People whose data is kept whatever retention and erasure ask, until a day.';
COMMENT ON COLUMN pii_vault.legal_holds.person IS 'Keyed digest of the user_id under the oldest audit key, 22 letters of base64url.';
COMMENT ON COLUMN pii_vault.legal_holds.held_until IS 'Last UTC day of the hold.';
COMMENT ON COLUMN pii_vault.legal_holds.reason IS 'Why, as a short identifier: litigation, regulator_request.';
COMMENT ON COLUMN pii_vault.legal_holds.held_at IS 'When the hold was made or last changed.';
GRANT SELECT, INSERT, UPDATE, DELETE ON pii_vault.legal_holds TO tokenvault_privacy;

-- As in 0023_audit_index; also found by the person whom an event is about.
CREATE OR REPLACE FUNCTION pii_vault.event_terms(event bytea) RETURNS text[]
  LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  member jsonb;
  moment text;
  terms text[];
BEGIN
  member := convert_from(event, 'UTF8')::jsonb;
  moment := member ->> 'at';
  terms := array_remove(ARRAY[
    'type ' || (member ->> 'type'),
    'issuer ' || (member ->> 'issuer'),
    'subject ' || (member ->> 'subject'),
    'client ' || (member ->> 'client'),
    'purpose ' || (member ->> 'purpose'),
    'decision ' || (member ->> 'decision'),
    'code ' || (member ->> 'code'),
    'ticket ' || (member ->> 'ticket'),
    'person ' || (member ->> 'person'),
    'actor ' || (member #>> '{actor,subject}'),
    -- An actor without an issuer is one of the principal's.
    'actorIssuer ' || CASE WHEN jsonb_typeof(member #> '{actor,issuer}') = 'string' THEN member #>> '{actor,issuer}'
      WHEN member ? 'actor' THEN member ->> 'issuer' END,
    CASE WHEN moment ~ '^[1-9][0-9]{3}-[01][0-9]-[0-3][0-9]T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z$'
      AND pg_input_is_valid(moment, 'timestamptz') THEN 'at ' || moment END
  ], NULL);
  IF jsonb_typeof(member -> 'tokens') = 'array' THEN
    terms := terms || ARRAY(SELECT 'token ' || digest FROM jsonb_array_elements_text(member -> 'tokens') AS digest);
  END IF;
  IF jsonb_typeof(member -> 'fields') = 'object' THEN
    terms := terms || ARRAY(SELECT 'field ' || field FROM jsonb_object_keys(member -> 'fields') AS field);
  END IF;
  RETURN array_remove(terms, NULL);
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  RETURN '{}';
END
$$;

RESET ROLE;
