SET LOCAL ROLE tokenvault_owner;

-- Whichever of 0027_retokenize and this file a database meets first makes these two tables.
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
ALTER TABLE pii_vault.token_moves
  ADD COLUMN retired_at timestamptz,
  ADD CONSTRAINT token_moves_retired CHECK (retired_at IS NULL OR state = 'done');

COMMENT ON TABLE pii_vault.token_moves IS 'Versions of token keys whose tokens are being replaced, or were.';
COMMENT ON COLUMN pii_vault.token_moves.field IS 'Field of the token key.';
COMMENT ON COLUMN pii_vault.token_moves.token_key_version IS 'The version that is moved away from.';
COMMENT ON COLUMN pii_vault.token_moves.to_version IS 'The version that took over.';
COMMENT ON COLUMN pii_vault.token_moves.state IS 'moving: whoever makes tokens writes aliases for this version; done: nothing of it is left.';
COMMENT ON COLUMN pii_vault.token_moves.started_at IS 'When the key was rotated.';
COMMENT ON COLUMN pii_vault.token_moves.done_at IS 'When the last token of the version was replaced; null before.';
COMMENT ON COLUMN pii_vault.token_moves.retired_at IS 'When its aliases began to be deleted, so that its tokens answer token_retired; null while they still open.';

GRANT INSERT ON pii_vault.token_aliases TO tokenvault_worker, tokenvault_store;
GRANT SELECT ON pii_vault.token_aliases TO tokenvault_api;
GRANT SELECT ON pii_vault.token_moves TO tokenvault_worker, tokenvault_store, tokenvault_api;

-- Every row under a new token key is committed together with the alias of its value, so that in each snapshot all rows of a value
-- have one join key. The two halves exclude each other: while nothing is being moved, the one that joins is not run at all
-- (One-Time Filter), and the other one is a scan of user_logins with its indexes.
CREATE VIEW analyst.logins AS
  SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date,
    masked_ip::text AS ip_key, masked_device_id::text AS device_key
  FROM public.user_logins
  WHERE NOT (SELECT EXISTS (SELECT FROM pii_vault.token_moves WHERE state = 'moving'))
  UNION ALL
  SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date,
    coalesce(ip.new_token, masked_ip), coalesce(device.new_token, masked_device_id)
  FROM public.user_logins
    LEFT JOIN pii_vault.token_aliases AS ip ON ip.old_token = masked_ip
    LEFT JOIN pii_vault.token_aliases AS device ON device.old_token = masked_device_id
  WHERE (SELECT EXISTS (SELECT FROM pii_vault.token_moves WHERE state = 'moving'));

COMMENT ON VIEW analyst.logins IS 'The rows of public.user_logins with one join key for each value, also while a token key is being rotated and tokens of both keys stand in the table.';
COMMENT ON COLUMN analyst.logins.user_id IS 'The user who logged in, as the producer names them; null as in public.user_logins.';
COMMENT ON COLUMN analyst.logins.device_type IS 'Kind of device, as the producer names it; null where the event has none.';
COMMENT ON COLUMN analyst.logins.masked_ip IS 'Token of the IP address as it stands in public.user_logins; null as there.';
COMMENT ON COLUMN analyst.logins.masked_device_id IS 'Token of the device id as it stands in public.user_logins; null as there.';
COMMENT ON COLUMN analyst.logins.locale IS 'Locale of the app, as the producer names it; null where the event has none.';
COMMENT ON COLUMN analyst.logins.app_version IS 'First number of the app version; null where the event has none.';
COMMENT ON COLUMN analyst.logins.create_date IS 'UTC day on which the producer sent the message that held the event.';
COMMENT ON COLUMN analyst.logins.ip_key IS 'Equal for equal IP addresses, whatever key their tokens are of: group and join by it. Null where masked_ip is.';
COMMENT ON COLUMN analyst.logins.device_key IS 'Equal for equal device ids, whatever key their tokens are of: group and join by it. Null where masked_device_id is.';

GRANT SELECT ON analyst.logins TO tokenvault_analyst;

-- Replaced and not made anew, so that grants stay, and views of analysts that read from these. Counts stay the same while a token
-- key is rotated.
CREATE OR REPLACE VIEW public.duplicate_ips AS
  SELECT ip_key::varchar(256) AS masked_ip, count(*) AS logins, count(DISTINCT user_id) AS users, min(create_date) AS first_day, max(create_date) AS last_day
  FROM analyst.logins WHERE ip_key IS NOT NULL GROUP BY ip_key HAVING count(*) > 1;
CREATE OR REPLACE VIEW public.duplicate_devices AS
  SELECT device_key::varchar(256) AS masked_device_id, count(*) AS logins, count(DISTINCT user_id) AS users, min(create_date) AS first_day, max(create_date) AS last_day
  FROM analyst.logins WHERE device_key IS NOT NULL GROUP BY device_key HAVING count(*) > 1;

COMMENT ON COLUMN public.duplicate_ips.masked_ip IS 'Token of the IP address; while its token key is rotated, the one under the new key. Logins without one are left out.';
COMMENT ON COLUMN public.duplicate_devices.masked_device_id IS 'Token of the device id; while its token key is rotated, the one under the new key. Logins without one are left out.';

-- As in 0022_token_columns. In columns of others tokens of an earlier key stay: one with an alias has the original of its successor.
CREATE OR REPLACE FUNCTION pii_vault.count_without_original(field_name text, token_ids uuid[]) RETURNS bigint
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM pii_vault.require(coalesce(cardinality(token_ids) BETWEEN 1 AND 100000, false), '1 to 100,000 token ids');
  PERFORM pii_vault.require(field_name IS NOT NULL, 'a field');
  RETURN cardinality(token_ids) - (
    SELECT count(*) FROM unnest(token_ids) AS asked (token_id)
    LEFT JOIN pii_vault.token_aliases AS alias ON alias.token_id = asked.token_id AND alias.field = field_name
    JOIN pii_vault.originals AS original ON original.token_id = coalesce(alias.successor, asked.token_id)
    WHERE original.field = field_name);
END
$$;

RESET ROLE;
