SET LOCAL ROLE tokenvault_owner;

-- What left the database for Parquet files. A month that got late rows after it was archived has a part for each time.
CREATE TABLE pii_vault.archives (
  month date NOT NULL CHECK (extract(day FROM month) = 1),
  part integer NOT NULL CHECK (part > 0),
  state text NOT NULL CHECK (state IN ('writing', 'archived', 'recalled')),
  target text NOT NULL,
  rows bigint NOT NULL DEFAULT 0 CHECK (rows >= 0),
  manifest bytea CHECK (octet_length(manifest) = 32),
  revision integer NOT NULL DEFAULT 1 CHECK (revision > 0),
  obsolete text[] NOT NULL DEFAULT '{}',
  changed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (month, part),
  CHECK ((state = 'writing') = (manifest IS NULL))
);
COMMENT ON TABLE pii_vault.archives IS 'Months of rows that were archived: one row for each part of a month.';
COMMENT ON COLUMN pii_vault.archives.month IS 'First UTC day of the month of create_date.';
COMMENT ON COLUMN pii_vault.archives.part IS 'Number: 1 for the month as it was archived first; more for rows that came late and were archived later.';
COMMENT ON COLUMN pii_vault.archives.state IS 'writing: begun, and the rows are still in the database; archived: the rows are in the files alone; recalled: the rows are in the database again.';
COMMENT ON COLUMN pii_vault.archives.target IS 'Where the files are: a URL without login.';
COMMENT ON COLUMN pii_vault.archives.rows IS 'Rows of public.user_logins in the files.';
COMMENT ON COLUMN pii_vault.archives.manifest IS 'SHA-256 of the manifest; null until it is written.';
COMMENT ON COLUMN pii_vault.archives.revision IS 'How often the files were written: 1, and one more for each rewriting. It stands in their names.';
COMMENT ON COLUMN pii_vault.archives.obsolete IS 'Files of an earlier revision that are still to be removed.';
COMMENT ON COLUMN pii_vault.archives.changed_at IS 'When the state or the revision changed last.';

-- Tokens whose originals have to stay although no row of the database holds the token.
CREATE TABLE pii_vault.archived_tokens (
  token_id uuid NOT NULL,
  field text NOT NULL,
  month date NOT NULL,
  part integer NOT NULL,
  PRIMARY KEY (token_id, field, month, part)
);
COMMENT ON TABLE pii_vault.archived_tokens IS 'Tokens in archived rows: an original whose token stands here needs none in the database.';
COMMENT ON COLUMN pii_vault.archived_tokens.token_id IS 'Id of the token, as in pii_vault.originals.';
COMMENT ON COLUMN pii_vault.archived_tokens.field IS 'Field of the token.';
COMMENT ON COLUMN pii_vault.archived_tokens.month IS 'First UTC day of the month that holds it.';
COMMENT ON COLUMN pii_vault.archived_tokens.part IS 'Part of the month.';

CREATE VIEW analyst.archived_months AS
  SELECT month, part, state, target, rows, changed_at FROM pii_vault.archives WHERE state <> 'writing';
COMMENT ON VIEW analyst.archived_months IS 'Which months of rows were moved to files, and where those are. Rows of a month that is not here are in public.user_logins.';
COMMENT ON COLUMN analyst.archived_months.month IS 'First UTC day of the month of create_date.';
COMMENT ON COLUMN analyst.archived_months.part IS 'Number: 1 for the month as it was archived first; more for rows that came late.';
COMMENT ON COLUMN analyst.archived_months.state IS 'archived: the rows are in the files; recalled: they are in public.user_logins again.';
COMMENT ON COLUMN analyst.archived_months.target IS 'Where the files are.';
COMMENT ON COLUMN analyst.archived_months.rows IS 'Rows of public.user_logins in the files.';
COMMENT ON COLUMN analyst.archived_months.changed_at IS 'When the rows were moved last, or the files rewritten.';
GRANT SELECT ON analyst.archived_months TO tokenvault_analyst;

-- The id that the text of a token holds; null where it is no token of the field.
CREATE FUNCTION pii_vault.token_id_of(token text, field text, format text) RETURNS uuid
  LANGUAGE sql IMMUTABLE
  SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE format
    WHEN 'uuid' THEN CASE WHEN token ~ '^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' THEN token::uuid END
    WHEN 'inet' THEN CASE WHEN token ~ '^f[cd][0-9a-f]{2}:[0-9a-f:]+(/128)?$' AND pg_input_is_valid(token, 'inet')
      THEN encode(substr(inet_send(token::inet), 5), 'hex')::uuid END
    ELSE CASE WHEN starts_with(token, field || '_v') AND substr(token, length(field) + 3) ~ '^[1-9][0-9]*_[A-Za-z0-9_-]+$'
        AND length(token) - strpos(substr(token, length(field) + 3), '_') = length(field) + 24 AND strpos('AQgw', right(token, 1)) > 0
      THEN encode(decode(translate(right(token, 22), '-_', '+/') || '==', 'base64'), 'hex')::uuid END
  END
$$;
REVOKE ALL ON FUNCTION pii_vault.token_id_of(text, text, text) FROM PUBLIC;

-- As before; an original whose token stands in an archive needs none in the database.
CREATE OR REPLACE FUNCTION pii_vault.reconcile_tokens(fields text[], columns text[])
  RETURNS TABLE (finding text, field text, day date, tokens bigint)
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET enable_nestloop = off
AS $$
DECLARE
  stored text;
BEGIN
  PERFORM pii_vault.require(cardinality(fields) BETWEEN 1 AND 100 AND cardinality(columns) = cardinality(fields)
    AND (SELECT count(DISTINCT name) = count(*) AND count(DISTINCT column_name) = count(*)
      FROM unnest(fields, columns) AS named (name, column_name)), 'each field has one column');
  PERFORM pii_vault.require((SELECT bool_and(name IN (SELECT key.field FROM pii_vault.keys AS key WHERE key.purpose = 'token'))
    FROM unnest(fields) AS name), 'a field has no key');
  PERFORM pii_vault.require((SELECT bool_and(column_name IN (
      SELECT attname FROM pg_attribute
      WHERE attrelid = 'public.user_logins'::regclass AND attnum > 0 AND NOT attisdropped
        AND attname NOT IN ('user_id', 'device_type', 'locale')
        AND atttypid IN ('varchar'::regtype, 'text'::regtype,
          CASE recorded.format WHEN 'uuid' THEN 'uuid'::regtype WHEN 'inet' THEN 'inet'::regtype END)))
    FROM unnest(fields, columns) AS named (name, column_name)
    LEFT JOIN pii_vault.fields AS recorded ON recorded.name = named.name), 'a column holds no tokens');

  -- The 22 letters of a token hold 128 bits, and 4 bits that are zero. A match without a capture, and lengths by hand: a capture
  -- costs five times as much, and a count of letters in the pattern four times.
  SELECT string_agg(format(CASE recorded.format
    WHEN 'uuid' THEN
    'SELECT %1$L::text AS field, create_date AS day, CASE
       WHEN %2$I::text ~ ''^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$''
       THEN %2$I::text::uuid END AS token_id
     FROM public.user_logins WHERE %2$I IS NOT NULL'
    WHEN 'inet' THEN
    'SELECT %1$L::text AS field, create_date AS day, CASE
       WHEN %2$I::text ~ ''^f[cd][0-9a-f]{2}:[0-9a-f:]+(/128)?$'' AND pg_input_is_valid(%2$I::text, ''inet'')
       THEN encode(substr(inet_send(%2$I::text::inet), 5), ''hex'')::uuid END AS token_id
     FROM public.user_logins WHERE %2$I IS NOT NULL'
    ELSE
    'SELECT %1$L::text AS field, create_date AS day, CASE
       WHEN starts_with(%2$I, %3$L) AND substr(%2$I, %4$s) ~ ''^[1-9][0-9]*_[A-Za-z0-9_-]+$''
         AND length(%2$I) - strpos(substr(%2$I, %4$s), ''_'') = %4$s + 21 AND strpos(''AQgw'', right(%2$I, 1)) > 0
       THEN encode(decode(translate(right(%2$I, 22), ''-_'', ''+/'') || ''=='', ''base64''), ''hex'')::uuid END AS token_id
     FROM public.user_logins WHERE %2$I IS NOT NULL'
    END, named.name, column_name, named.name || '_v', length(named.name) + 3), ' UNION ALL ')
  INTO stored
  FROM unnest(fields, columns) AS named (name, column_name)
  LEFT JOIN pii_vault.fields AS recorded ON recorded.name = named.name;

  RETURN QUERY EXECUTE format(
    'SELECT ''token_without_original'', token.field, token.day, count(*) FROM (%s) AS token
     WHERE NOT EXISTS (SELECT FROM pii_vault.originals AS original
       WHERE original.token_id = token.token_id AND original.field = token.field)
     GROUP BY token.field, token.day ORDER BY 2, 3', stored);
  RETURN QUERY EXECUTE format(
    'SELECT ''original_without_token'', original.field, original.created_at::date, count(*) FROM pii_vault.originals AS original
     WHERE NOT original.kept_elsewhere AND NOT EXISTS (SELECT FROM (%s) AS token
       WHERE token.token_id = original.token_id AND token.field = original.field)
       AND NOT EXISTS (SELECT FROM pii_vault.archived_tokens AS archived
         WHERE archived.token_id = original.token_id AND archived.field = original.field)
     GROUP BY original.field, original.created_at::date ORDER BY 2, 3', stored);
END
$$;

RESET ROLE;
