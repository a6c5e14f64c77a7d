SET LOCAL ROLE tokenvault_owner;

-- As in 0036_moved_tokens: a token whose original expired needs none, and an original of the time of rows that were dropped needs no
-- token. Nobody knows any more which rows those were.
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
       AND NOT EXISTS (SELECT FROM pii_vault.token_aliases AS alias
         JOIN pii_vault.originals AS original ON original.token_id = alias.successor
         WHERE alias.token_id = token.token_id AND alias.field = token.field)
       AND NOT EXISTS (SELECT FROM pii_vault.expired_originals AS expired
         WHERE expired.token_id = token.token_id AND expired.field = token.field)
     GROUP BY token.field, token.day ORDER BY 2, 3', stored);
  RETURN QUERY EXECUTE format(
    'SELECT ''original_without_token'', original.field, original.created_at::date, count(*) FROM pii_vault.originals AS original
     WHERE NOT original.kept_elsewhere
       AND coalesce(original.created_at >= (SELECT max(month) + interval ''1 month'' FROM pii_vault.dropped_months), true)
       AND NOT EXISTS (SELECT FROM (%s) AS token
       WHERE token.token_id = original.token_id AND token.field = original.field)
       AND NOT EXISTS (SELECT FROM pii_vault.archived_tokens AS archived
         WHERE archived.token_id = original.token_id AND archived.field = original.field)
       AND NOT EXISTS (SELECT FROM pii_vault.token_aliases AS alias
         JOIN pii_vault.originals AS next ON next.token_id = alias.successor
         WHERE alias.token_id = original.token_id AND alias.field = original.field)
       AND NOT EXISTS (SELECT FROM (%s) AS token JOIN pii_vault.token_aliases AS alias ON alias.token_id = token.token_id
         WHERE alias.successor = original.token_id AND alias.field = original.field AND token.field = original.field)
       AND NOT EXISTS (SELECT FROM pii_vault.archived_tokens AS archived
         JOIN pii_vault.token_aliases AS alias ON alias.token_id = archived.token_id
         WHERE alias.successor = original.token_id AND alias.field = original.field AND archived.field = original.field)
     GROUP BY original.field, original.created_at::date ORDER BY 2, 3', stored, stored);
END
$$;

-- As in 0027_retokenize, likewise.
CREATE OR REPLACE FUNCTION pii_vault.reconcile_networks(fields text[])
  RETURNS TABLE (finding text, field text, day date, tokens bigint)
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
BEGIN
  PERFORM pii_vault.require(cardinality(fields) BETWEEN 1 AND 100
    AND (SELECT count(DISTINCT name) = count(*) FROM unnest(fields) AS name), 'each field stands once');
  PERFORM pii_vault.require((SELECT bool_and(name IN (SELECT key.field FROM pii_vault.keys AS key WHERE key.purpose = 'token'))
    FROM unnest(fields) AS name), 'a field has no key');

  RETURN QUERY
    WITH token AS MATERIALIZED (
      SELECT DISTINCT name, masked_network, CASE
        WHEN substr(masked_network, length(name) + 3) ~ '^[1-9][0-9]*_[A-Za-z0-9_-]+$'
          AND length(masked_network) - strpos(substr(masked_network, length(name) + 3), '_') = length(name) + 3 + 21
          AND strpos('AQgw', right(masked_network, 1)) > 0
        THEN encode(decode(translate(right(masked_network, 22), '-_', '+/') || '==', 'base64'), 'hex')::uuid END AS token_id
      FROM analyst.ip_networks JOIN unnest(fields) AS name ON starts_with(masked_network, name || '_v')
    )
    SELECT 'token_without_original', token.name, NULL::date, count(*) FROM token
    WHERE NOT EXISTS (SELECT FROM pii_vault.originals AS original
      WHERE original.token_id = token.token_id AND original.field = token.name)
      AND NOT EXISTS (SELECT FROM pii_vault.token_aliases AS alias
        JOIN pii_vault.originals AS original ON original.token_id = alias.successor
        WHERE alias.token_id = token.token_id AND alias.field = token.name)
      AND NOT EXISTS (SELECT FROM pii_vault.expired_originals AS expired
        WHERE expired.token_id = token.token_id AND expired.field = token.name)
    GROUP BY token.name
    UNION ALL
    SELECT 'original_without_token', original.field, original.created_at::date, count(*) FROM pii_vault.originals AS original
    WHERE original.field = ANY (fields) AND NOT original.kept_elsewhere
      AND coalesce(original.created_at >= (SELECT max(month) + interval '1 month' FROM pii_vault.dropped_months), true)
      AND NOT EXISTS (SELECT FROM token
      WHERE token.token_id = original.token_id AND token.name = original.field)
      AND NOT EXISTS (SELECT FROM pii_vault.token_aliases AS alias
        JOIN pii_vault.originals AS next ON next.token_id = alias.successor
        WHERE alias.token_id = original.token_id AND alias.field = original.field)
      AND NOT EXISTS (SELECT FROM token JOIN pii_vault.token_aliases AS alias ON alias.token_id = token.token_id
        WHERE alias.successor = original.token_id AND alias.field = original.field AND token.name = original.field)
    GROUP BY original.field, original.created_at::date
    ORDER BY 1 DESC, 2, 3;
END
$$;

RESET ROLE;
