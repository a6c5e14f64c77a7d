SET LOCAL ROLE tokenvault_owner;

-- The token of a value under an earlier token key, and what stands in its place. Whoever makes tokens while a key is being moved
-- writes them, in the transaction of the row; so does `tokenvault keys retokenize`, for what was stored before.
CREATE TABLE IF NOT EXISTS pii_vault.token_aliases (
  token_id uuid PRIMARY KEY,
  field text NOT NULL,
  token_key_version integer NOT NULL,
  old_token text NOT NULL,
  new_token text NOT NULL,
  successor uuid NOT NULL,
  proof bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS token_aliases_old_token ON pii_vault.token_aliases (old_token, field);
CREATE INDEX IF NOT EXISTS token_aliases_successor ON pii_vault.token_aliases (successor);

COMMENT ON TABLE pii_vault.token_aliases IS 'Tokens of token keys that were moved away from, each with the token of the same value under the key that took over.';
COMMENT ON COLUMN pii_vault.token_aliases.token_id IS 'Token id of the earlier token.';
COMMENT ON COLUMN pii_vault.token_aliases.field IS 'Field of both tokens, for example ip.';
COMMENT ON COLUMN pii_vault.token_aliases.token_key_version IS 'Version of the token key that made the earlier token.';
COMMENT ON COLUMN pii_vault.token_aliases.old_token IS 'The earlier token as it stands in its column; an inet token without /128.';
COMMENT ON COLUMN pii_vault.token_aliases.new_token IS 'The token that stands in its place.';
COMMENT ON COLUMN pii_vault.token_aliases.successor IS 'Token id of the token that stands in its place; its original holds the value.';
COMMENT ON COLUMN pii_vault.token_aliases.proof IS 'The earlier token id, sealed under the token key of the successor and bound to its id: an alias that was edited does not open.';
COMMENT ON COLUMN pii_vault.token_aliases.created_at IS 'When the alias was stored for the first time.';

CREATE TABLE IF NOT EXISTS pii_vault.token_moves (
  field text NOT NULL,
  token_key_version integer NOT NULL,
  to_version integer NOT NULL,
  state text NOT NULL DEFAULT 'moving' CHECK (state IN ('moving', 'done')),
  started_at timestamptz NOT NULL DEFAULT now(),
  done_at timestamptz,
  PRIMARY KEY (field, token_key_version),
  CONSTRAINT token_moves_done CHECK ((state = 'done') = (done_at IS NOT NULL))
);

COMMENT ON TABLE pii_vault.token_moves IS 'Versions of token keys whose tokens are being replaced, or were.';
COMMENT ON COLUMN pii_vault.token_moves.field IS 'Field of the token key.';
COMMENT ON COLUMN pii_vault.token_moves.token_key_version IS 'The version that is moved away from.';
COMMENT ON COLUMN pii_vault.token_moves.to_version IS 'The version that took over.';
COMMENT ON COLUMN pii_vault.token_moves.state IS 'moving: whoever makes tokens writes aliases for this version; done: nothing of it is left.';
COMMENT ON COLUMN pii_vault.token_moves.started_at IS 'When the key was rotated.';
COMMENT ON COLUMN pii_vault.token_moves.done_at IS 'When the last token of the version was replaced; null until then.';

GRANT INSERT ON pii_vault.token_aliases TO tokenvault_worker, tokenvault_store;
GRANT SELECT ON pii_vault.token_aliases TO tokenvault_api;
GRANT SELECT ON pii_vault.token_moves TO tokenvault_worker, tokenvault_api;

-- As in 0021_analyst: a token whose alias leads to an original has one, and an original whose token is replaced is proven by its
-- successor.
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
    GROUP BY token.name
    UNION ALL
    SELECT 'original_without_token', original.field, original.created_at::date, count(*) FROM pii_vault.originals AS original
    WHERE original.field = ANY (fields) AND NOT original.kept_elsewhere AND NOT EXISTS (SELECT FROM token
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
