SET LOCAL ROLE tokenvault_owner;

-- Columns of other people's tables that hold tokens. The auditor reads each of them with a grant of its own on that column, and
-- as itself: no function that runs as its owner ever reads a table that strangers can change.
CREATE TABLE pii_vault.token_columns (
  table_schema text NOT NULL,
  table_name text NOT NULL,
  column_name text NOT NULL,
  field text NOT NULL,
  registered_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (table_schema, table_name, column_name)
);

COMMENT ON TABLE pii_vault.token_columns IS 'Columns outside of this product that hold tokens: `tokenvault backfill` enters them, and `tokenvault reconcile` proves that each token in them has its original.';
COMMENT ON COLUMN pii_vault.token_columns.table_schema IS 'Schema of the table.';
COMMENT ON COLUMN pii_vault.token_columns.table_name IS 'Name of the table.';
COMMENT ON COLUMN pii_vault.token_columns.column_name IS 'Name of the column.';
COMMENT ON COLUMN pii_vault.token_columns.field IS 'Field whose tokens the column holds, for example ip.';
COMMENT ON COLUMN pii_vault.token_columns.registered_at IS 'When the column was entered here.';

GRANT SELECT ON pii_vault.token_columns TO tokenvault_auditor;

-- How many of the ids, with repeats, have no original of the field. A null is the id of no token, and is counted. It says of
-- an id whether there is an original, which whoever knows the token may know.
CREATE FUNCTION pii_vault.count_without_original(field_name text, token_ids uuid[]) RETURNS bigint
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM pii_vault.require(coalesce(cardinality(token_ids) BETWEEN 1 AND 100000, false), '1 to 100,000 token ids');
  PERFORM pii_vault.require(field_name IS NOT NULL, 'a field');
  RETURN cardinality(token_ids) - (
    SELECT count(*) FROM unnest(token_ids) AS asked (token_id)
    JOIN pii_vault.originals AS original ON original.token_id = asked.token_id
    WHERE original.field = field_name);
END
$$;

-- Whoever stores a value over HTTP keeps its token where we do not look: that it is not in user_logins says nothing.
ALTER TABLE pii_vault.originals ADD COLUMN kept_elsewhere boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN pii_vault.originals.kept_elsewhere IS 'Whether the value was first stored over HTTP, so that its token need not be in user_logins.';

-- As in 0020_formats; an original whose token is kept elsewhere needs none in user_logins.
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
     GROUP BY original.field, original.created_at::date ORDER BY 2, 3', stored);
END
$$;

REVOKE ALL ON FUNCTION pii_vault.count_without_original(text, uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_vault.count_without_original(text, uuid[]) TO tokenvault_auditor;

RESET ROLE;
