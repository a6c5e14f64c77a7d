SET LOCAL ROLE tokenvault_owner;

-- The evidence is a Merkle tree (RFC 9162, 2.1) over the stored bytes of each event.
CREATE TABLE pii_vault.audit_log (
  sequence bigint PRIMARY KEY,
  event bytea NOT NULL,
  leaf_hash bytea NOT NULL CHECK (octet_length(leaf_hash) = 32)
);

-- One row: how many events there are, and the roots of the full subtrees they form, largest first.
CREATE TABLE pii_vault.audit_head (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  tree_size bigint NOT NULL,
  subtree_roots bytea[] NOT NULL
);
INSERT INTO pii_vault.audit_head (tree_size, subtree_roots) VALUES (0, '{}');

CREATE TABLE pii_vault.checkpoints (
  tree_size bigint PRIMARY KEY,
  note text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION pii_vault.refuse_change() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
-- Not even the owner changes evidence by mistake. Who means to must drop this first, and the tree shows it.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pii_vault.audit_log
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
  stored_event bytea;
  leaf bytea;
  node bytea;
  merges bigint;
BEGIN
  SELECT tree_size, subtree_roots INTO STRICT first_sequence, roots FROM pii_vault.audit_head FOR UPDATE;
  next_sequence := first_sequence;
  FOREACH stored_event IN ARRAY events LOOP
    PERFORM convert_from(stored_event, 'UTF8'); -- raises where it is no text, which audit_events could not show
    leaf := sha256('\x00'::bytea || stored_event);
    INSERT INTO pii_vault.audit_log (sequence, event, leaf_hash) VALUES (next_sequence, stored_event, leaf);
    node := leaf;
    merges := next_sequence;
    WHILE merges & 1 = 1 LOOP
      node := sha256('\x01'::bytea || roots[cardinality(roots)] || node);
      roots := trim_array(roots, 1);
      merges := merges >> 1;
    END LOOP;
    roots := roots || node;
    next_sequence := next_sequence + 1;
  END LOOP;
  UPDATE pii_vault.audit_head SET tree_size = next_sequence, subtree_roots = roots;
  RETURN first_sequence;
END
$$;

-- The events as people read them; the stored bytes stay what counts. What is not of the expected shape shows as null,
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
    event ->> 'requestId' AS request_id
  FROM (
    SELECT sequence, CASE WHEN pg_input_is_valid(event, 'jsonb') THEN event::jsonb END AS event
    FROM (SELECT sequence, convert_from(event, 'UTF8') AS event FROM pii_vault.audit_log) AS text
  ) AS log;

REVOKE ALL ON FUNCTION pii_vault.append_audit(bytea[]), pii_vault.refuse_change() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_vault.append_audit(bytea[]) TO tokenvault_api;
GRANT USAGE ON SCHEMA pii_vault TO tokenvault_auditor;
GRANT SELECT ON pii_vault.audit_log, pii_vault.audit_head, pii_vault.checkpoints, pii_vault.audit_events TO tokenvault_auditor;

RESET ROLE;
