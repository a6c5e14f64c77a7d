SET LOCAL ROLE tokenvault_owner;

-- Before anything reads the log: what the append_audit of before has under way is committed first, and seen below, and
-- what waits here for its turn fails afterwards, since it looks for a column that is gone. Without a subtree of its own,
-- an event of the old way would leave the log broken for ever.
LOCK TABLE pii_vault.audit_head IN ACCESS EXCLUSIVE MODE;
ALTER TABLE pii_vault.audit_head RENAME COLUMN subtree_roots TO frontier;

-- The key that signs checkpoints and receipts.
ALTER TABLE pii_vault.keys DROP CONSTRAINT keys_purpose_check,
  ADD CONSTRAINT keys_purpose_check CHECK (purpose IN ('token', 'data', 'quarantine', 'audit', 'signing'));

-- Roots of the full subtrees of 2^8, 2^16, 2^24 and 2^32 leaves, so that a proof reads at most 256 hashes a level.
CREATE TABLE pii_vault.audit_subtrees (
  level integer NOT NULL CHECK (level IN (8, 16, 24, 32)),
  index bigint NOT NULL,
  root bytea NOT NULL CHECK (octet_length(root) = 32),
  PRIMARY KEY (level, index)
);

-- Those of the events that are there: each level is made of 256 roots of the one below, folded eight times by pairs.
INSERT INTO pii_vault.audit_subtrees (level, index, root)
  WITH RECURSIVE node (height, index, hash) AS (
    SELECT 0, sequence, leaf_hash FROM pii_vault.audit_log
    UNION ALL
    SELECT height + 1, index / 2, sha256('\x01'::bytea || hash || next_hash)
    FROM (
      SELECT height, index, hash, lead(hash) OVER pairs AS next_hash, lead(index) OVER pairs AS next_index
      FROM node WINDOW pairs AS (ORDER BY index)
    ) AS paired
    WHERE index % 2 = 0 AND next_index = index + 1
  )
  SELECT height, index, hash FROM node WHERE height IN (8, 16, 24, 32);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pii_vault.audit_subtrees
  FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pii_vault.checkpoints
  FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change();

-- As before, in one statement for all events, and keeping the subtrees.
CREATE OR REPLACE FUNCTION pii_vault.append_audit(events bytea[]) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  first_sequence bigint;
  next_sequence bigint;
  roots bytea[];
  leaves bytea[];
  node bytea;
  merges bigint;
  height integer;
BEGIN
  -- Who got an answer must find the event after a crash, whatever the session's own settings are. This holds for the
  -- transaction, beyond the end of this function.
  IF current_setting('synchronous_commit') <> 'remote_apply' THEN -- which is more than on
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  SELECT tree_size, frontier INTO STRICT first_sequence, roots FROM pii_vault.audit_head FOR UPDATE;
  next_sequence := first_sequence;
  IF events IS NULL THEN
    RAISE EXCEPTION 'events are missing' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  -- Raises where one is no text, which audit_events could not show.
  PERFORM count(convert_from(event, 'UTF8')) FROM unnest(events) AS given (event);
  WITH stored AS (
    INSERT INTO pii_vault.audit_log (sequence, event, leaf_hash)
    SELECT first_sequence + place - 1, event, sha256('\x00'::bytea || event)
    FROM unnest(events) WITH ORDINALITY AS given (event, place)
    RETURNING sequence, leaf_hash
  )
  SELECT array_agg(leaf_hash ORDER BY sequence) INTO leaves FROM stored;
  FOREACH node IN ARRAY coalesce(leaves, '{}') LOOP
    merges := next_sequence;
    height := 0;
    WHILE merges & 1 = 1 LOOP
      node := sha256('\x01'::bytea || roots[cardinality(roots)] || node);
      roots := trim_array(roots, 1);
      merges := merges >> 1;
      height := height + 1;
      IF height IN (8, 16, 24, 32) THEN
        INSERT INTO pii_vault.audit_subtrees (level, index, root) VALUES (height, merges, node);
      END IF;
    END LOOP;
    roots := roots || node;
    next_sequence := next_sequence + 1;
  END LOOP;
  UPDATE pii_vault.audit_head SET tree_size = next_sequence, frontier = roots;
  RETURN first_sequence;
END
$$;

-- Which events name a token, by its keyed digest. Filled behind the log, up to audit_tokens_head, and never while an
-- act waits for its commit.
CREATE TABLE pii_vault.audit_tokens (
  digest text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  PRIMARY KEY (digest, sequence)
);
CREATE TABLE pii_vault.audit_tokens_head (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  next_sequence bigint NOT NULL
);
INSERT INTO pii_vault.audit_tokens_head (next_sequence) VALUES (0);

-- The digests that an event names. What has another shape, down to bytes that are no text, names none: it must not keep
-- the events behind it from being found.
CREATE FUNCTION pii_vault.event_digests(event bytea) RETURNS SETOF text
  LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tokens jsonb;
BEGIN
  tokens := convert_from(event, 'UTF8')::jsonb -> 'tokens';
  IF jsonb_typeof(tokens) = 'array' THEN
    RETURN QUERY SELECT DISTINCT digest FROM jsonb_array_elements_text(tokens) AS digest
      WHERE digest ~ '^[A-Za-z0-9_-]{22}$';
  END IF;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  RETURN;
END
$$;

-- Brings the index forward by at most so many events, and at most 4 MiB of them but always one, in order of sequence. The
-- row lock lets one caller at a time do it. Returns the first sequence that is not indexed yet.
CREATE FUNCTION pii_vault.index_audit(most integer) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  first_sequence bigint;
  last_sequence bigint;
BEGIN
  SELECT next_sequence INTO STRICT first_sequence FROM pii_vault.audit_tokens_head FOR UPDATE;
  SELECT max(sequence) INTO last_sequence FROM (
    SELECT sequence, octet_length(event) AS bytes, sum(octet_length(event)) OVER (ORDER BY sequence) AS bytes_so_far
    FROM (SELECT sequence, event FROM pii_vault.audit_log WHERE sequence >= first_sequence ORDER BY sequence LIMIT most) AS next
  ) AS counted
  WHERE bytes_so_far <= 4194304 OR bytes_so_far = bytes;
  IF last_sequence IS NULL THEN
    RETURN first_sequence;
  END IF;
  INSERT INTO pii_vault.audit_tokens (digest, sequence)
    SELECT digest, sequence FROM pii_vault.audit_log, pii_vault.event_digests(event) AS digest
    WHERE sequence BETWEEN first_sequence AND last_sequence
    ORDER BY digest, sequence
    ON CONFLICT DO NOTHING;
  UPDATE pii_vault.audit_tokens_head SET next_sequence = last_sequence + 1;
  RETURN last_sequence + 1;
END
$$;

-- Keeps a signed checkpoint of a size that the tree has. The first of a size stays.
CREATE FUNCTION pii_vault.insert_checkpoint(size bigint, signed_note text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF size NOT BETWEEN 0 AND (SELECT tree_size FROM pii_vault.audit_head) THEN
    RAISE EXCEPTION 'the tree has another size' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF octet_length(signed_note) > 8192 THEN
    RAISE EXCEPTION 'longer than a signed note' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  INSERT INTO pii_vault.checkpoints (tree_size, note) VALUES (size, signed_note) ON CONFLICT DO NOTHING;
END
$$;

-- As before, and what came with policies and approvals.
CREATE OR REPLACE VIEW pii_vault.audit_events WITH (security_barrier) AS
  SELECT
    sequence,
    CASE WHEN pg_input_is_valid(event ->> 'at', 'timestamptz') THEN (event ->> 'at')::timestamptz END AS at,
    event ->> 'type' AS type,
    event ->> 'subject' AS subject,
    event ->> 'issuer' AS issuer,
    event -> 'roles' AS roles,
    event ->> 'purpose' AS purpose,
    event ->> 'decision' AS decision,
    event ->> 'code' AS code,
    CASE WHEN pg_input_is_valid(event ->> 'requested', 'integer') THEN (event ->> 'requested')::integer END AS requested,
    CASE WHEN pg_input_is_valid(event ->> 'granted', 'integer') THEN (event ->> 'granted')::integer END AS granted,
    event -> 'tokens' AS tokens,
    event -> 'withheld' AS withheld,
    event ->> 'requestId' AS request_id,
    event -> 'quarantine' AS quarantine,
    event ->> 'ticket' AS ticket,
    CASE WHEN pg_input_is_valid(event ->> 'partial', 'integer') THEN (event ->> 'partial')::integer END AS partial,
    event ->> 'approval' AS approval,
    event -> 'concerns' AS concerns,
    event ->> 'policy' AS policy
  FROM (
    SELECT sequence, CASE WHEN pg_input_is_valid(event, 'jsonb') THEN event::jsonb END AS event
    FROM (SELECT sequence, convert_from(event, 'UTF8') AS event FROM pii_vault.audit_log) AS text
  ) AS log;

REVOKE ALL ON FUNCTION
  pii_vault.event_digests(bytea), pii_vault.index_audit(integer), pii_vault.insert_checkpoint(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_vault.index_audit(integer), pii_vault.insert_checkpoint(bigint, text) TO tokenvault_api;
-- Proofs and search read the log; nothing but the functions writes it.
GRANT SELECT ON pii_vault.audit_log, pii_vault.audit_head, pii_vault.audit_subtrees, pii_vault.audit_tokens,
  pii_vault.checkpoints TO tokenvault_api;
GRANT SELECT ON pii_vault.audit_subtrees, pii_vault.audit_tokens, pii_vault.audit_tokens_head TO tokenvault_auditor;
GRANT EXECUTE ON FUNCTION pii_vault.event_digests(bytea) TO tokenvault_auditor;

RESET ROLE;
