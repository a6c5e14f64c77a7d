SET LOCAL ROLE tokenvault_owner;

-- The evidence is a Merkle tree (RFC 9162, 2.1) over the stored bytes of each event.
CREATE TABLE pii_vault.audit_log (
  sequence bigint PRIMARY KEY,
  event bytea NOT NULL,
  leaf_hash bytea NOT NULL CHECK (octet_length(leaf_hash) = 32)
);
COMMENT ON TABLE pii_vault.audit_log IS 'The audit log, append-only: one row for each audit event, as the exact bytes that are hashed. pii_vault.audit_events shows them in columns.';
COMMENT ON COLUMN pii_vault.audit_log.sequence IS 'Place of the event in the log, from 0 and without a gap.';
COMMENT ON COLUMN pii_vault.audit_log.event IS 'The event: UTF-8 bytes of a JSON object.';
COMMENT ON COLUMN pii_vault.audit_log.leaf_hash IS 'SHA-256 of a zero byte and the event: the leaf of the Merkle tree (RFC 9162, 2.1.1).';

CREATE TABLE pii_vault.audit_head (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  tree_size bigint NOT NULL,
  frontier bytea[] NOT NULL
);
INSERT INTO pii_vault.audit_head (tree_size, frontier) VALUES (0, '{}');
COMMENT ON TABLE pii_vault.audit_head IS 'One row: how far the audit log reaches. Its row lock gives each event its place.';
COMMENT ON COLUMN pii_vault.audit_head.only_row IS 'Always true: there is one row.';
COMMENT ON COLUMN pii_vault.audit_head.tree_size IS 'Number of events in the log.';
COMMENT ON COLUMN pii_vault.audit_head.frontier IS 'Roots of the full subtrees that the events form, largest first; together they give the root of the tree.';

-- With these a proof reads at most 256 hashes a level. The levels are those of src/tlog.
CREATE TABLE pii_vault.audit_subtrees (
  level integer NOT NULL CHECK (level IN (8, 16, 24, 32)),
  index bigint NOT NULL,
  root bytea NOT NULL CHECK (octet_length(root) = 32),
  PRIMARY KEY (level, index)
);
COMMENT ON TABLE pii_vault.audit_subtrees IS 'Roots of full subtrees of the audit log, append-only: proofs are made from them.';
COMMENT ON COLUMN pii_vault.audit_subtrees.level IS 'Height of the subtree: it covers 2^level events.';
COMMENT ON COLUMN pii_vault.audit_subtrees.index IS 'Place among the subtrees of this level, from 0: the first event is index * 2^level.';
COMMENT ON COLUMN pii_vault.audit_subtrees.root IS 'Root hash of the subtree, 32 bytes.';

CREATE TABLE pii_vault.checkpoints (
  tree_size bigint PRIMARY KEY,
  note text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pii_vault.checkpoints IS 'Signed checkpoints of the audit log, append-only: the first of a size stays.';
COMMENT ON COLUMN pii_vault.checkpoints.tree_size IS 'Number of events that the checkpoint covers.';
COMMENT ON COLUMN pii_vault.checkpoints.note IS 'The signed note (C2SP tlog-checkpoint): log name, size, root hash in base64, and signatures.';
COMMENT ON COLUMN pii_vault.checkpoints.created_at IS 'When the checkpoint was stored.';

CREATE FUNCTION pii_vault.refuse_change() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
-- Not even the owner changes evidence by mistake. Whoever means to must drop these first, and the tree shows it.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pii_vault.audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pii_vault.audit_subtrees
  FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pii_vault.checkpoints
  FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change();

-- The one way to append. The head's row lock gives each event its place: concurrent appends cannot fork the tree,
-- and no caller chooses a sequence or a hash. Returns the sequence of the first event.
CREATE FUNCTION pii_vault.append_audit(events bytea[]) RETURNS bigint
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
  -- After a crash every event that was answered for must be there, whatever the session's own settings are. This holds for the
  -- whole transaction, beyond the end of this function.
  IF current_setting('synchronous_commit') <> 'remote_apply' THEN -- which is more than on
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  SELECT tree_size, frontier INTO STRICT first_sequence, roots FROM pii_vault.audit_head FOR UPDATE;
  next_sequence := first_sequence;
  IF events IS NULL THEN
    RAISE EXCEPTION 'events are missing' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  -- Raises where one is not valid UTF-8, which audit_events could not show.
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

-- Which events name a token, by its keyed digest. Filled behind the log, up to audit_tokens_head, and never while an
-- action waits for its commit.
CREATE TABLE pii_vault.audit_tokens (
  digest text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  PRIMARY KEY (digest, sequence)
);
COMMENT ON TABLE pii_vault.audit_tokens IS 'Search index: which events name a token. Complete below audit_tokens_head.next_sequence.';
COMMENT ON COLUMN pii_vault.audit_tokens.digest IS 'Keyed digest of the token, 22 letters of base64url; audit_events.tokens holds the same.';
COMMENT ON COLUMN pii_vault.audit_tokens.sequence IS 'Sequence of an event that names it.';

CREATE TABLE pii_vault.audit_tokens_head (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  next_sequence bigint NOT NULL
);
INSERT INTO pii_vault.audit_tokens_head (next_sequence) VALUES (0);
COMMENT ON TABLE pii_vault.audit_tokens_head IS 'One row: how far the search index reaches.';
COMMENT ON COLUMN pii_vault.audit_tokens_head.only_row IS 'Always true: there is one row.';
COMMENT ON COLUMN pii_vault.audit_tokens_head.next_sequence IS 'First sequence that is not indexed yet.';

-- The digests that an event names. An event of another shape, down to bytes that are not text, names none: it must not
-- keep the events behind it from being found.
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

-- Indexes the next events in order of sequence: at most max_events, and at most 4 MiB of them but always one. The row lock
-- lets one caller at a time do it. Returns the first sequence that is not indexed yet.
CREATE FUNCTION pii_vault.index_audit(max_events integer) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  first_sequence bigint;
  last_sequence bigint;
BEGIN
  SELECT next_sequence INTO STRICT first_sequence FROM pii_vault.audit_tokens_head FOR UPDATE;
  SELECT max(sequence) INTO last_sequence FROM (
    SELECT sequence, octet_length(event) AS bytes, sum(octet_length(event)) OVER (ORDER BY sequence) AS bytes_so_far
    FROM (SELECT sequence, event FROM pii_vault.audit_log WHERE sequence >= first_sequence ORDER BY sequence LIMIT max_events) AS next
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

-- The events as people read them; the stored bytes are what counts. A member of another shape than expected shows as null,
-- because one such event must not hide the others.
CREATE VIEW pii_vault.audit_events WITH (security_barrier) AS
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

COMMENT ON VIEW pii_vault.audit_events IS 'The audit log in columns, one row for each event. A member that is absent or of an unexpected shape is null; the bytes in audit_log are the evidence.';
COMMENT ON COLUMN pii_vault.audit_events.sequence IS 'Place of the event in the log, from 0 and without a gap.';
COMMENT ON COLUMN pii_vault.audit_events.at IS 'When the action was asked for; stored in UTC, shown in the time zone of your session.';
COMMENT ON COLUMN pii_vault.audit_events.type IS 'The operation, for example detokenize or approval_approve.';
COMMENT ON COLUMN pii_vault.audit_events.subject IS 'Who asked: subject of the JWT.';
COMMENT ON COLUMN pii_vault.audit_events.issuer IS 'Who vouches for the subject: issuer of the JWT.';
COMMENT ON COLUMN pii_vault.audit_events.roles IS 'Roles that the JWT names, as a JSON array.';
COMMENT ON COLUMN pii_vault.audit_events.purpose IS 'Purpose that the caller stated; empty for actions that take none.';
COMMENT ON COLUMN pii_vault.audit_events.decision IS 'permitted, refused, or pending where an approval was asked for.';
COMMENT ON COLUMN pii_vault.audit_events.code IS 'Why the whole action was refused; null where it was not.';
COMMENT ON COLUMN pii_vault.audit_events.requested IS 'Number of items asked for.';
COMMENT ON COLUMN pii_vault.audit_events.granted IS 'Number of items given.';
COMMENT ON COLUMN pii_vault.audit_events.tokens IS 'Keyed digests of the tokens that were given, as a JSON array.';
COMMENT ON COLUMN pii_vault.audit_events.withheld IS 'Number of items withheld by code, as a JSON object.';
COMMENT ON COLUMN pii_vault.audit_events.request_id IS 'Identifier of the HTTP request.';
COMMENT ON COLUMN pii_vault.audit_events.quarantine IS 'Ids of the quarantine entries concerned, as a JSON array; null where the action concerns none.';
COMMENT ON COLUMN pii_vault.audit_events.ticket IS 'Ticket under which the caller acted; null where none was named.';
COMMENT ON COLUMN pii_vault.audit_events.partial IS 'Number of granted items of which only a part was revealed; null where there was none.';
COMMENT ON COLUMN pii_vault.audit_events.approval IS 'Id of the request for approval that the action made, decided or used; null where there was none.';
COMMENT ON COLUMN pii_vault.audit_events.concerns IS 'Issuer and subject of the principal that the action is about, as a JSON object; null where it is about no principal.';
COMMENT ON COLUMN pii_vault.audit_events.policy IS 'First 16 hexadecimal digits of the SHA-256 of the policy file that decided.';

REVOKE ALL ON FUNCTION
  pii_vault.append_audit(bytea[]), pii_vault.refuse_change(), pii_vault.event_digests(bytea),
  pii_vault.index_audit(integer), pii_vault.insert_checkpoint(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  pii_vault.append_audit(bytea[]), pii_vault.index_audit(integer), pii_vault.insert_checkpoint(bigint, text)
  TO tokenvault_api;
GRANT EXECUTE ON FUNCTION pii_vault.event_digests(bytea) TO tokenvault_auditor;
-- Proofs and search read the log; nothing but the functions writes it.
GRANT SELECT ON pii_vault.audit_log, pii_vault.audit_head, pii_vault.audit_subtrees, pii_vault.audit_tokens,
  pii_vault.checkpoints TO tokenvault_api;
GRANT SELECT ON pii_vault.audit_log, pii_vault.audit_head, pii_vault.audit_subtrees, pii_vault.audit_tokens,
  pii_vault.audit_tokens_head, pii_vault.checkpoints, pii_vault.audit_events TO tokenvault_auditor;

RESET ROLE;
