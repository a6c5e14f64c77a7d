SET LOCAL ROLE tokenvault_owner;

-- The ledger of erasures. What it says of a person or a token is a keyed digest: it must not bring back what was erased.
CREATE TABLE pii_vault.erasures (
  number bigint PRIMARY KEY CHECK (number > 0),
  person text COLLATE "C" NOT NULL CHECK (person ~ '^[A-Za-z0-9_-]{22}$'),
  approval uuid,
  erased_at timestamptz NOT NULL,
  certificate text NOT NULL CHECK (octet_length(certificate) <= 65536),
  entry_hash bytea NOT NULL CHECK (octet_length(entry_hash) = 32),
  stored_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX erasures_by_person ON pii_vault.erasures (person);
CREATE UNIQUE INDEX erasures_by_approval ON pii_vault.erasures (approval);
COMMENT ON TABLE pii_vault.erasures IS 'The erasure ledger, append-only: one entry for each erasure of a person, numbered from 1 without a gap, and each bound to the one before it.';
COMMENT ON COLUMN pii_vault.erasures.number IS 'Place in the ledger, from 1.';
COMMENT ON COLUMN pii_vault.erasures.person IS 'Keyed digest of the user_id, 22 letters of base64url.';
COMMENT ON COLUMN pii_vault.erasures.approval IS 'Request for approval that the erasure used; null where none was needed.';
COMMENT ON COLUMN pii_vault.erasures.erased_at IS 'When the person was erased.';
COMMENT ON COLUMN pii_vault.erasures.certificate IS 'The certificate, a signed note (C2SP signed-note); docs/people.md says what it holds.';
COMMENT ON COLUMN pii_vault.erasures.entry_hash IS 'SHA-256 of the signed text; the next entry names it.';
COMMENT ON COLUMN pii_vault.erasures.stored_at IS 'When the entry was stored here: later than erased_at where it came back after a restore.';

CREATE TABLE pii_vault.erased_tokens (
  digest text COLLATE "C" PRIMARY KEY CHECK (digest ~ '^[A-Za-z0-9_-]{22}$'),
  erasure bigint NOT NULL
);
COMMENT ON TABLE pii_vault.erased_tokens IS 'Which tokens were erased, append-only. One that was stored again since opens again.';
COMMENT ON COLUMN pii_vault.erased_tokens.digest IS 'Keyed digest of field and token id, 22 letters of base64url.';
COMMENT ON COLUMN pii_vault.erased_tokens.erasure IS 'Number of the erasure that erased it first.';

CREATE TABLE pii_vault.erased_counts (
  erasure bigint NOT NULL,
  place integer NOT NULL,
  kind text NOT NULL CHECK (kind IN
    ('row', 'detail', 'anonymized_row', 'anonymized_detail', 'original', 'shared', 'kept_elsewhere', 'network', 'alias', 'quarantined')),
  field text,
  day date,
  count bigint NOT NULL,
  PRIMARY KEY (erasure, place)
);
COMMENT ON TABLE pii_vault.erased_counts IS 'What each erasure did in this database, append-only: `tokenvault reconcile` adds it to what is stored.';
COMMENT ON COLUMN pii_vault.erased_counts.erasure IS 'Number of the erasure.';
COMMENT ON COLUMN pii_vault.erased_counts.place IS 'Place of the line within the erasure, from 1.';
COMMENT ON COLUMN pii_vault.erased_counts.kind IS 'row and detail: removed from public.user_logins and analyst.login_details; anonymized_row, anonymized_detail: kept there without user_id; original, network, alias: deleted; shared, kept_elsewhere: values that stayed because others have them, or because services keep their tokens; quarantined: bodies erased.';
COMMENT ON COLUMN pii_vault.erased_counts.field IS 'Field of the values; null where the line is not about values.';
COMMENT ON COLUMN pii_vault.erased_counts.day IS 'UTC day of the rows, or on which the originals were stored; null where there is none.';
COMMENT ON COLUMN pii_vault.erased_counts.count IS 'How many rows, values or bodies.';

CREATE TABLE pii_vault.erasure_completions (
  number bigint PRIMARY KEY REFERENCES pii_vault.erasures (number),
  certificate text NOT NULL CHECK (octet_length(certificate) <= 65536),
  completed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pii_vault.erasure_completions IS 'Second parts of certificates, append-only: backups from before the erasure open nothing of it any more.';
COMMENT ON COLUMN pii_vault.erasure_completions.number IS 'Number of the erasure.';
COMMENT ON COLUMN pii_vault.erasure_completions.certificate IS 'Second part of the certificate, a signed note: it names the events of the destroyed keys.';
COMMENT ON COLUMN pii_vault.erasure_completions.completed_at IS 'When it was made.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pii_vault.erasures
  FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pii_vault.erased_tokens
  FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pii_vault.erased_counts
  FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pii_vault.erasure_completions
  FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change();

CREATE TABLE pii_vault.erasure_head (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  number bigint NOT NULL,
  entry_hash bytea NOT NULL CHECK (octet_length(entry_hash) = 32)
);
INSERT INTO pii_vault.erasure_head (number, entry_hash) VALUES (0, sha256(''));
COMMENT ON TABLE pii_vault.erasure_head IS 'One row: how far the erasure ledger reaches. Its row lock lets one erasure at a time through.';
COMMENT ON COLUMN pii_vault.erasure_head.only_row IS 'Always true: there is one row.';
COMMENT ON COLUMN pii_vault.erasure_head.number IS 'Number of the newest entry; 0 where there is none.';
COMMENT ON COLUMN pii_vault.erasure_head.entry_hash IS 'Its entry_hash; the SHA-256 of nothing where there is none.';

ALTER TABLE ingest.receipts ADD COLUMN rows_dropped integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN ingest.receipts.rows_dropped IS 'Events of the message that were dropped, because they are of a person who was erased before and `on_erased` is drop.';

-- Begins an erasure: from here to the end of the transaction no other one goes on. Returns the newest entry.
CREATE FUNCTION pii_vault.lock_erasures() RETURNS TABLE (number bigint, entry_hash bytea)
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT head.number, head.entry_hash FROM pii_vault.erasure_head AS head FOR UPDATE
$$;

-- The id of a token of that field and format; null for text that is none. As reconcile_tokens reads them.
CREATE FUNCTION pii_vault.erased_token_id(token text, field_name text, format text) RETURNS uuid
  LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN format = 'uuid' THEN
      CASE WHEN token ~ '^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' THEN token::uuid END
    WHEN format = 'inet' THEN
      CASE WHEN token ~ '^f[cd][0-9a-f]{2}:[0-9a-f:]+(/128)?$' AND pg_input_is_valid(token, 'inet')
        THEN encode(substr(inet_send(token::inet), 5), 'hex')::uuid END
    WHEN starts_with(token, field_name || '_v') AND substr(token, length(field_name) + 3) ~ '^[1-9][0-9]*_[A-Za-z0-9_-]+$'
      AND length(token) - strpos(substr(token, length(field_name) + 3), '_') = length(field_name) + 3 + 21
      AND strpos('AQgw', right(token, 1)) > 0
    THEN encode(decode(translate(right(token, 22), '-_', '+/') || '==', 'base64'), 'hex')::uuid
  END
$$;

-- Which of the tokens, as text, no row has but those that this transaction changed.
CREATE FUNCTION pii_vault.tokens_of_no_other(tokens text[], column_name text, column_type text) RETURNS text[]
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  left_over text[];
  in_details boolean := EXISTS (SELECT FROM pg_attribute
    WHERE attrelid = 'analyst.login_details'::regclass AND attname = column_name AND NOT attisdropped);
BEGIN
  EXECUTE format(
    'SELECT array_agg(token) FROM unnest($1) AS token
     WHERE NOT EXISTS (SELECT FROM public.user_logins AS login
       WHERE login.%1$I = token::%2$s AND login.xmin <> pg_current_xact_id()::xid)'
    || CASE WHEN in_details THEN
      ' AND NOT EXISTS (SELECT FROM analyst.login_details AS detail
        WHERE detail.%1$I = token AND detail.xmin <> pg_current_xact_id()::xid)' ELSE '' END,
    column_name, column_type) INTO left_over USING tokens;
  RETURN coalesce(left_over, '{}');
END
$$;

CREATE FUNCTION pii_vault.count_erased(erasure_number bigint, erased_kind text, erased_field text, counts jsonb) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO pii_vault.erased_counts (erasure, place, kind, field, day, count)
  SELECT erasure_number,
    (SELECT count(*) FROM pii_vault.erased_counts AS before WHERE before.erasure = erasure_number) + row_number() OVER (ORDER BY line ->> 'day'),
    erased_kind, erased_field, (line ->> 'day')::date, (line ->> 'count')::bigint
  FROM jsonb_array_elements(counts) AS line WHERE (line ->> 'count')::bigint > 0
$$;

-- Erases the rows of a person, and what only they had. columns[n] holds the tokens of fields[n]; derived are the fields whose tokens
-- stand in analyst.ip_networks. Returns the ids of the tokens that are gone, and which data keys had sealed their originals:
-- {"tokens": [{"field", "id"}], "dataKeys": ["ip/1"]}. Of a trial nothing may be committed; no original or network is locked
-- for it, so that nobody who stores waits.
--
-- Whoever stores a row inserts its originals first, in the same transaction, and so holds ROW EXCLUSIVE on pii_vault.originals until
-- that is committed. The lock here waits for all of these, and lets none begin before this transaction ends: so the look-up that
-- follows sees every row that relies on an original, and no such row comes while originals go. It is taken late, for as long as
-- looking up takes the tokens that no other row was found to have before.
CREATE FUNCTION pii_vault.erase_person(
    person_user_id text, fields text[], columns text[], derived text[], anonymize boolean, is_trial boolean)
  RETURNS jsonb
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
  -- Trials go on beside each other and beside an erasure: each counts under a number of its own.
  next_number bigint := CASE WHEN is_trial THEN -(pg_current_xact_id()::text::bigint)
    ELSE (SELECT head.number + 1 FROM pii_vault.erasure_head AS head) END;
  parent text;
  gone jsonb;
  candidates jsonb := '{}';
  alone jsonb := '{}';
  only_theirs text[];
  ids uuid[];
  networks text[];
  result jsonb := '{"tokens": [], "dataKeys": []}';
  place integer;
  field_format text;
  column_type text;
  found record;
BEGIN
  PERFORM pii_vault.require(coalesce(cardinality(fields) = cardinality(columns) AND cardinality(fields) BETWEEN 1 AND 100
    AND cardinality(derived) <= 100, false), 'each field has one column');
  PERFORM pii_vault.require(coalesce(length(person_user_id) BETWEEN 1 AND 128, false) AND anonymize IS NOT NULL AND is_trial IS NOT NULL,
    'a person, and what is done');
  PERFORM pii_vault.require((SELECT bool_and(name IN (SELECT key.field FROM pii_vault.keys AS key WHERE key.purpose = 'token'))
    FROM unnest(fields || derived) AS name), 'a field has no key');
  PERFORM pii_vault.require(NOT EXISTS (SELECT FROM unnest(columns) AS name WHERE name IS NULL OR name NOT IN (
    SELECT attname FROM pg_attribute WHERE attrelid = 'public.user_logins'::regclass AND attnum > 0 AND NOT attisdropped
      AND attname NOT IN ('user_id', 'device_type', 'locale', 'app_version', 'create_date'))), 'a column holds no tokens');

  -- While tokens are replaced, a value has two of them, and two originals: an erasure has to wait, and loses nothing by it.
  PERFORM pii_vault.require(NOT EXISTS (SELECT FROM pii_vault.token_moves AS move WHERE move.state = 'moving'),
    'tokens are being replaced: run `tokenvault keys retokenize` first');

  FOREACH parent IN ARRAY '{public.user_logins, analyst.login_details}'::text[] LOOP
    EXECUTE format(
      'WITH gone AS (%s RETURNING *)
       SELECT jsonb_build_object(''days'', (SELECT jsonb_agg(jsonb_build_object(''day'', day, ''count'', count))
           FROM (SELECT create_date AS day, count(*) FROM gone GROUP BY create_date) AS days)%s)',
      CASE WHEN anonymize THEN format('UPDATE %s SET user_id = NULL WHERE user_id = $1', parent)
        ELSE format('DELETE FROM %s WHERE user_id = $1', parent) END,
      -- Rows of login_details have the tokens of user_logins, which may have been archived since.
      (SELECT coalesce(string_agg(format(
        ', %L, (SELECT jsonb_agg(DISTINCT %s) FROM gone WHERE %2$s IS NOT NULL)', attname,
        CASE atttypid WHEN 'inet'::regtype THEN format('host(%I)', attname) ELSE format('%I::text', attname) END), ''), '')
       FROM pg_attribute WHERE attrelid = parent::regclass AND attname = ANY (columns) AND NOT attisdropped))
    INTO gone USING person_user_id;
    PERFORM pii_vault.count_erased(next_number,
      CASE WHEN anonymize THEN 'anonymized_' ELSE '' END || CASE parent WHEN 'public.user_logins' THEN 'row' ELSE 'detail' END,
      NULL, coalesce(nullif(gone -> 'days', 'null'), '[]'));
    FOR place IN 1..cardinality(fields) LOOP
      CONTINUE WHEN jsonb_typeof(gone -> columns[place]) IS DISTINCT FROM 'array';
      candidates := candidates || jsonb_build_object(fields[place],
        coalesce(candidates -> fields[place], '[]') || (gone -> columns[place]));
    END LOOP;
  END LOOP;

  FOR pass IN 1..2 LOOP
    IF pass = 2 AND NOT is_trial THEN
      LOCK TABLE pii_vault.originals IN SHARE ROW EXCLUSIVE MODE;
    END IF;
    FOR place IN 1..cardinality(fields) LOOP
      SELECT format_type(atttypid, NULL) INTO column_type FROM pg_attribute
      WHERE attrelid = 'public.user_logins'::regclass AND attname = columns[place] AND NOT attisdropped;
      SELECT coalesce(array_agg(DISTINCT token), '{}') INTO only_theirs
      FROM jsonb_array_elements_text(coalesce((CASE pass WHEN 1 THEN candidates ELSE alone END) -> fields[place], '[]')) AS token;
      only_theirs := pii_vault.tokens_of_no_other(only_theirs, columns[place],
        CASE column_type WHEN 'inet' THEN 'inet' WHEN 'uuid' THEN 'uuid' ELSE 'text' END);
      alone := alone || jsonb_build_object(fields[place], to_jsonb(only_theirs));
    END LOOP;
  END LOOP;

  FOR place IN 1..cardinality(fields) LOOP
    SELECT coalesce(array_agg(token), '{}') INTO only_theirs FROM jsonb_array_elements_text(alone -> fields[place]) AS token;
    SELECT recorded.format INTO field_format FROM pii_vault.fields AS recorded WHERE recorded.name = fields[place];
    PERFORM pii_vault.count_erased(next_number, 'shared', fields[place], jsonb_build_array(jsonb_build_object('count',
      (SELECT count(DISTINCT token) FROM jsonb_array_elements_text(coalesce(candidates -> fields[place], '[]')) AS token)
        - cardinality(only_theirs))));
    CONTINUE WHEN cardinality(only_theirs) = 0;

    IF anonymize THEN
      SELECT format_type(atttypid, NULL) INTO column_type FROM pg_attribute
      WHERE attrelid = 'public.user_logins'::regclass AND attname = columns[place] AND NOT attisdropped;
      EXECUTE format('UPDATE public.user_logins AS login SET %1$I = NULL FROM unnest($1) AS token WHERE login.%1$I = token::%2$s',
        columns[place], CASE column_type WHEN 'inet' THEN 'inet' WHEN 'uuid' THEN 'uuid' ELSE 'text' END) USING only_theirs;
      IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'analyst.login_details'::regclass AND attname = columns[place]
        AND NOT attisdropped) THEN
        EXECUTE format('UPDATE analyst.login_details AS detail SET %1$I = NULL FROM unnest($1) AS token WHERE detail.%1$I = token',
          columns[place]) USING only_theirs;
      END IF;
    END IF;

    SELECT coalesce(array_agg(pii_vault.erased_token_id(token, fields[place], coalesce(field_format, 'text'))), '{}') INTO ids
    FROM unnest(only_theirs) AS token;
    result := pii_vault.erase_originals(next_number, fields[place], ids, result);

    -- A network stays while another address of it is known.
    SELECT array_agg(DISTINCT masked_network) INTO networks
    FROM analyst.ip_networks AS network JOIN unnest(only_theirs) AS token ON network.masked_ip = token;
    CONTINUE WHEN networks IS NULL;
    SELECT coalesce(array_agg(token), '{}') INTO networks FROM unnest(networks) AS token
    WHERE NOT EXISTS (SELECT FROM analyst.ip_networks AS network
      WHERE network.masked_network = token AND network.masked_ip <> ALL (only_theirs));
    IF NOT is_trial THEN
      DELETE FROM analyst.ip_networks AS network USING unnest(only_theirs) AS token WHERE network.masked_ip = token;
    END IF;
    FOR found IN SELECT name, coalesce(recorded.format, 'text') AS format
      FROM unnest(derived) AS name LEFT JOIN pii_vault.fields AS recorded ON recorded.name = name
    LOOP
      SELECT coalesce(array_agg(id), '{}') INTO ids FROM unnest(networks) AS token, pii_vault.erased_token_id(token, found.name, found.format) AS id
      WHERE id IS NOT NULL;
      result := pii_vault.erase_originals(next_number, found.name, ids, result);
    END LOOP;
  END LOOP;
  RETURN result || jsonb_build_object('number', next_number, 'counts', (
    SELECT coalesce(jsonb_agg(jsonb_build_object('kind', total.kind, 'field', total.field, 'count', total.count) ORDER BY total.kind, total.field), '[]')
    FROM (SELECT kind, field, sum(count)::bigint AS count FROM pii_vault.erased_counts WHERE erasure = next_number GROUP BY kind, field) AS total));
END
$$;

-- Deletes the originals of these tokens, but those whose tokens services keep or archived rows have (0033_archive), and adds to the result of erase_person.
CREATE FUNCTION pii_vault.erase_originals(erasure_number bigint, field_name text, ids uuid[], result jsonb) RETURNS jsonb
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
  gone jsonb;
BEGIN
  WITH deleted AS (
    DELETE FROM pii_vault.originals AS original USING unnest(ids) AS id
    WHERE original.token_id = id AND original.field = field_name AND NOT original.kept_elsewhere AND erasure_number > 0
      AND NOT EXISTS (SELECT FROM pii_vault.archived_tokens AS archived WHERE archived.token_id = id AND archived.field = field_name)
    RETURNING original.token_id, original.data_key_version, original.created_at::date AS day
  ), erased AS (
    SELECT * FROM deleted
    UNION ALL
    SELECT original.token_id, original.data_key_version, original.created_at::date
    FROM pii_vault.originals AS original JOIN unnest(ids) AS id ON original.token_id = id
    WHERE original.field = field_name AND NOT original.kept_elsewhere AND erasure_number < 0
      AND NOT EXISTS (SELECT FROM pii_vault.archived_tokens AS archived WHERE archived.token_id = id AND archived.field = field_name)
  )
  SELECT jsonb_build_object(
    'tokens', coalesce(jsonb_agg(jsonb_build_object('field', field_name, 'id', replace(token_id::text, '-', ''))), '[]'),
    'dataKeys', coalesce(jsonb_agg(DISTINCT field_name || '/' || data_key_version), '[]'),
    'days', (SELECT coalesce(jsonb_agg(jsonb_build_object('day', days.day, 'count', days.count)), '[]')
      FROM (SELECT day, count(*) FROM erased GROUP BY day) AS days))
  INTO gone FROM erased;
  -- An earlier token leads to nothing any more.
  DELETE FROM pii_vault.token_aliases AS alias WHERE erasure_number > 0 AND alias.field = field_name AND alias.successor IN (
    SELECT (line ->> 'id')::uuid FROM jsonb_array_elements(gone -> 'tokens') AS line);
  PERFORM pii_vault.count_erased(erasure_number, 'original', field_name, gone -> 'days');
  PERFORM pii_vault.count_erased(erasure_number, 'kept_elsewhere', field_name, jsonb_build_array(jsonb_build_object('count',
    (SELECT count(*) FROM unnest(ids) AS id
      JOIN pii_vault.originals AS original ON original.token_id = id AND original.field = field_name AND original.kept_elsewhere))));
  RETURN jsonb_build_object('tokens', (result -> 'tokens') || (gone -> 'tokens'), 'dataKeys', (result -> 'dataKeys') || (gone -> 'dataKeys'));
END
$$;

-- Enters an erasure that this transaction made, and ends it.
CREATE FUNCTION pii_vault.record_erasure(
    entry_number bigint, person_digest text, used_approval uuid, at timestamptz, note text, hash bytea, digests text[])
  RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM pii_vault.require(coalesce(cardinality(digests) <= 10000000, false)
    AND (SELECT coalesce(bool_and(digest ~ '^[A-Za-z0-9_-]{22}$'), true) FROM unnest(digests) AS digest), 'digests of tokens');
  PERFORM pii_vault.require(coalesce(person_digest ~ '^[A-Za-z0-9_-]{22}$' AND octet_length(note) <= 65536 AND octet_length(hash) = 32, false),
    'an entry');
  UPDATE pii_vault.erasure_head SET number = entry_number, entry_hash = hash WHERE number = entry_number - 1;
  PERFORM pii_vault.require(FOUND, 'another entry is next');
  INSERT INTO pii_vault.erasures (number, person, approval, erased_at, certificate, entry_hash)
  VALUES (entry_number, person_digest, used_approval, at, note, hash);
  INSERT INTO pii_vault.erased_tokens (digest, erasure) SELECT DISTINCT digest, entry_number FROM unnest(digests) AS digest
  ON CONFLICT DO NOTHING;
END
$$;

-- As pii_vault.discard_quarantined, for bodies of a person. Returns how many had a body until now.
CREATE FUNCTION pii_vault.erase_quarantined(entries uuid[]) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
  number_erased bigint;
BEGIN
  PERFORM pii_vault.require(coalesce(cardinality(entries) <= 100000, false), 'too many entries');
  SELECT count(*) INTO number_erased FROM pii_vault.discard_quarantined(entries);
  PERFORM pii_vault.count_erased((SELECT head.number + 1 FROM pii_vault.erasure_head AS head), 'quarantined', NULL,
    jsonb_build_array(jsonb_build_object('count', number_erased)));
  RETURN number_erased;
END
$$;

-- As in 0021_analyst, with what erasures removed, and with what was dropped because it is of an erased person: both were promised.
DROP FUNCTION pii_vault.reconcile_days();
CREATE FUNCTION pii_vault.reconcile_days()
  RETURNS TABLE (
    day date, is_provable boolean, delivery_records bigint, rows_recorded bigint, rows_stored bigint,
    details_recorded bigint, details_stored bigint, quarantine_recorded bigint, quarantine_stored bigint,
    rows_erased bigint, details_erased bigint, rows_dropped bigint)
  LANGUAGE sql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
  SELECT day, coalesce(day >= current_date - 30, true) OR sum(records) > 0, sum(records)::bigint,
    sum(rows_recorded)::bigint, sum(rows_stored)::bigint, sum(details_recorded)::bigint, sum(details_stored)::bigint,
    sum(quarantine_recorded)::bigint, sum(quarantine_stored)::bigint,
    sum(rows_erased)::bigint, sum(details_erased)::bigint, sum(rows_dropped)::bigint
  FROM (
    SELECT sent_on, count(*), sum(rows_stored), 0, sum(details_stored), 0, sum(rows_quarantined), 0, 0, 0, sum(rows_dropped)
      FROM ingest.receipts GROUP BY sent_on
    UNION ALL
    SELECT create_date, 0, 0, count(*), 0, 0, 0, 0, 0, 0, 0 FROM public.user_logins GROUP BY create_date
    UNION ALL
    SELECT create_date, 0, 0, 0, 0, count(*), 0, 0, 0, 0, 0 FROM analyst.login_details GROUP BY create_date
    UNION ALL
    -- A redriven entry gave rows, and its delivery record says so; a discarded one was quarantined for good.
    SELECT sent_on, 0, 0, 0, 0, 0, 0, count(*), 0, 0, 0 FROM pii_vault.quarantine WHERE state <> 'redriven' GROUP BY sent_on
    UNION ALL
    SELECT erased.day, 0, 0, 0, 0, 0, 0, 0, sum(count) FILTER (WHERE kind = 'row'), sum(count) FILTER (WHERE kind = 'detail'), 0
      FROM pii_vault.erased_counts AS erased WHERE kind IN ('row', 'detail') GROUP BY erased.day
  ) AS counts (day, records, rows_recorded, rows_stored, details_recorded, details_stored, quarantine_recorded, quarantine_stored,
    rows_erased, details_erased, rows_dropped)
  GROUP BY day ORDER BY day
$$;

REVOKE ALL ON FUNCTION
  pii_vault.lock_erasures(), pii_vault.erased_token_id(text, text, text), pii_vault.tokens_of_no_other(text[], text, text),
  pii_vault.count_erased(bigint, text, text, jsonb), pii_vault.erase_person(text, text[], text[], text[], boolean, boolean),
  pii_vault.erase_originals(bigint, text, uuid[], jsonb), pii_vault.erase_quarantined(uuid[]), pii_vault.reconcile_days(),
  pii_vault.record_erasure(bigint, text, uuid, timestamptz, text, bytea, text[])
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  pii_vault.lock_erasures(), pii_vault.erase_person(text, text[], text[], text[], boolean, boolean),
  pii_vault.erase_quarantined(uuid[]), pii_vault.append_audit(bytea[]), pii_vault.signing_key_version(),
  pii_vault.record_erasure(bigint, text, uuid, timestamptz, text, bytea, text[])
  TO tokenvault_privacy;
GRANT EXECUTE ON FUNCTION pii_vault.reconcile_days() TO tokenvault_auditor;
-- pii_vault.signing_key_version() reads it: a certificate is signed by the key of its place.
GRANT SELECT ON pii_vault.signing_hand_overs TO tokenvault_privacy;
GRANT SELECT ON pii_vault.erasures TO tokenvault_privacy, tokenvault_api, tokenvault_worker, tokenvault_auditor;
GRANT SELECT ON pii_vault.erased_tokens, pii_vault.erased_counts, pii_vault.erasure_completions TO tokenvault_api;

RESET ROLE;
