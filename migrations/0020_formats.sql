SET LOCAL ROLE tokenvault_owner;

-- Tokens of format uuid and inet are their own ids, in which a few bits of the SIV give way to those of the format.
ALTER TABLE pii_vault.originals ADD COLUMN siv_rest smallint CHECK (siv_rest BETWEEN 0 AND 255);

COMMENT ON COLUMN pii_vault.originals.token_id IS 'Token id: the 16 bytes of the token. Of a token that is text they are its SIV, of a uuid or inet token the SIV with the bits of the format in it.';
COMMENT ON COLUMN pii_vault.originals.siv_rest IS 'Of a uuid or inet token the bits of the SIV that are not in its id; null for tokens that are text.';

-- Two values whose tokens are equal and whose SIVs are not: the second would be dropped by ON CONFLICT DO NOTHING, and its token
-- would give the first one back. Whoever stores asks in the same transaction, and rolls back where anything is answered. It tells
-- nothing but ids that were given: whether an id is there shows to whoever inserts it, too.
CREATE FUNCTION pii_vault.colliding_tokens(token_ids uuid[], fields text[], token_key_versions integer[], siv_rests smallint[])
  RETURNS SETOF uuid
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM pii_vault.require(cardinality(token_ids) <= 100000 AND cardinality(fields) = cardinality(token_ids)
    AND cardinality(token_key_versions) = cardinality(token_ids) AND cardinality(siv_rests) = cardinality(token_ids),
    'each token has one field, version and rest');
  RETURN QUERY
    SELECT original.token_id
    FROM unnest(token_ids, fields, token_key_versions, siv_rests) AS given (token_id, field, token_key_version, siv_rest)
    JOIN pii_vault.originals AS original ON original.token_id = given.token_id
    WHERE (original.field, original.token_key_version, original.siv_rest)
      IS DISTINCT FROM (given.field, given.token_key_version, given.siv_rest);
END
$$;

REVOKE ALL ON FUNCTION pii_vault.colliding_tokens(uuid[], text[], integer[], smallint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_vault.colliding_tokens(uuid[], text[], integer[], smallint[]) TO tokenvault_worker, tokenvault_store;

CREATE TABLE pii_vault.fields (
  name text PRIMARY KEY,
  rule text NOT NULL,
  format text NOT NULL CHECK (format IN ('text', 'uuid', 'inet')),
  inet_prefix text CHECK ((inet_prefix IS NOT NULL) = (format = 'inet')),
  derived_from text,
  recorded_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE pii_vault.fields IS 'What makes the tokens of each field, as configured when its keys were made. A process whose configuration differs does not start: equal values would get other tokens.';
COMMENT ON COLUMN pii_vault.fields.name IS 'Field, for example ip. A field that is not configured any more stays: its tokens may be anywhere.';
COMMENT ON COLUMN pii_vault.fields.rule IS 'Rule by which its values are normalized.';
COMMENT ON COLUMN pii_vault.fields.format IS 'How its tokens are spelled: text, uuid or inet.';
COMMENT ON COLUMN pii_vault.fields.inet_prefix IS 'Network of tokens of format inet; null for the others.';
COMMENT ON COLUMN pii_vault.fields.derived_from IS 'Field whose values its values are derived from; null where events have them.';
COMMENT ON COLUMN pii_vault.fields.recorded_at IS 'When this was recorded, or changed before the field had tokens.';

GRANT SELECT ON pii_vault.fields TO tokenvault_worker, tokenvault_api, tokenvault_auditor;

-- As in 0017_bounds; the tokens of each field are read in the format that is recorded for it. A uuid or inet token is its id, and
-- its column is of that type, or text: what does not have the shape of a token has no original.
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
     WHERE NOT EXISTS (SELECT FROM (%s) AS token
       WHERE token.token_id = original.token_id AND token.field = original.field)
     GROUP BY original.field, original.created_at::date ORDER BY 2, 3', stored);
END
$$;

RESET ROLE;
