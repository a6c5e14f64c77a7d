SET LOCAL ROLE tokenvault_owner;

-- Events, and whole messages, that cannot be stored. The sealed body is kept for exactly as long as something can still
-- be done with it.
CREATE TABLE pii_vault.quarantine (
  id uuid PRIMARY KEY,
  message_id text NOT NULL,
  event_index integer NOT NULL,
  reason text NOT NULL,
  data_key_version integer NOT NULL,
  sealed bytea,
  sent_on date NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  state text NOT NULL DEFAULT 'quarantined'
    CHECK (state IN ('quarantined', 'redrive_requested', 'redriven', 'discarded')),
  redrives integer NOT NULL DEFAULT 0,
  changed_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT quarantine_sealed_while_open CHECK ((sealed IS NULL) = (state IN ('redriven', 'discarded')))
);
CREATE INDEX quarantine_by_state ON pii_vault.quarantine (state, created_at, id);

COMMENT ON TABLE pii_vault.quarantine IS 'Events, and whole messages, that are not valid login events: one row each, with the body sealed. Rows are never removed.';
COMMENT ON COLUMN pii_vault.quarantine.id IS 'Random id of the entry; the seal of the body is bound to it.';
COMMENT ON COLUMN pii_vault.quarantine.message_id IS 'First identity of the message that held the event: the message id that the queue gave it when it was sent first.';
COMMENT ON COLUMN pii_vault.quarantine.event_index IS 'Place of the event in its message, from 0; also 0 where the message is not readable as a whole.';
COMMENT ON COLUMN pii_vault.quarantine.reason IS 'Why it was quarantined: a stable code that repeats nothing of the event.';
COMMENT ON COLUMN pii_vault.quarantine.data_key_version IS 'Version of the quarantine key that seals the body.';
COMMENT ON COLUMN pii_vault.quarantine.sealed IS 'The sealed body, 16 bytes longer than the body; null once it is redriven or discarded.';
COMMENT ON COLUMN pii_vault.quarantine.sent_on IS 'UTC day on which the producer sent the message.';
COMMENT ON COLUMN pii_vault.quarantine.created_at IS 'When the entry was stored.';
COMMENT ON COLUMN pii_vault.quarantine.state IS 'quarantined; redrive_requested: an operator asked to try it again; redriven: rows of user_logins were made from it; discarded: an operator erased the body.';
COMMENT ON COLUMN pii_vault.quarantine.redrives IS 'How many times a worker tried it again, whatever the outcome.';
COMMENT ON COLUMN pii_vault.quarantine.changed_at IS 'When the state, the reason or the number of redrives last changed.';

-- Marks entries that an operator wants tried again, and returns those that were in the state for it. Rows are locked in
-- one order, so that two operators cannot deadlock.
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

-- Erases the body of entries, and returns those that still had one; the row stays as evidence. Rows are locked in order.
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

-- Takes requested entries for one worker, locked until its transaction ends; other workers pass them over. At most 4 MiB
-- of bodies at a time, but always one entry.
CREATE FUNCTION pii_vault.take_redrives(max_entries integer)
  RETURNS TABLE (id uuid, message_id text, data_key_version integer, sealed bytea, sent_on date)
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH locked AS MATERIALIZED (
    SELECT * FROM pii_vault.quarantine AS entry WHERE entry.state = 'redrive_requested'
    ORDER BY entry.created_at, entry.id LIMIT max_entries FOR UPDATE SKIP LOCKED
  )
  SELECT counted.id, counted.message_id, counted.data_key_version, counted.sealed, counted.sent_on
  FROM (
    SELECT locked.*, sum(octet_length(locked.sealed)) OVER (ORDER BY locked.created_at, locked.id) AS bytes FROM locked
  ) AS counted
  WHERE counted.bytes <= 4194304 OR counted.bytes = octet_length(counted.sealed)
$$;

-- Records what a worker made of entries that it took: redriven where the reason is null, otherwise back with that reason.
-- The delivery record of the message goes on counting what the message gave: rows, and entries that were not redriven.
-- Called in the transaction that stores the rows.
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

  PERFORM FROM ingest.receipts AS delivery
  WHERE (delivery.sent_on, delivery.message_id) IN
    (SELECT entry.sent_on, entry.message_id FROM pii_vault.quarantine AS entry WHERE entry.id = ANY (ids))
  ORDER BY delivery.sent_on, delivery.message_id FOR UPDATE;
  UPDATE ingest.receipts AS delivery SET
    rows_stored = delivery.rows_stored + added.stored,
    rows_quarantined = delivery.rows_quarantined + added.quarantined
  FROM (
    SELECT entry.sent_on, entry.message_id, sum(outcome.stored) AS stored, sum(outcome.quarantined) AS quarantined
    FROM unnest(ids, stored, quarantined) AS outcome (id, stored, quarantined)
    JOIN pii_vault.quarantine AS entry ON entry.id = outcome.id
    GROUP BY entry.sent_on, entry.message_id
  ) AS added
  WHERE delivery.sent_on = added.sent_on AND delivery.message_id = added.message_id
    AND (added.stored <> 0 OR added.quarantined <> 0);
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
GRANT INSERT (id, message_id, event_index, reason, data_key_version, sealed, sent_on) ON pii_vault.quarantine TO tokenvault_worker;

RESET ROLE;
