SET LOCAL ROLE tokenvault_owner;

-- What became of an entry. The sealed body is kept for exactly as long as something can still be done with it.
ALTER TABLE pii_vault.quarantine
  ADD COLUMN state text NOT NULL DEFAULT 'quarantined'
    CHECK (state IN ('quarantined', 'redrive_requested', 'redriven', 'discarded')),
  ADD COLUMN redrives integer NOT NULL DEFAULT 0,
  ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now(),
  ALTER COLUMN sealed DROP NOT NULL,
  ADD CONSTRAINT quarantine_sealed_while_open CHECK ((sealed IS NULL) = (state IN ('redriven', 'discarded')));
CREATE INDEX quarantine_by_state ON pii_vault.quarantine (state, created_at, id);

-- An operator's request. Returns the entries that it applies to; rows are locked in one order, so that two operators
-- cannot deadlock.
CREATE FUNCTION pii_vault.request_redrive(ids uuid[]) RETURNS SETOF uuid
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH locked AS MATERIALIZED (
    SELECT id FROM pii_vault.quarantine WHERE id = ANY (ids) AND state = 'quarantined' ORDER BY id FOR UPDATE
  )
  UPDATE pii_vault.quarantine AS entry SET state = 'redrive_requested', changed_at = now()
  FROM locked WHERE entry.id = locked.id
  RETURNING entry.id
$$;

-- The body is erased; the row stays as evidence that there was one.
CREATE FUNCTION pii_vault.discard_quarantined(ids uuid[]) RETURNS SETOF uuid
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH locked AS MATERIALIZED (
    SELECT id FROM pii_vault.quarantine
    WHERE id = ANY (ids) AND state IN ('quarantined', 'redrive_requested') ORDER BY id FOR UPDATE
  )
  UPDATE pii_vault.quarantine AS entry SET state = 'discarded', sealed = NULL, changed_at = now()
  FROM locked WHERE entry.id = locked.id
  RETURNING entry.id
$$;

-- Requested entries for one worker, locked until its transaction ends; other workers pass them over. At most 4 MiB of
-- bodies at a time, but always one.
CREATE FUNCTION pii_vault.take_redrives(most integer)
  RETURNS TABLE (id uuid, message_id text, data_key_version integer, sealed bytea, sent_on date)
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH locked AS MATERIALIZED (
    SELECT * FROM pii_vault.quarantine AS entry WHERE entry.state = 'redrive_requested'
    ORDER BY entry.created_at, entry.id LIMIT most FOR UPDATE SKIP LOCKED
  )
  SELECT counted.id, counted.message_id, counted.data_key_version, counted.sealed, counted.sent_on
  FROM (
    SELECT locked.*, sum(octet_length(locked.sealed)) OVER (ORDER BY locked.created_at, locked.id) AS bytes FROM locked
  ) AS counted
  WHERE counted.bytes <= 4194304 OR counted.bytes = octet_length(counted.sealed)
$$;

-- What a worker made of entries that it took: redriven where the reason is null, otherwise back with that reason.
-- The message's receipt goes on counting what the message gave: rows, and entries that were not redriven. Called in the
-- transaction that stores the rows.
CREATE FUNCTION pii_vault.settle_redrives(ids uuid[], reasons text[], stored integer[], quarantined integer[]) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settled integer;
BEGIN
  UPDATE pii_vault.quarantine AS entry SET
    state = CASE WHEN outcome.reason IS NULL THEN 'redriven' ELSE 'quarantined' END,
    reason = coalesce(outcome.reason, entry.reason),
    sealed = CASE WHEN outcome.reason IS NULL THEN NULL ELSE entry.sealed END,
    redrives = entry.redrives + 1,
    changed_at = now()
  FROM unnest(ids, reasons) AS outcome (id, reason)
  WHERE entry.id = outcome.id AND entry.state = 'redrive_requested';
  GET DIAGNOSTICS settled = ROW_COUNT;
  IF settled <> cardinality(ids) THEN
    RAISE EXCEPTION 'no redrive was requested' USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;

  PERFORM FROM ingest.receipts AS receipt
  WHERE (receipt.sent_on, receipt.message_id) IN
    (SELECT entry.sent_on, entry.message_id FROM pii_vault.quarantine AS entry WHERE entry.id = ANY (ids))
  ORDER BY receipt.sent_on, receipt.message_id FOR UPDATE;
  UPDATE ingest.receipts AS receipt SET
    rows_stored = receipt.rows_stored + change.stored,
    rows_quarantined = receipt.rows_quarantined + change.quarantined
  FROM (
    SELECT entry.sent_on, entry.message_id, sum(outcome.stored) AS stored, sum(outcome.quarantined) AS quarantined
    FROM unnest(ids, stored, quarantined) AS outcome (id, stored, quarantined)
    JOIN pii_vault.quarantine AS entry ON entry.id = outcome.id
    GROUP BY entry.sent_on, entry.message_id
  ) AS change
  WHERE receipt.sent_on = change.sent_on AND receipt.message_id = change.message_id
    AND (change.stored <> 0 OR change.quarantined <> 0);
END
$$;

REVOKE ALL ON FUNCTION
  pii_vault.request_redrive(uuid[]), pii_vault.discard_quarantined(uuid[]),
  pii_vault.take_redrives(integer), pii_vault.settle_redrives(uuid[], text[], integer[], integer[])
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_vault.request_redrive(uuid[]), pii_vault.discard_quarantined(uuid[]) TO tokenvault_api;
GRANT SELECT ON pii_vault.quarantine TO tokenvault_api;
GRANT EXECUTE ON FUNCTION
  pii_vault.take_redrives(integer), pii_vault.settle_redrives(uuid[], text[], integer[], integer[]) TO tokenvault_worker;
-- A worker writes what came in, and never what became of it.
REVOKE INSERT ON pii_vault.quarantine FROM tokenvault_worker;
GRANT INSERT (id, message_id, event_index, reason, data_key_version, sealed, sent_on) ON pii_vault.quarantine TO tokenvault_worker;

-- As before, and the quarantined entries that an event is about.
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
    event -> 'quarantine' AS quarantine
  FROM (
    SELECT sequence, CASE WHEN pg_input_is_valid(event, 'jsonb') THEN event::jsonb END AS event
    FROM (SELECT sequence, convert_from(event, 'UTF8') AS event FROM pii_vault.audit_log) AS text
  ) AS log;

RESET ROLE;
