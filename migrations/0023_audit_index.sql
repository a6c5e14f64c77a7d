SET LOCAL ROLE tokenvault_owner;

-- What a search of the audit log can ask for is indexed by blocks of up to 64 consecutive events: which terms a block names, and
-- in which of its events each of them stands. Filled behind the log, up to audit_blocks_head, and never while an action waits for
-- its commit. It replaces audit_tokens, which held a row for each token of each event; what the log holds is indexed anew, step
-- by step, by the API or by the first searches.
CREATE TABLE pii_vault.audit_blocks (
  first_sequence bigint NOT NULL,
  last_sequence bigint NOT NULL CHECK (last_sequence BETWEEN first_sequence AND first_sequence + 63),
  min_at timestamptz,
  max_at timestamptz,
  terms integer[] NOT NULL,
  places bytea NOT NULL,
  bits bigint[] NOT NULL CHECK (cardinality(terms) = octet_length(places) + cardinality(bits)),
  -- Times beside the key: the blocks of a week are found in the index alone.
  PRIMARY KEY (first_sequence) INCLUDE (last_sequence, min_at, max_at)
);
COMMENT ON TABLE pii_vault.audit_blocks IS 'Search index of the audit log: one row for each block of consecutive events. Complete below audit_blocks_head.next_sequence.';
COMMENT ON COLUMN pii_vault.audit_blocks.first_sequence IS 'Sequence of the first event of the block: one more than the last of the block before.';
COMMENT ON COLUMN pii_vault.audit_blocks.last_sequence IS 'Sequence of the last event of the block.';
COMMENT ON COLUMN pii_vault.audit_blocks.min_at IS 'Earliest time of its events; null where none tells its time.';
COMMENT ON COLUMN pii_vault.audit_blocks.max_at IS 'Latest time of its events, which need not be that of the last; null where none tells its time.';
COMMENT ON COLUMN pii_vault.audit_blocks.terms IS 'What its events can be found by, each once: the first 32 bits of the SHA-256 of kind, space and text (pii_vault.event_terms). First those of one event, then those of several.';
COMMENT ON COLUMN pii_vault.audit_blocks.places IS 'For each term of one event, in order: which event, counted from first_sequence.';
COMMENT ON COLUMN pii_vault.audit_blocks.bits IS 'For each term of several events, in order: which events, a bit for each, the lowest for first_sequence.';

CREATE TABLE pii_vault.audit_blocks_head (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  next_sequence bigint NOT NULL
);
INSERT INTO pii_vault.audit_blocks_head (next_sequence) VALUES (0);
COMMENT ON TABLE pii_vault.audit_blocks_head IS 'One row: how far the search index reaches.';
COMMENT ON COLUMN pii_vault.audit_blocks_head.only_row IS 'Always true: there is one row.';
COMMENT ON COLUMN pii_vault.audit_blocks_head.next_sequence IS 'First sequence that is not indexed yet.';

-- What an event can be found by: kind, space and text. A member of another type than text shows as its JSON, so that there may be
-- terms too many, never one too few: whoever searches looks at the event itself. `at` is there only in the form that we write. An
-- event of another shape, down to bytes that are not text, has no terms: it must not keep those behind it from being found.
CREATE FUNCTION pii_vault.event_terms(event bytea) RETURNS text[]
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

-- The row of audit_blocks that these events make, as the log has them. A hash and not a function of Postgres, so that a dump
-- restores to the same index on any version and processor.
CREATE FUNCTION pii_vault.build_audit_block(first_event bigint, last_event bigint,
  OUT min_at timestamptz, OUT max_at timestamptz, OUT terms integer[], OUT places bytea, OUT bits bigint[])
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH named AS MATERIALIZED (
    SELECT (log.sequence - first_event)::integer AS place, term
    FROM pii_vault.audit_log AS log, unnest(pii_vault.event_terms(log.event)) AS term
    WHERE log.sequence BETWEEN first_event AND last_event
  ), hashed AS (
    SELECT sha256(convert_to(term, 'UTF8')) AS hash, bit_or(1::bigint << place) AS bits
    FROM named WHERE NOT starts_with(term, 'at ') GROUP BY term
  ), numbered AS (
    SELECT (get_byte(hash, 0) << 24) | (get_byte(hash, 1) << 16) | (get_byte(hash, 2) << 8) | get_byte(hash, 3) AS term,
      bit_or(bits) AS bits
    FROM hashed GROUP BY 1
  ), counted AS (
    SELECT term, bits, bit_count(bits::bit(64)) > 1 AS is_shared, 63 - position('1' IN bits::bit(64)::text) + 1 AS place FROM numbered
  )
  SELECT
    (SELECT min(substr(term, 4)::timestamptz) FROM named WHERE starts_with(term, 'at ')),
    (SELECT max(substr(term, 4)::timestamptz) FROM named WHERE starts_with(term, 'at ')),
    coalesce(array_agg(term ORDER BY is_shared, term), '{}'),
    coalesce(string_agg(set_byte('\x00', 0, place), '' ORDER BY term) FILTER (WHERE NOT is_shared), ''),
    coalesce(array_agg(bits ORDER BY term) FILTER (WHERE is_shared), '{}')
  FROM counted
$$;

-- What the index of blocks holds of their terms: 20 bits, so that ten million tokens share a million entries. A search then reads
-- a few blocks too many, which the terms themselves sort out.
CREATE FUNCTION pii_vault.audit_keys(terms integer[]) RETURNS integer[]
  LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT term >> 12), '{}') FROM unnest(terms) AS term
$$;
CREATE INDEX audit_blocks_keys ON pii_vault.audit_blocks USING gin (pii_vault.audit_keys(terms)) WITH (gin_pending_list_limit = 1024);

-- The first sequences of blocks in a range that name all of the terms and, unless it is null, one of the others, in any order: at
-- most so many. By the index of keys and nothing else, as the planner knows little about single keys.
CREATE FUNCTION pii_vault.find_audit_blocks(all_terms integer[], any_terms integer[], low bigint, below bigint, max_blocks integer)
  RETURNS SETOF bigint
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET enable_seqscan = off SET enable_indexscan = off SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
  RETURN QUERY SELECT first_sequence FROM pii_vault.audit_blocks AS block
  WHERE (all_terms = '{}' OR pii_vault.audit_keys(block.terms) @> pii_vault.audit_keys(all_terms))
    AND (any_terms IS NULL OR pii_vault.audit_keys(block.terms) && pii_vault.audit_keys(any_terms))
    AND block.terms @> all_terms AND (any_terms IS NULL OR block.terms && any_terms)
    AND first_sequence >= low AND first_sequence < below
  LIMIT max_blocks;
END
$$;

-- Indexes the next whole blocks in order of sequence: at most about max_events, and at most 4 MiB of them but always a block. A block
-- is whole at 64 events, or at 256 KiB of them. The row lock lets one caller at a time do it. Returns the first sequence that is not
-- indexed yet.
CREATE OR REPLACE FUNCTION pii_vault.index_audit(max_events integer) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  start bigint;
  upcoming bigint;
  size bigint;
  last_event bigint;
  bytes bigint;
  all_bytes bigint := 0;
BEGIN
  PERFORM pii_vault.require(max_events BETWEEN 1 AND 100000, 'max_events is from 1 to 100000');
  PERFORM pii_vault.bound_transaction();
  SELECT next_sequence INTO STRICT start FROM pii_vault.audit_blocks_head FOR UPDATE;
  SELECT tree_size INTO STRICT size FROM pii_vault.audit_head;
  upcoming := start;
  WHILE upcoming < size AND upcoming - start < max_events AND all_bytes < 4194304 LOOP
    SELECT min(sequence) FILTER (WHERE bytes_so_far >= 262144), max(bytes_so_far) INTO last_event, bytes
    FROM (
      SELECT sequence, sum(octet_length(event)) OVER (ORDER BY sequence) AS bytes_so_far
      FROM pii_vault.audit_log WHERE sequence BETWEEN upcoming AND upcoming + 63
    ) AS counted;
    IF last_event IS NULL THEN
      EXIT WHEN upcoming + 64 > size;
      last_event := upcoming + 63;
    END IF;
    INSERT INTO pii_vault.audit_blocks (first_sequence, last_sequence, min_at, max_at, terms, places, bits)
      SELECT upcoming, last_event, block.* FROM pii_vault.build_audit_block(upcoming, last_event) AS block
      ON CONFLICT DO NOTHING;
    upcoming := last_event + 1;
    all_bytes := all_bytes + coalesce(bytes, 0);
  END LOOP;
  IF upcoming > start THEN
    UPDATE pii_vault.audit_blocks_head SET next_sequence = upcoming;
  END IF;
  RETURN upcoming;
END
$$;

-- The entries of a block: each term with each of the events, counted from its first one, that it stands in.
CREATE FUNCTION pii_vault.block_entries(terms integer[], places bytea, bits bigint[]) RETURNS TABLE (term integer, place integer)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT held.term, bit FROM unnest(terms) WITH ORDINALITY AS held (term, number), generate_series(0, 63) AS bit
  WHERE CASE WHEN number <= octet_length(places) THEN get_byte(places, number::integer - 1) = bit
    ELSE coalesce(bits[number::integer - octet_length(places)] >> bit & 1 = 1, false) END
$$;

-- How many entries (a term in an event) the blocks that begin in a range lack, and hold too much. A block whose times are wrong, or
-- that does not begin where the one before it ends, counts too.
CREATE FUNCTION pii_vault.compare_audit_blocks(low bigint, below bigint, OUT missing bigint, OUT surplus bigint)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH block AS (
    SELECT held.*, coalesce(lag(last_sequence) OVER (ORDER BY first_sequence),
      (SELECT max(earlier.last_sequence) FROM pii_vault.audit_blocks AS earlier WHERE earlier.first_sequence < low), -1) AS last_before
    FROM pii_vault.audit_blocks AS held WHERE first_sequence >= low AND first_sequence < below
  ), wrong AS MATERIALIZED (
    SELECT block.*, row(block.min_at, block.max_at) IS DISTINCT FROM row(built.min_at, built.max_at) AS is_time_wrong,
      built.terms AS built_terms, built.places AS built_places, built.bits AS built_bits
    FROM block, pii_vault.build_audit_block(first_sequence, last_sequence) AS built
    WHERE row(block.min_at, block.max_at, block.terms, block.places, block.bits)
      IS DISTINCT FROM row(built.min_at, built.max_at, built.terms, built.places, built.bits)
  ), entry AS (
    SELECT first_sequence, place, held.term, true AS is_held FROM wrong, pii_vault.block_entries(terms, places, bits) AS held
    UNION ALL
    SELECT first_sequence, place, built.term, false FROM wrong, pii_vault.block_entries(built_terms, built_places, built_bits) AS built
  ), differing AS (
    SELECT bool_or(is_held) AS is_held FROM entry GROUP BY first_sequence, place, term HAVING count(DISTINCT is_held) = 1
  )
  SELECT
    (SELECT count(*) FROM differing WHERE NOT is_held)
      + (SELECT count(*) FROM wrong WHERE is_time_wrong)
      + (SELECT count(*) FROM block WHERE first_sequence > last_before + 1),
    (SELECT count(*) FROM differing WHERE is_held)
      + (SELECT count(*) FROM block WHERE first_sequence <= last_before)
$$;

DROP TABLE pii_vault.audit_tokens, pii_vault.audit_tokens_head;
DROP FUNCTION pii_vault.event_digests(bytea);

REVOKE ALL ON FUNCTION
  pii_vault.event_terms(bytea), pii_vault.build_audit_block(bigint, bigint), pii_vault.audit_keys(integer[]),
  pii_vault.find_audit_blocks(integer[], integer[], bigint, bigint, integer),
  pii_vault.compare_audit_blocks(bigint, bigint), pii_vault.block_entries(integer[], bytea, bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  pii_vault.audit_keys(integer[]), pii_vault.find_audit_blocks(integer[], integer[], bigint, bigint, integer) TO tokenvault_api;
GRANT EXECUTE ON FUNCTION
  pii_vault.event_terms(bytea), pii_vault.build_audit_block(bigint, bigint), pii_vault.compare_audit_blocks(bigint, bigint),
  pii_vault.block_entries(integer[], bytea, bigint[]) TO tokenvault_auditor;
GRANT SELECT ON pii_vault.audit_blocks, pii_vault.audit_blocks_head TO tokenvault_api, tokenvault_auditor;

RESET ROLE;
