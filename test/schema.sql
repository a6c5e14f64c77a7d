-- What the migrations make, as test/helpers/describe-schema.ts reads it from pg_catalog. Never edited by hand:
-- UPDATE_SCHEMA=1 npx tap test/store/schema.test.ts

database
  grant CONNECT to tokenvault_analyst
  grant CONNECT to tokenvault_api
  grant CONNECT to tokenvault_auditor
  grant CONNECT, CREATE to tokenvault_owner
  grant CONNECT to tokenvault_worker

role tokenvault_analyst login inherit

role tokenvault_api login inherit

role tokenvault_auditor login inherit

role tokenvault_owner inherit

role tokenvault_worker login inherit

schema ingest owner tokenvault_owner
  grant USAGE to tokenvault_worker

schema pii_vault owner tokenvault_owner
  grant USAGE to tokenvault_api
  grant USAGE to tokenvault_auditor
  grant USAGE to tokenvault_worker

schema public owner pg_database_owner
  grant USAGE to PUBLIC
  grant CREATE, USAGE to tokenvault_owner

schema tokenvault_migrations owner <migrator>

partitioned table ingest.receipts owner tokenvault_owner
  partition by RANGE (sent_on)
  column sent_on date not null
  column message_id text not null
  column rows_stored integer not null
  column rows_quarantined integer not null
  constraint receipts_pkey PRIMARY KEY (sent_on, message_id)
  CREATE UNIQUE INDEX receipts_pkey ON ONLY ingest.receipts USING btree (sent_on, message_id)
  grant INSERT, SELECT to tokenvault_worker

table ingest.user_logins_default owner tokenvault_owner
  partition of public.user_logins DEFAULT
  column user_id character varying(128)
  column device_type character varying(32)
  column masked_ip character varying(256)
  column masked_device_id character varying(256)
  column locale character varying(32)
  column app_version integer
  column create_date date
  CREATE INDEX user_logins_default_masked_device_id_idx ON ingest.user_logins_default USING hash (masked_device_id)
  CREATE INDEX user_logins_default_masked_ip_idx ON ingest.user_logins_default USING hash (masked_ip)

view pii_vault.audit_events owner tokenvault_owner
  with security_barrier=true
  column sequence bigint
  column at timestamp with time zone
  column type text
  column subject text
  column issuer text
  column roles jsonb
  column purpose text
  column decision text
  column code text
  column requested integer
  column granted integer
  column tokens jsonb
  column withheld jsonb
  column request_id text
  column quarantine jsonb
 SELECT sequence,
        CASE
            WHEN pg_input_is_valid((event ->> 'at'::text), 'timestamptz'::text) THEN ((event ->> 'at'::text))::timestamp with time zone
            ELSE NULL::timestamp with time zone
        END AS at,
    (event ->> 'type'::text) AS type,
    (event ->> 'subject'::text) AS subject,
    (event ->> 'issuer'::text) AS issuer,
    (event -> 'roles'::text) AS roles,
    (event ->> 'purpose'::text) AS purpose,
    (event ->> 'decision'::text) AS decision,
    (event ->> 'code'::text) AS code,
        CASE
            WHEN pg_input_is_valid((event ->> 'requested'::text), 'integer'::text) THEN ((event ->> 'requested'::text))::integer
            ELSE NULL::integer
        END AS requested,
        CASE
            WHEN pg_input_is_valid((event ->> 'granted'::text), 'integer'::text) THEN ((event ->> 'granted'::text))::integer
            ELSE NULL::integer
        END AS granted,
    (event -> 'tokens'::text) AS tokens,
    (event -> 'withheld'::text) AS withheld,
    (event ->> 'requestId'::text) AS request_id,
    (event -> 'quarantine'::text) AS quarantine
   FROM ( SELECT text.sequence,
                CASE
                    WHEN pg_input_is_valid(text.event, 'jsonb'::text) THEN (text.event)::jsonb
                    ELSE NULL::jsonb
                END AS event
           FROM ( SELECT audit_log.sequence,
                    convert_from(audit_log.event, 'UTF8'::name) AS event
                   FROM pii_vault.audit_log) text) log;
  grant SELECT to tokenvault_auditor

table pii_vault.audit_head owner tokenvault_owner
  column only_row boolean not null default true
  column tree_size bigint not null
  column subtree_roots bytea[] not null
  constraint audit_head_only_row_check CHECK (only_row)
  constraint audit_head_pkey PRIMARY KEY (only_row)
  CREATE UNIQUE INDEX audit_head_pkey ON pii_vault.audit_head USING btree (only_row)
  grant SELECT to tokenvault_auditor

table pii_vault.audit_log owner tokenvault_owner
  column sequence bigint not null
  column event bytea not null
  column leaf_hash bytea not null
  constraint audit_log_leaf_hash_check CHECK ((octet_length(leaf_hash) = 32))
  constraint audit_log_pkey PRIMARY KEY (sequence)
  CREATE UNIQUE INDEX audit_log_pkey ON pii_vault.audit_log USING btree (sequence)
  CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON pii_vault.audit_log FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change()
  grant SELECT to tokenvault_auditor

table pii_vault.checkpoints owner tokenvault_owner
  column tree_size bigint not null
  column note text not null
  column created_at timestamp with time zone not null default now()
  constraint checkpoints_pkey PRIMARY KEY (tree_size)
  CREATE UNIQUE INDEX checkpoints_pkey ON pii_vault.checkpoints USING btree (tree_size)
  grant SELECT to tokenvault_auditor

table pii_vault.keys owner tokenvault_owner
  column purpose text not null
  column field text not null
  column version integer not null
  column status text not null
  column kek_id text not null
  column wrapped bytea not null
  column created_at timestamp with time zone not null default now()
  constraint keys_pkey PRIMARY KEY (purpose, field, version)
  constraint keys_purpose_check CHECK ((purpose = ANY (ARRAY['token'::text, 'data'::text, 'quarantine'::text, 'audit'::text])))
  constraint keys_status_check CHECK ((status = ANY (ARRAY['primary'::text, 'active'::text, 'disabled'::text])))
  constraint keys_version_check CHECK ((version > 0))
  CREATE UNIQUE INDEX keys_one_primary ON pii_vault.keys USING btree (purpose, field) WHERE (status = 'primary'::text)
  CREATE UNIQUE INDEX keys_pkey ON pii_vault.keys USING btree (purpose, field, version)
  grant SELECT to tokenvault_api
  grant SELECT to tokenvault_worker

table pii_vault.originals owner tokenvault_owner
  column token_id uuid not null
  column field text not null
  column token_key_version integer not null
  column data_key_version integer not null
  column sealed bytea not null
  column created_at timestamp with time zone not null default now()
  constraint originals_pkey PRIMARY KEY (token_id)
  CREATE UNIQUE INDEX originals_pkey ON pii_vault.originals USING btree (token_id)
  grant SELECT to tokenvault_api
  grant INSERT to tokenvault_worker

table pii_vault.quarantine owner tokenvault_owner
  column id uuid not null grants {tokenvault_worker=a/tokenvault_owner}
  column message_id text not null grants {tokenvault_worker=a/tokenvault_owner}
  column event_index integer not null grants {tokenvault_worker=a/tokenvault_owner}
  column reason text not null grants {tokenvault_worker=a/tokenvault_owner}
  column data_key_version integer not null grants {tokenvault_worker=a/tokenvault_owner}
  column sealed bytea grants {tokenvault_worker=a/tokenvault_owner}
  column sent_on date not null grants {tokenvault_worker=a/tokenvault_owner}
  column created_at timestamp with time zone not null default now()
  column state text not null default 'quarantined'::text
  column redrives integer not null default 0
  column changed_at timestamp with time zone not null default now()
  constraint quarantine_pkey PRIMARY KEY (id)
  constraint quarantine_sealed_while_open CHECK (((sealed IS NULL) = (state = ANY (ARRAY['redriven'::text, 'discarded'::text]))))
  constraint quarantine_state_check CHECK ((state = ANY (ARRAY['quarantined'::text, 'redrive_requested'::text, 'redriven'::text, 'discarded'::text])))
  CREATE INDEX quarantine_by_state ON pii_vault.quarantine USING btree (state, created_at, id)
  CREATE UNIQUE INDEX quarantine_pkey ON pii_vault.quarantine USING btree (id)
  grant SELECT to tokenvault_api

view public.duplicate_devices owner tokenvault_owner
  column masked_device_id character varying(256)
  column logins bigint
  column users bigint
  column first_day date
  column last_day date
 SELECT masked_device_id,
    count(*) AS logins,
    count(DISTINCT user_id) AS users,
    min(create_date) AS first_day,
    max(create_date) AS last_day
   FROM public.user_logins
  GROUP BY masked_device_id
 HAVING (count(*) > 1);
  grant SELECT to tokenvault_analyst

view public.duplicate_ips owner tokenvault_owner
  column masked_ip character varying(256)
  column logins bigint
  column users bigint
  column first_day date
  column last_day date
 SELECT masked_ip,
    count(*) AS logins,
    count(DISTINCT user_id) AS users,
    min(create_date) AS first_day,
    max(create_date) AS last_day
   FROM public.user_logins
  GROUP BY masked_ip
 HAVING (count(*) > 1);
  grant SELECT to tokenvault_analyst

partitioned table public.user_logins owner tokenvault_owner
  partition by RANGE (create_date)
  column user_id character varying(128)
  column device_type character varying(32)
  column masked_ip character varying(256)
  column masked_device_id character varying(256)
  column locale character varying(32)
  column app_version integer
  column create_date date
  CREATE INDEX user_logins_masked_device_id ON ONLY public.user_logins USING hash (masked_device_id)
  CREATE INDEX user_logins_masked_ip ON ONLY public.user_logins USING hash (masked_ip)
  grant SELECT to tokenvault_analyst
  grant INSERT to tokenvault_worker

table tokenvault_migrations.kysely_migration owner <migrator>
  column name character varying(255) not null
  column "timestamp" character varying(255) not null
  constraint kysely_migration_pkey PRIMARY KEY (name)
  CREATE UNIQUE INDEX kysely_migration_pkey ON tokenvault_migrations.kysely_migration USING btree (name)

table tokenvault_migrations.kysely_migration_lock owner <migrator>
  column id character varying(255) not null
  column is_locked integer not null default 0
  constraint kysely_migration_lock_pkey PRIMARY KEY (id)
  CREATE UNIQUE INDEX kysely_migration_lock_pkey ON tokenvault_migrations.kysely_migration_lock USING btree (id)

function ingest.drop_expired_receipts() owner tokenvault_owner
CREATE OR REPLACE FUNCTION ingest.drop_expired_receipts()
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET lock_timeout TO '1s'
AS $function$
DECLARE
  partition_name text;
  dropped integer := 0;
BEGIN
  LOCK TABLE ingest.receipts IN SHARE UPDATE EXCLUSIVE MODE;
  FOR partition_name IN
    SELECT child.relname FROM pg_inherits
    JOIN pg_class child ON child.oid = inhrelid
    WHERE inhparent = 'ingest.receipts'::regclass
      AND child.relname < 'receipts_' || to_char(current_date - 30, 'YYYY_MM_DD')
  LOOP
    EXECUTE format('DROP TABLE ingest.%I', partition_name);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
EXCEPTION WHEN lock_not_available THEN
  RETURN 0;
END
$function$
  grant EXECUTE to tokenvault_worker

function ingest.ensure_partitions(date[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION ingest.ensure_partitions(days date[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET lock_timeout TO '20s'
AS $function$
DECLARE
  day date;
  month date;
  partition_name text;
BEGIN
  LOCK TABLE ingest.receipts IN SHARE UPDATE EXCLUSIVE MODE;
  FOR day IN SELECT DISTINCT unnest(days) LOOP
    IF day > current_date + 2 OR day < current_date - 30 THEN
      RAISE EXCEPTION 'day out of range' USING ERRCODE = 'datetime_field_overflow';
    END IF;
    partition_name := 'receipts_' || to_char(day, 'YYYY_MM_DD');
    CONTINUE WHEN to_regclass(format('ingest.%I', partition_name)) IS NOT NULL;
    EXECUTE format('CREATE TABLE ingest.%I (LIKE ingest.receipts INCLUDING ALL)', partition_name);
    EXECUTE format('ALTER TABLE ingest.receipts ATTACH PARTITION ingest.%I FOR VALUES FROM (%L) TO (%L)',
      partition_name, day, day + 1);
  END LOOP;

  FOR month IN SELECT DISTINCT (date_trunc('month', d) + ahead)::date
    FROM unnest(days) AS d, unnest('{0, 1 month}'::interval[]) AS ahead
  LOOP
    partition_name := 'user_logins_' || to_char(month, 'YYYY_MM');
    CONTINUE WHEN to_regclass(format('ingest.%I', partition_name)) IS NOT NULL;
    BEGIN
      SET LOCAL lock_timeout = '1s';
      EXECUTE format('CREATE TABLE ingest.%I (LIKE public.user_logins INCLUDING ALL)', partition_name);
      EXECUTE format('ALTER TABLE public.user_logins ATTACH PARTITION ingest.%I FOR VALUES FROM (%L) TO (%L)',
        partition_name, month, (month + interval '1 month')::date);
    EXCEPTION WHEN check_violation OR lock_not_available THEN
      NULL; -- the default partition takes this month's rows; one that holds some already keeps them
    END;
  END LOOP;
END
$function$
  grant EXECUTE to tokenvault_worker

function pii_vault.append_audit(bytea[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.append_audit(events bytea[])
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.discard_quarantined(uuid[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.discard_quarantined(ids uuid[])
 RETURNS SETOF uuid
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  WITH locked AS MATERIALIZED (
    SELECT id FROM pii_vault.quarantine
    WHERE id = ANY (ids) AND state IN ('quarantined', 'redrive_requested') ORDER BY id FOR UPDATE
  )
  UPDATE pii_vault.quarantine AS entry SET state = 'discarded', sealed = NULL, changed_at = now()
  FROM locked WHERE entry.id = locked.id
  RETURNING entry.id
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.reconcile_days() owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.reconcile_days()
 RETURNS TABLE(day date, is_provable boolean, receipts bigint, rows_receipted bigint, rows_stored bigint, quarantine_receipted bigint, quarantine_stored bigint)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
  SELECT day, coalesce(day >= current_date - 30, true) OR sum(receipts) > 0, sum(receipts)::bigint,
    sum(rows_receipted)::bigint, sum(rows_stored)::bigint, sum(quarantine_receipted)::bigint, sum(quarantine_stored)::bigint
  FROM (
    SELECT sent_on, count(*), sum(rows_stored), 0, sum(rows_quarantined), 0 FROM ingest.receipts GROUP BY sent_on
    UNION ALL
    SELECT create_date, 0, 0, count(*), 0, 0 FROM public.user_logins GROUP BY create_date
    UNION ALL
    -- A redriven entry gave rows, and its receipt says so; a discarded one was quarantined for good.
    SELECT sent_on, 0, 0, 0, 0, count(*) FROM pii_vault.quarantine WHERE state <> 'redriven' GROUP BY sent_on
  ) AS counts (day, receipts, rows_receipted, rows_stored, quarantine_receipted, quarantine_stored)
  GROUP BY day ORDER BY day
$function$
  grant EXECUTE to tokenvault_auditor

function pii_vault.reconcile_tokens(text[],text[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.reconcile_tokens(fields text[], columns text[])
 RETURNS TABLE(finding text, field text, day date, tokens bigint)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET enable_nestloop TO 'off'
AS $function$
DECLARE
  stored text;
BEGIN
  -- A match without a capture, and the place of the third part found by hand: a capture costs five times as much.
  SELECT string_agg(format(
    'SELECT %1$L::text AS field, create_date AS day, CASE
       WHEN %2$I ~ %3$L AND length(%2$I) - strpos(substr(%2$I, %4$s), ''_'') >= %4$s + 22
       THEN encode(substr(decode(translate(substr(%2$I, %4$s + strpos(substr(%2$I, %4$s), ''_''), 22), ''-_'', ''+/'')
         || ''AA'', ''base64''), 1, 16), ''hex'')::uuid END AS token_id
     FROM public.user_logins WHERE %2$I IS NOT NULL',
    name, column_name, '^' || name || '_v[1-9][0-9]*_[A-Za-z0-9_-]+$', length(name) + 3), ' UNION ALL ')
  INTO stored
  FROM unnest(fields, columns) AS named (name, column_name);

  RETURN QUERY EXECUTE format(
    'SELECT ''token_without_original'', token.field, token.day, count(*) FROM (%s) AS token
     WHERE NOT EXISTS (SELECT FROM pii_vault.originals AS original
       WHERE original.token_id = token.token_id AND original.field = token.field)
     GROUP BY token.field, token.day ORDER BY 2, 3', stored);
  RETURN QUERY EXECUTE format(
    'SELECT ''original_without_token'', original.field, original.created_at::date, count(*) FROM pii_vault.originals AS original
     WHERE NOT EXISTS (SELECT FROM (%s) AS token
       WHERE token.token_id = original.token_id AND token.field = original.field)
     GROUP BY original.field, original.created_at::date ORDER BY 2, 3', stored);
END
$function$
  grant EXECUTE to tokenvault_auditor

function pii_vault.refuse_change() owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$function$

function pii_vault.request_redrive(uuid[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.request_redrive(ids uuid[])
 RETURNS SETOF uuid
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  WITH locked AS MATERIALIZED (
    SELECT id FROM pii_vault.quarantine WHERE id = ANY (ids) AND state = 'quarantined' ORDER BY id FOR UPDATE
  )
  UPDATE pii_vault.quarantine AS entry SET state = 'redrive_requested', changed_at = now()
  FROM locked WHERE entry.id = locked.id
  RETURNING entry.id
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.settle_redrives(uuid[],text[],integer[],integer[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.settle_redrives(ids uuid[], reasons text[], stored integer[], quarantined integer[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
  grant EXECUTE to tokenvault_worker

function pii_vault.take_redrives(integer) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.take_redrives(most integer)
 RETURNS TABLE(id uuid, message_id text, data_key_version integer, sealed bytea, sent_on date)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  WITH locked AS MATERIALIZED (
    SELECT * FROM pii_vault.quarantine AS entry WHERE entry.state = 'redrive_requested'
    ORDER BY entry.created_at, entry.id LIMIT most FOR UPDATE SKIP LOCKED
  )
  SELECT counted.id, counted.message_id, counted.data_key_version, counted.sealed, counted.sent_on
  FROM (
    SELECT locked.*, sum(octet_length(locked.sealed)) OVER (ORDER BY locked.created_at, locked.id) AS bytes FROM locked
  ) AS counted
  WHERE counted.bytes <= 4194304 OR counted.bytes = octet_length(counted.sealed)
$function$
  grant EXECUTE to tokenvault_worker

extension plpgsql
