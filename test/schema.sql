-- What the migrations make, as test/helpers/postgres/describe-schema.ts reads it from pg_catalog. Never edited by hand:
-- UPDATE_SCHEMA=1 npx tap test/store/setup/schema.test.ts

database
  grant CONNECT to tokenvault_analyst
  grant CONNECT to tokenvault_api
  grant CONNECT to tokenvault_auditor
  grant CONNECT, CREATE to tokenvault_owner
  grant CONNECT to tokenvault_privacy
  grant CONNECT to tokenvault_store
  grant CONNECT to tokenvault_worker

role tokenvault_analyst login inherit

role tokenvault_api login inherit

role tokenvault_auditor login inherit

role tokenvault_owner inherit

role tokenvault_privacy login inherit

role tokenvault_store login inherit

role tokenvault_worker login inherit

schema analyst owner tokenvault_owner
  -- What analysts query beside public.user_logins: networks of addresses, and logins with the clear columns that are configured.
  grant USAGE to tokenvault_analyst
  grant USAGE to tokenvault_worker

schema ingest owner tokenvault_owner
  -- What the workers need to store each message once, and the partitions of public.user_logins.
  grant USAGE to tokenvault_worker

schema pii_vault owner tokenvault_owner
  -- Sealed originals, wrapped keys, quarantine, and the evidence of who asked for what. Values of persons are in it in sealed form only.
  grant USAGE to tokenvault_api
  grant USAGE to tokenvault_auditor
  grant USAGE to tokenvault_privacy
  grant USAGE to tokenvault_store
  grant USAGE to tokenvault_worker

schema public owner pg_database_owner
  -- standard public schema
  grant USAGE to PUBLIC
  grant USAGE to tokenvault_analyst
  grant CREATE, USAGE to tokenvault_owner
  grant USAGE to tokenvault_worker

schema tokenvault_migrations owner <migrator>

view analyst.archived_months owner tokenvault_owner
  -- Which months of rows were moved to files, and where those are. Rows of a month that is not here are in public.user_logins.
  column month date
    -- First UTC day of the month of create_date.
  column part integer
    -- Number: 1 for the month as it was archived first; more for rows that came late.
  column state text
    -- archived: the rows are in the files; recalled: they are in public.user_logins again.
  column target text
    -- Where the files are.
  column rows bigint
    -- Rows of public.user_logins in the files.
  column changed_at timestamp with time zone
    -- When the rows were moved last, or the files rewritten.
 SELECT month,
    part,
    state,
    target,
    rows,
    changed_at
   FROM pii_vault.archives
  WHERE (state <> 'writing'::text);
  grant SELECT to tokenvault_analyst

table analyst.ip_networks owner tokenvault_owner
  -- One row for each address that was met since a field derived from it was configured: the token of its network.
  column masked_ip character varying(256) not null
    -- Token of the IP address, as in public.user_logins.
  column masked_network character varying(256) not null
    -- Token of the network of the address: the /24 of an IPv4 address, the /48 of an IPv6 one. Equal networks have equal tokens.
  column family smallint not null
    -- Version of IP: 4 or 6.
  column scope text not null
    -- What kind of address it is: public, private, unique_local, shared, loopback, link_local, multicast, documentation, benchmarking, transition or reserved.
  constraint ip_networks_family_check CHECK ((family = ANY (ARRAY[4, 6])))
  constraint ip_networks_pkey PRIMARY KEY (masked_ip)
  CREATE INDEX ip_networks_masked_network ON analyst.ip_networks USING hash (masked_network)
  CREATE UNIQUE INDEX ip_networks_pkey ON analyst.ip_networks USING btree (masked_ip)
  grant SELECT to tokenvault_analyst
  grant INSERT to tokenvault_worker

partitioned table analyst.login_details owner tokenvault_owner
  -- The rows of public.user_logins once more, with the clear columns that are configured; written since the first one was configured, partitioned by month of create_date.
  partition by RANGE (create_date)
  column login_id uuid not null
    -- Id of the login, made of the message id and the place of the event in the message: the same on every delivery.
  column user_id character varying(128)
    -- The user who logged in, as the producer names them.
  column device_type character varying(32)
    -- Kind of device, as the producer names it; null where the event has none.
  column masked_ip character varying(256)
    -- Token of the IP address; null as in public.user_logins.
  column masked_device_id character varying(256)
    -- Token of the device id; null as in public.user_logins.
  column locale character varying(32)
    -- Locale of the app, as the producer names it; null where the event has none.
  column app_version integer
    -- First number of the app version; null where the event has none.
  column create_date date not null
    -- UTC day on which the producer sent the message that held the event.
  constraint login_details_pkey PRIMARY KEY (create_date, login_id)
  CREATE INDEX login_details_masked_device_id ON ONLY analyst.login_details USING hash (masked_device_id)
  CREATE INDEX login_details_masked_ip ON ONLY analyst.login_details USING hash (masked_ip)
  CREATE UNIQUE INDEX login_details_pkey ON ONLY analyst.login_details USING btree (create_date, login_id)
  grant SELECT to tokenvault_analyst
  grant INSERT to tokenvault_worker

view analyst.logins owner tokenvault_owner
  -- The rows of public.user_logins with one join key for each value, also while a token key is being rotated and tokens of both keys stand in the table.
  column user_id character varying(128)
    -- The user who logged in, as the producer names them; null as in public.user_logins.
  column device_type character varying(32)
    -- Kind of device, as the producer names it; null where the event has none.
  column masked_ip character varying(256)
    -- Token of the IP address as it stands in public.user_logins; null as there.
  column masked_device_id character varying(256)
    -- Token of the device id as it stands in public.user_logins; null as there.
  column locale character varying(32)
    -- Locale of the app, as the producer names it; null where the event has none.
  column app_version integer
    -- First number of the app version; null where the event has none.
  column create_date date
    -- UTC day on which the producer sent the message that held the event.
  column ip_key text
    -- Equal for equal IP addresses, whatever key their tokens are of: group and join by it. Null where masked_ip is.
  column device_key text
    -- Equal for equal device ids, whatever key their tokens are of: group and join by it. Null where masked_device_id is.
 SELECT user_logins.user_id,
    user_logins.device_type,
    user_logins.masked_ip,
    user_logins.masked_device_id,
    user_logins.locale,
    user_logins.app_version,
    user_logins.create_date,
    (user_logins.masked_ip)::text AS ip_key,
    (user_logins.masked_device_id)::text AS device_key
   FROM public.user_logins
  WHERE (NOT ( SELECT (EXISTS ( SELECT
                   FROM pii_vault.token_moves
                  WHERE (token_moves.state = 'moving'::text))) AS "exists"))
UNION ALL
 SELECT user_logins.user_id,
    user_logins.device_type,
    user_logins.masked_ip,
    user_logins.masked_device_id,
    user_logins.locale,
    user_logins.app_version,
    user_logins.create_date,
    COALESCE(ip.new_token, (user_logins.masked_ip)::text) AS ip_key,
    COALESCE(device.new_token, (user_logins.masked_device_id)::text) AS device_key
   FROM ((public.user_logins
     LEFT JOIN pii_vault.token_aliases ip ON ((ip.old_token = (user_logins.masked_ip)::text)))
     LEFT JOIN pii_vault.token_aliases device ON ((device.old_token = (user_logins.masked_device_id)::text)))
  WHERE ( SELECT (EXISTS ( SELECT
                   FROM pii_vault.token_moves
                  WHERE (token_moves.state = 'moving'::text))) AS "exists");
  grant SELECT to tokenvault_analyst

table ingest.login_details_default owner tokenvault_owner
  -- Partition of analyst.login_details for months that have none of their own.
  partition of analyst.login_details DEFAULT
  column login_id uuid not null
  column user_id character varying(128)
  column device_type character varying(32)
  column masked_ip character varying(256)
  column masked_device_id character varying(256)
  column locale character varying(32)
  column app_version integer
  column create_date date not null
  constraint login_details_default_pkey PRIMARY KEY (create_date, login_id)
  CREATE INDEX login_details_default_masked_device_id_idx ON ingest.login_details_default USING hash (masked_device_id)
  CREATE INDEX login_details_default_masked_ip_idx ON ingest.login_details_default USING hash (masked_ip)
  CREATE UNIQUE INDEX login_details_default_pkey ON ingest.login_details_default USING btree (create_date, login_id)

partitioned table ingest.receipts owner tokenvault_owner
  -- Delivery records: one row for each message that took effect, partitioned by UTC day of sending and kept for 30 days.
  partition by RANGE (sent_on)
  column sent_on date not null
    -- UTC day on which the producer sent the message; for a redriven message, the day on which it was sent first.
  column message_id text not null
    -- First identity of the message: the message id that the queue gave it when it was sent first.
  column rows_stored integer not null
    -- Rows of public.user_logins that were made from the message.
  column rows_quarantined integer not null
    -- Entries of pii_vault.quarantine that were made from the message, without those that were redriven since.
  column details_stored integer not null default 0
    -- Rows of analyst.login_details that were made from the message: as many as rows_stored, or 0 where no clear column was configured.
  column rows_dropped integer not null default 0
    -- Events of the message that were dropped, because they are of a person who was erased before and `on_erased` is drop.
  constraint receipts_pkey PRIMARY KEY (sent_on, message_id)
  CREATE UNIQUE INDEX receipts_pkey ON ONLY ingest.receipts USING btree (sent_on, message_id)
  grant INSERT, SELECT to tokenvault_worker

table ingest.user_logins_default owner tokenvault_owner
  -- Partition of public.user_logins for months that have none of their own.
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

table pii_vault.approvals owner tokenvault_owner
  -- Requests for the approval of a second person, and what became of them: one row each. Rows are never removed.
  column id uuid not null
    -- Random id of the request, as callers and approvers name it.
  column principal uuid not null
    -- Who asks: pii_vault.principal_id of issuer and subject.
  column issuer text not null
    -- Issuer of the access token of the caller who asks.
  column subject text not null
    -- Who asks, as the issuer calls it; nobody of this subject may decide.
  column roles jsonb not null
    -- Roles of the caller who asks, a JSON array.
  column purpose text not null
    -- Why they ask.
  column ticket text
    -- Ticket under which they ask; null where they named none.
  column reveal text not null
    -- full, or partial where only a part of each value is to be revealed.
  column "values" bigint not null
    -- How many distinct tokens are asked for.
  column fields jsonb not null
    -- How many of them are of each field, a JSON object.
  column digest text not null
    -- Keyed digest of exactly what is asked: operation, tokens, purpose, ticket and levels. Equal requests have equal digests.
  column state text not null
    -- pending, approved, refused or used. What is pending or approved past expires_at has expired, and this still says what it was.
  column created_at timestamp with time zone not null
    -- When the request was made.
  column expires_at timestamp with time zone not null
    -- When the request runs out, 24 hours after it was made; once approved, when the approval does, 15 minutes after the decision.
  column decided_by text
    -- Subject of the approver who decided; null while the request is pending.
  column decided_at timestamp with time zone
    -- When it was decided; null while the request is pending.
  column decided_by_issuer text
    -- Issuer of the access token of the approver who decided; null while the request is pending, and where it was decided before this column existed.
  constraint approvals_by_another CHECK (((decided_by <> subject) OR COALESCE((decided_by_issuer <> issuer), false)))
  constraint approvals_decided CHECK ((((state = 'pending'::text) = (decided_at IS NULL)) AND ((decided_at IS NULL) = (decided_by IS NULL))))
  constraint approvals_pkey PRIMARY KEY (id)
  constraint approvals_reveal_check CHECK ((reveal = ANY (ARRAY['full'::text, 'partial'::text])))
  constraint approvals_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'approved'::text, 'refused'::text, 'used'::text])))
  CREATE INDEX approvals_by_principal ON pii_vault.approvals USING btree (principal, created_at, id)
  CREATE INDEX approvals_by_principal_and_state ON pii_vault.approvals USING btree (principal, state, created_at, id)
  CREATE INDEX approvals_by_state ON pii_vault.approvals USING btree (state, created_at, id)
  CREATE INDEX approvals_by_time ON pii_vault.approvals USING btree (created_at, id)
  CREATE INDEX approvals_open ON pii_vault.approvals USING btree (principal, digest) WHERE (state = ANY (ARRAY['pending'::text, 'approved'::text]))
  CREATE UNIQUE INDEX approvals_pkey ON pii_vault.approvals USING btree (id)
  grant SELECT to tokenvault_api

table pii_vault.archived_tokens owner tokenvault_owner
  -- Tokens in archived rows: an original whose token stands here needs none in the database.
  column token_id uuid not null
    -- Id of the token, as in pii_vault.originals.
  column field text not null
    -- Field of the token.
  column month date not null
    -- First UTC day of the month that holds it.
  column part integer not null
    -- Part of the month.
  constraint archived_tokens_pkey PRIMARY KEY (token_id, field, month, part)
  CREATE UNIQUE INDEX archived_tokens_pkey ON pii_vault.archived_tokens USING btree (token_id, field, month, part)

table pii_vault.archives owner tokenvault_owner
  -- Months of rows that were archived: one row for each part of a month.
  column month date not null
    -- First UTC day of the month of create_date.
  column part integer not null
    -- Number: 1 for the month as it was archived first; more for rows that came late and were archived later.
  column state text not null
    -- writing: begun, and the rows are still in the database; archived: the rows are in the files alone; recalled: the rows are in the database again.
  column target text not null
    -- Where the files are: a URL without login.
  column rows bigint not null default 0
    -- Rows of public.user_logins in the files.
  column manifest bytea
    -- SHA-256 of the manifest; null until it is written.
  column revision integer not null default 1
    -- How often the files were written: 1, and one more for each rewriting. It stands in their names.
  column obsolete text[] not null default '{}'::text[]
    -- Files of an earlier revision that are still to be removed.
  column changed_at timestamp with time zone not null default now()
    -- When the state or the revision changed last.
  constraint archives_check CHECK (((state = 'writing'::text) = (manifest IS NULL)))
  constraint archives_manifest_check CHECK ((octet_length(manifest) = 32))
  constraint archives_month_check CHECK ((EXTRACT(day FROM month) = (1)::numeric))
  constraint archives_part_check CHECK ((part > 0))
  constraint archives_pkey PRIMARY KEY (month, part)
  constraint archives_revision_check CHECK ((revision > 0))
  constraint archives_rows_check CHECK ((rows >= 0))
  constraint archives_state_check CHECK ((state = ANY (ARRAY['writing'::text, 'archived'::text, 'recalled'::text])))
  CREATE UNIQUE INDEX archives_pkey ON pii_vault.archives USING btree (month, part)

table pii_vault.audit_blocks owner tokenvault_owner
  -- Search index of the audit log: one row for each block of consecutive events. Complete below audit_blocks_head.next_sequence.
  column first_sequence bigint not null
    -- Sequence of the first event of the block: one more than the last of the block before.
  column last_sequence bigint not null
    -- Sequence of the last event of the block.
  column min_at timestamp with time zone
    -- Earliest time of its events; null where none tells its time.
  column max_at timestamp with time zone
    -- Latest time of its events, which need not be that of the last; null where none tells its time.
  column terms integer[] not null
    -- What its events can be found by, each once: the first 32 bits of the SHA-256 of kind, space and text (pii_vault.event_terms). First those of one event, then those of several.
  column places bytea not null
    -- For each term of one event, in order: which event, counted from first_sequence.
  column bits bigint[] not null
    -- For each term of several events, in order: which events, a bit for each, the lowest for first_sequence.
  constraint audit_blocks_check CHECK (((last_sequence >= first_sequence) AND (last_sequence <= (first_sequence + 63))))
  constraint audit_blocks_check1 CHECK ((cardinality(terms) = (octet_length(places) + cardinality(bits))))
  constraint audit_blocks_pkey PRIMARY KEY (first_sequence) INCLUDE (last_sequence, min_at, max_at)
  CREATE INDEX audit_blocks_keys ON pii_vault.audit_blocks USING gin (pii_vault.audit_keys(terms)) WITH (gin_pending_list_limit='1024')
  CREATE UNIQUE INDEX audit_blocks_pkey ON pii_vault.audit_blocks USING btree (first_sequence) INCLUDE (last_sequence, min_at, max_at)
  grant SELECT to tokenvault_api
  grant SELECT to tokenvault_auditor

table pii_vault.audit_blocks_head owner tokenvault_owner
  -- One row: how far the search index reaches.
  column only_row boolean not null default true
    -- Always true: there is one row.
  column next_sequence bigint not null
    -- First sequence that is not indexed yet.
  constraint audit_blocks_head_only_row_check CHECK (only_row)
  constraint audit_blocks_head_pkey PRIMARY KEY (only_row)
  CREATE UNIQUE INDEX audit_blocks_head_pkey ON pii_vault.audit_blocks_head USING btree (only_row)
  grant SELECT to tokenvault_api
  grant SELECT to tokenvault_auditor

view pii_vault.audit_events owner tokenvault_owner
  -- The audit log in columns, one row for each event. A member that is absent or of an unexpected shape is null; the bytes in audit_log are the evidence.
  with security_barrier=true
  column sequence bigint
    -- Place of the event in the log, from 0 and without a gap.
  column at timestamp with time zone
    -- When the action was asked for; stored in UTC, shown in the time zone of your session.
  column type text
    -- The operation, for example detokenize or approval_approve.
  column subject text
    -- Who asked: subject of the JWT.
  column issuer text
    -- Who vouches for the subject: issuer of the JWT.
  column roles jsonb
    -- Roles that the JWT names, as a JSON array.
  column purpose text
    -- Purpose that the caller stated; empty for actions that take none.
  column decision text
    -- permitted, refused, or pending where an approval was asked for.
  column code text
    -- Why the whole action was refused; null where it was not.
  column requested integer
    -- Number of items asked for.
  column granted integer
    -- Number of items given.
  column tokens jsonb
    -- Keyed digests of the tokens that were given, as a JSON array.
  column withheld jsonb
    -- Number of items withheld by code, as a JSON object.
  column request_id text
    -- Identifier of the HTTP request.
  column quarantine jsonb
    -- Ids of the quarantine entries concerned, as a JSON array; null where the action concerns none.
  column ticket text
    -- Ticket under which the caller acted; null where none was named.
  column partial integer
    -- Number of granted items of which only a part was revealed; null where there was none.
  column approval text
    -- Id of the request for approval that the action made, decided or used; null where there was none.
  column concerns jsonb
    -- Issuer and subject of the principal that the action is about, as a JSON object; null where it is about no principal.
  column policy text
    -- First 16 hexadecimal digits of the SHA-256 of the policy file that decided.
  column count integer
    -- Number of refused actions that the event stands for; null where it stands for one.
  column until timestamp with time zone
    -- When the last of these was asked for; null where the event stands for one.
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
    (event -> 'quarantine'::text) AS quarantine,
    (event ->> 'ticket'::text) AS ticket,
        CASE
            WHEN pg_input_is_valid((event ->> 'partial'::text), 'integer'::text) THEN ((event ->> 'partial'::text))::integer
            ELSE NULL::integer
        END AS partial,
    (event ->> 'approval'::text) AS approval,
    (event -> 'concerns'::text) AS concerns,
    (event ->> 'policy'::text) AS policy,
        CASE
            WHEN pg_input_is_valid((event ->> 'count'::text), 'integer'::text) THEN ((event ->> 'count'::text))::integer
            ELSE NULL::integer
        END AS count,
        CASE
            WHEN pg_input_is_valid((event ->> 'until'::text), 'timestamptz'::text) THEN ((event ->> 'until'::text))::timestamp with time zone
            ELSE NULL::timestamp with time zone
        END AS until
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
  -- One row: how far the audit log reaches. Its row lock gives each event its place.
  column only_row boolean not null default true
    -- Always true: there is one row.
  column tree_size bigint not null
    -- Number of events in the log.
  column frontier bytea[] not null
    -- Roots of the full subtrees that the events form, largest first; together they give the root of the tree.
  constraint audit_head_only_row_check CHECK (only_row)
  constraint audit_head_pkey PRIMARY KEY (only_row)
  CREATE UNIQUE INDEX audit_head_pkey ON pii_vault.audit_head USING btree (only_row)
  grant SELECT to tokenvault_api
  grant SELECT to tokenvault_auditor

table pii_vault.audit_log owner tokenvault_owner
  -- The audit log, append-only: one row for each audit event, as the exact bytes that are hashed. pii_vault.audit_events shows them in columns.
  column sequence bigint not null
    -- Place of the event in the log, from 0 and without a gap.
  column event bytea not null
    -- The event: UTF-8 bytes of a JSON object.
  column leaf_hash bytea not null
    -- SHA-256 of a zero byte and the event: the leaf of the Merkle tree (RFC 9162, 2.1.1).
  constraint audit_log_leaf_hash_check CHECK ((octet_length(leaf_hash) = 32))
  constraint audit_log_pkey PRIMARY KEY (sequence)
  CREATE UNIQUE INDEX audit_log_pkey ON pii_vault.audit_log USING btree (sequence)
  CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON pii_vault.audit_log FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change()
  grant SELECT to tokenvault_api
  grant SELECT to tokenvault_auditor

table pii_vault.audit_subtrees owner tokenvault_owner
  -- Roots of full subtrees of the audit log, append-only: proofs are made from them.
  column level integer not null
    -- Height of the subtree: it covers 2^level events.
  column index bigint not null
    -- Place among the subtrees of this level, from 0: the first event is index * 2^level.
  column root bytea not null
    -- Root hash of the subtree, 32 bytes.
  constraint audit_subtrees_level_check CHECK ((level = ANY (ARRAY[8, 16, 24, 32])))
  constraint audit_subtrees_pkey PRIMARY KEY (level, index)
  constraint audit_subtrees_root_check CHECK ((octet_length(root) = 32))
  CREATE UNIQUE INDEX audit_subtrees_pkey ON pii_vault.audit_subtrees USING btree (level, index)
  CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON pii_vault.audit_subtrees FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change()
  grant SELECT to tokenvault_api
  grant SELECT to tokenvault_auditor

table pii_vault.checkpoints owner tokenvault_owner
  -- Signed checkpoints of the audit log, append-only: the first of a size stays.
  column tree_size bigint not null
    -- Number of events that the checkpoint covers.
  column note text not null
    -- The signed note (C2SP tlog-checkpoint): log name, size, root hash in base64, and signatures.
  column created_at timestamp with time zone not null default now()
    -- When the checkpoint was stored.
  constraint checkpoints_pkey PRIMARY KEY (tree_size)
  CREATE UNIQUE INDEX checkpoints_pkey ON pii_vault.checkpoints USING btree (tree_size)
  CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON pii_vault.checkpoints FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change()
  grant SELECT to tokenvault_api
  grant SELECT to tokenvault_auditor

table pii_vault.dropped_months owner tokenvault_owner
  -- Months of rows that retention dropped. Originals of that time and earlier need no token in the database.
  column month date not null
    -- First UTC day of the month of create_date.
  column rows bigint not null
    -- Rows of public.user_logins that were dropped, late ones included.
  column dropped_at timestamp with time zone not null default now()
    -- When rows of the month were dropped last.
  constraint dropped_months_month_check CHECK ((EXTRACT(day FROM month) = (1)::numeric))
  constraint dropped_months_pkey PRIMARY KEY (month)
  constraint dropped_months_rows_check CHECK ((rows >= 0))
  CREATE UNIQUE INDEX dropped_months_pkey ON pii_vault.dropped_months USING btree (month)

table pii_vault.erased_counts owner tokenvault_owner
  -- What each erasure did in this database, append-only: `tokenvault reconcile` adds it to what is stored.
  column erasure bigint not null
    -- Number of the erasure.
  column place integer not null
    -- Place of the line within the erasure, from 1.
  column kind text not null
    -- row and detail: removed from public.user_logins and analyst.login_details; anonymized_row, anonymized_detail: kept there without user_id; original, network, alias: deleted; shared, kept_elsewhere: values that stayed because others have them, or because services keep their tokens; quarantined: bodies erased.
  column field text
    -- Field of the values; null where the line is not about values.
  column day date
    -- UTC day of the rows, or on which the originals were stored; null where there is none.
  column count bigint not null
    -- How many rows, values or bodies.
  constraint erased_counts_kind_check CHECK ((kind = ANY (ARRAY['row'::text, 'detail'::text, 'anonymized_row'::text, 'anonymized_detail'::text, 'original'::text, 'shared'::text, 'kept_elsewhere'::text, 'network'::text, 'alias'::text, 'quarantined'::text])))
  constraint erased_counts_pkey PRIMARY KEY (erasure, place)
  CREATE UNIQUE INDEX erased_counts_pkey ON pii_vault.erased_counts USING btree (erasure, place)
  CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON pii_vault.erased_counts FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change()
  grant SELECT to tokenvault_api

table pii_vault.erased_tokens owner tokenvault_owner
  -- Which tokens were erased, append-only. One that was stored again since opens again.
  column digest text collate "C" not null
    -- Keyed digest of field and token id, 22 letters of base64url.
  column erasure bigint not null
    -- Number of the erasure that erased it first.
  constraint erased_tokens_digest_check CHECK ((digest ~ '^[A-Za-z0-9_-]{22}$'::text))
  constraint erased_tokens_pkey PRIMARY KEY (digest)
  CREATE UNIQUE INDEX erased_tokens_pkey ON pii_vault.erased_tokens USING btree (digest)
  CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON pii_vault.erased_tokens FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change()
  grant SELECT to tokenvault_api

table pii_vault.erasure_completions owner tokenvault_owner
  -- Second parts of certificates, append-only: backups from before the erasure open nothing of it any more.
  column number bigint not null
    -- Number of the erasure.
  column certificate text not null
    -- Second part of the certificate, a signed note: it names the events of the destroyed keys.
  column completed_at timestamp with time zone not null default now()
    -- When it was made.
  constraint erasure_completions_certificate_check CHECK ((octet_length(certificate) <= 65536))
  constraint erasure_completions_number_fkey FOREIGN KEY (number) REFERENCES pii_vault.erasures(number)
  constraint erasure_completions_pkey PRIMARY KEY (number)
  CREATE UNIQUE INDEX erasure_completions_pkey ON pii_vault.erasure_completions USING btree (number)
  CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON pii_vault.erasure_completions FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change()
  grant SELECT to tokenvault_api

table pii_vault.erasure_head owner tokenvault_owner
  -- One row: how far the erasure ledger reaches. Its row lock lets one erasure at a time through.
  column only_row boolean not null default true
    -- Always true: there is one row.
  column number bigint not null
    -- Number of the newest entry; 0 where there is none.
  column entry_hash bytea not null
    -- Its entry_hash; the SHA-256 of nothing where there is none.
  constraint erasure_head_entry_hash_check CHECK ((octet_length(entry_hash) = 32))
  constraint erasure_head_only_row_check CHECK (only_row)
  constraint erasure_head_pkey PRIMARY KEY (only_row)
  CREATE UNIQUE INDEX erasure_head_pkey ON pii_vault.erasure_head USING btree (only_row)

table pii_vault.erasures owner tokenvault_owner
  -- The erasure ledger, append-only: one entry for each erasure of a person, numbered from 1 without a gap, and each bound to the one before it.
  column number bigint not null
    -- Place in the ledger, from 1.
  column person text collate "C" not null
    -- Keyed digest of the user_id, 22 letters of base64url.
  column approval uuid
    -- Request for approval that the erasure used; null where none was needed.
  column erased_at timestamp with time zone not null
    -- When the person was erased.
  column certificate text not null
    -- The certificate, a signed note (C2SP signed-note); docs/people.md says what it holds.
  column entry_hash bytea not null
    -- SHA-256 of the signed text; the next entry names it.
  column stored_at timestamp with time zone not null default now()
    -- When the entry was stored here: later than erased_at where it came back after a restore.
  constraint erasures_certificate_check CHECK ((octet_length(certificate) <= 65536))
  constraint erasures_entry_hash_check CHECK ((octet_length(entry_hash) = 32))
  constraint erasures_number_check CHECK ((number > 0))
  constraint erasures_person_check CHECK ((person ~ '^[A-Za-z0-9_-]{22}$'::text))
  constraint erasures_pkey PRIMARY KEY (number)
  CREATE UNIQUE INDEX erasures_by_approval ON pii_vault.erasures USING btree (approval)
  CREATE INDEX erasures_by_person ON pii_vault.erasures USING btree (person)
  CREATE UNIQUE INDEX erasures_pkey ON pii_vault.erasures USING btree (number)
  CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON pii_vault.erasures FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change()
  grant SELECT to tokenvault_api
  grant SELECT to tokenvault_auditor
  grant SELECT to tokenvault_privacy
  grant SELECT to tokenvault_worker

table pii_vault.expired_originals owner tokenvault_owner
  -- Tokens whose originals lived as long as retention says. One that was seen again since has an original again.
  column token_id uuid not null
    -- Id of the token.
  column field text not null
    -- Field of the token.
  column expired_at timestamp with time zone not null default now()
    -- When the original was deleted last.
  constraint expired_originals_pkey PRIMARY KEY (token_id)
  CREATE UNIQUE INDEX expired_originals_pkey ON pii_vault.expired_originals USING btree (token_id)

table pii_vault.exports owner tokenvault_owner
  -- Copies of rows that were sent elsewhere: one row for each archive or export.
  column id uuid not null
    -- Random id of the copy.
  column at timestamp with time zone not null default now()
    -- When the copy was complete.
  column kind text not null
    -- archive: the rows left the database; export: they are in both places; recall: they came back from an archive.
  column target text not null
    -- Where the copy is: a URL without login.
  column from_month date not null
    -- First UTC day of the first month of create_date that it holds.
  column to_month date not null
    -- First UTC day of the last month of create_date that it holds.
  column rows bigint not null
    -- How many rows it holds, of everybody.
  column manifest text
    -- SHA-256 of its manifest as 64 hexadecimal digits; null where it has none.
  constraint exports_check CHECK ((to_month >= from_month))
  constraint exports_kind_check CHECK ((kind = ANY (ARRAY['archive'::text, 'export'::text, 'recall'::text])))
  constraint exports_pkey PRIMARY KEY (id)
  constraint exports_rows_check CHECK ((rows >= 0))
  CREATE UNIQUE INDEX exports_pkey ON pii_vault.exports USING btree (id)
  grant SELECT to tokenvault_privacy

table pii_vault.fields owner tokenvault_owner
  -- What makes the tokens of each field, as configured when its keys were made. A process whose configuration differs does not start: equal values would get other tokens.
  column name text not null
    -- Field, for example ip. A field that is not configured any more stays: its tokens may be anywhere.
  column rule text not null
    -- Rule by which its values are normalized.
  column format text not null
    -- How its tokens are spelled: text, uuid or inet.
  column inet_prefix text
    -- Network of tokens of format inet; null for the others.
  column derived_from text
    -- Field whose values its values are derived from; null where events have them.
  column recorded_at timestamp with time zone not null default now()
    -- When this was recorded, or changed before the field had tokens.
  constraint fields_check CHECK (((inet_prefix IS NOT NULL) = (format = 'inet'::text)))
  constraint fields_format_check CHECK ((format = ANY (ARRAY['text'::text, 'uuid'::text, 'inet'::text])))
  constraint fields_pkey PRIMARY KEY (name)
  CREATE UNIQUE INDEX fields_pkey ON pii_vault.fields USING btree (name)
  grant SELECT to tokenvault_api
  grant SELECT to tokenvault_auditor
  grant SELECT to tokenvault_worker

table pii_vault.honey_meetings owner tokenvault_owner
  -- Who was given the value of a honey token, or the token for its value.
  column sequence bigint not null
    -- Sequence of the event `honey` in the audit log.
  column honey_token uuid not null
    -- The honey token.
  column issuer text not null
    -- Issuer of the access token of who met it.
  column subject text not null
    -- Who met it.
  column request_id text not null
    -- Id of the request; the event of what it did has it, too.
  column met_at timestamp with time zone not null default now()
    -- When it was met.
  constraint honey_meetings_honey_token_fkey FOREIGN KEY (honey_token) REFERENCES pii_vault.honey_tokens(id)
  constraint honey_meetings_pkey PRIMARY KEY (honey_token, sequence)
  CREATE UNIQUE INDEX honey_meetings_pkey ON pii_vault.honey_meetings USING btree (honey_token, sequence)
  grant SELECT to tokenvault_api

table pii_vault.honey_tokens owner tokenvault_owner
  -- Tokens of values that never logged in. Nobody has a reason to open one, so whoever does is told of.
  column id uuid not null
    -- Id of the honey token; names it where the token must not stand.
  column field text not null
    -- Field of the value, for example ip.
  column token text not null
    -- The token as it was made. Where its key was rotated since, its successors are honey tokens, too.
  column note text not null
    -- Where it was laid out, for who is told that it was met.
  column issuer text not null
    -- Issuer of the access token of who made it.
  column subject text not null
    -- Who made it.
  column created_at timestamp with time zone not null default now()
    -- When it was made.
  column retired_at timestamp with time zone grants {tokenvault_api=w/tokenvault_owner}
    -- Since when nobody is told any more; null while it is laid out.
  constraint honey_tokens_pkey PRIMARY KEY (id)
  constraint honey_tokens_token_key UNIQUE (token)
  CREATE UNIQUE INDEX honey_tokens_pkey ON pii_vault.honey_tokens USING btree (id)
  CREATE UNIQUE INDEX honey_tokens_token_key ON pii_vault.honey_tokens USING btree (token)
  grant INSERT, SELECT to tokenvault_api

table pii_vault.idempotency owner tokenvault_owner
  -- Replies of calls that change something, so that a repeat of the call changes nothing and gets the same reply: one row for each principal and key, kept for 24 hours.
  column principal uuid not null
    -- Id of the principal: pii_vault.principal_id of issuer and subject.
  column key text not null
    -- The header Idempotency-Key of the call.
  column fingerprint text not null
    -- Digest of method, route and body: the same key for another request is refused.
  column status integer
    -- HTTP status of the reply; null while the call is being worked on.
  column body text
    -- Body of the reply, which never holds a value; null while the call is being worked on.
  column created_at timestamp with time zone not null default now()
    -- When the key was claimed.
  constraint idempotency_pkey PRIMARY KEY (principal, key)
  constraint idempotency_reply CHECK (((status IS NULL) = (body IS NULL)))
  CREATE INDEX idempotency_by_time ON pii_vault.idempotency USING btree (created_at)
  CREATE UNIQUE INDEX idempotency_pkey ON pii_vault.idempotency USING btree (principal, key)

table pii_vault.key_followers owner tokenvault_owner
  -- Running processes that hold keys, and by which keys each of them goes; one that has not looked for a minute has ended.
  column instance uuid not null
    -- Made up by the process when it starts.
  column process text collate "C" not null
    -- What it is: worker, api, lambda.
  column keyset bytea not null
    -- SHA-256 of the stored keys that it uses: names, states and wrapped bytes.
  column started_at timestamp with time zone not null default now()
    -- When it was first seen here.
  column looked_at timestamp with time zone not null default now()
    -- When it last said so, by the clock of the database.
  constraint key_followers_keyset_check CHECK ((octet_length(keyset) = 32))
  constraint key_followers_pkey PRIMARY KEY (instance)
  constraint key_followers_process_check CHECK ((process ~ '^[a-z][a-z ]{0,31}$'::text))
  CREATE UNIQUE INDEX key_followers_pkey ON pii_vault.key_followers USING btree (instance)

table pii_vault.key_recovery owner tokenvault_owner
  -- All keys that are not destroyed, encrypted to the recovery recipients: whoever holds an identity of one of them opens the vault without its KEK. One row or none.
  column only_row boolean not null default true
    -- Always true: there is one row at most.
  column recipients text[] not null
    -- The recipients (age1…), which are public. Nothing is ever encrypted to what stands here, only to what RECOVERY_RECIPIENTS says.
  column keyset_digest bytea not null
    -- SHA-256 of the state and the wrapped form of each key at that time: where the keys digest to another, this row is outdated.
  column sealed text not null
    -- The keyset as a file of age, armored (docs/formats.md).
  column made_at timestamp with time zone not null default now()
    -- When it was made, in the transaction of the change of keys.
  constraint key_recovery_keyset_digest_check CHECK ((length(keyset_digest) = 32))
  constraint key_recovery_only_row_check CHECK (only_row)
  constraint key_recovery_pkey PRIMARY KEY (only_row)
  constraint key_recovery_recipients_check CHECK ((cardinality(recipients) > 0))
  CREATE UNIQUE INDEX key_recovery_pkey ON pii_vault.key_recovery USING btree (only_row)
  grant SELECT to tokenvault_api

table pii_vault.keys owner tokenvault_owner
  -- The keys of the vault, each wrapped under the key-encryption key (KEK), which is never in the database.
  column purpose text not null
    -- token makes tokens, data seals originals, quarantine seals quarantined bodies, audit makes token digests, signing signs checkpoints and receipts.
  column field text not null
    -- Field that a token or data key serves; empty for keys that serve the whole vault.
  column version integer not null
    -- Version from 1 within a purpose and field; never used twice.
  column status text not null
    -- primary: new content uses it; active: only reads what it wrote; disabled: not used; destroyed: gone for good, and its version is never used again.
  column kek_id text not null
    -- Identifier of the KEK that wraps this key; reveals nothing of the KEK.
  column wrapped bytea
    -- The wrapped key; useless without the KEK; null once the key is destroyed.
  column created_at timestamp with time zone not null default now()
    -- When the key was stored.
  column primary_since timestamp with time zone
    -- When the key became the primary one of its purpose and field; null where it never was.
  column destroy_after timestamp with time zone
    -- When a disabled key may be destroyed; null where nobody asked for it.
  column unreadable bigint
    -- How much may be lost with the key, as whoever asked for its destruction said: originals or quarantined bodies; null where nobody asked.
  column destroyed_at timestamp with time zone
    -- When the key was destroyed; null where it was not.
  constraint keys_destroyed CHECK ((((status = 'destroyed'::text) = (wrapped IS NULL)) AND ((status = 'destroyed'::text) = (destroyed_at IS NOT NULL))))
  constraint keys_destruction_scheduled CHECK ((((destroy_after IS NULL) OR (status = ANY (ARRAY['disabled'::text, 'destroyed'::text]))) AND ((destroy_after IS NULL) = (unreadable IS NULL))))
  constraint keys_pkey PRIMARY KEY (purpose, field, version)
  constraint keys_purpose_check CHECK ((purpose = ANY (ARRAY['token'::text, 'data'::text, 'quarantine'::text, 'audit'::text, 'signing'::text])))
  constraint keys_status CHECK ((status = ANY (ARRAY['primary'::text, 'active'::text, 'disabled'::text, 'destroyed'::text])))
  constraint keys_version_check CHECK ((version > 0))
  CREATE UNIQUE INDEX keys_one_primary ON pii_vault.keys USING btree (purpose, field) WHERE (status = 'primary'::text)
  CREATE UNIQUE INDEX keys_pkey ON pii_vault.keys USING btree (purpose, field, version)
  grant SELECT to tokenvault_api
  grant SELECT to tokenvault_worker

table pii_vault.legal_holds owner tokenvault_owner
  -- People whose data is kept whatever retention and erasure ask, until a day.
  column person text not null
    -- Keyed digest of the user_id under the oldest audit key, 22 letters of base64url.
  column held_until date not null
    -- Last UTC day of the hold.
  column reason text not null
    -- Why, as a short identifier: litigation, regulator_request.
  column held_at timestamp with time zone not null default now()
    -- When the hold was made or last changed.
  constraint legal_holds_person_check CHECK ((person ~ '^[A-Za-z0-9_-]{22}$'::text))
  constraint legal_holds_pkey PRIMARY KEY (person)
  CREATE UNIQUE INDEX legal_holds_pkey ON pii_vault.legal_holds USING btree (person)
  grant DELETE, INSERT, SELECT, UPDATE to tokenvault_privacy

table pii_vault.originals owner tokenvault_owner
  -- One sealed original for each token. Deleting a row does not erase its value: the token key opens the token without it.
  column token_id uuid not null
    -- Token id: the 16 bytes of the token. Of a token that is text they are its SIV, of a uuid or inet token the SIV with the bits of the format in it.
  column field text not null
    -- Field of the value, for example ip.
  column token_key_version integer not null
    -- Version of the token key that made the token.
  column data_key_version integer not null
    -- Version of the data key that seals the original.
  column sealed bytea not null
    -- The sealed value; opens under the data key of this version, and for this token id only.
  column created_at timestamp with time zone not null default now()
    -- When the value was stored for the first time.
  column siv_rest smallint
    -- Of a uuid or inet token the bits of the SIV that are not in its id; null for tokens that are text.
  column kept_elsewhere boolean not null default false
    -- Whether the value was first stored over HTTP, so that its token need not be in user_logins.
  column last_seen date
    -- First UTC day of the newest month whose rows were dropped while they held the token; null where none was. Rows that are there say the rest.
  constraint originals_pkey PRIMARY KEY (token_id)
  constraint originals_siv_rest_check CHECK (((siv_rest >= 0) AND (siv_rest <= 255)))
  CREATE UNIQUE INDEX originals_pkey ON pii_vault.originals USING btree (token_id)
  grant SELECT to tokenvault_api
  grant INSERT to tokenvault_store
  grant INSERT to tokenvault_worker

table pii_vault.quarantine owner tokenvault_owner
  -- Events, and whole messages, that are not valid login events: one row each, with the body sealed. Rows are never removed.
  column id uuid not null grants {tokenvault_worker=a/tokenvault_owner}
    -- Random id of the entry; the seal of the body is bound to it.
  column message_id text not null grants {tokenvault_worker=a/tokenvault_owner}
    -- First identity of the message that held the event: the message id that the queue gave it when it was sent first.
  column event_index integer not null grants {tokenvault_worker=a/tokenvault_owner}
    -- Place of the event in its message, from 0; also 0 where the message is not readable as a whole.
  column reason text not null grants {tokenvault_worker=a/tokenvault_owner}
    -- Why it was quarantined: a stable code that repeats nothing of the event.
  column data_key_version integer not null grants {tokenvault_worker=a/tokenvault_owner}
    -- Version of the quarantine key that seals the body.
  column sealed bytea grants {tokenvault_worker=a/tokenvault_owner}
    -- The sealed body, 16 bytes longer than the body; null once it is redriven or discarded.
  column sent_on date not null grants {tokenvault_worker=a/tokenvault_owner}
    -- UTC day on which the producer sent the message.
  column created_at timestamp with time zone not null default now()
    -- When the entry was stored.
  column state text not null default 'quarantined'::text
    -- quarantined; redrive_requested: an operator asked to try it again; redriven: rows of user_logins were made from it; discarded: an operator erased the body.
  column redrives integer not null default 0
    -- How many times a worker tried it again, whatever the outcome.
  column changed_at timestamp with time zone not null default now()
    -- When the state, the reason or the number of redrives last changed.
  constraint quarantine_pkey PRIMARY KEY (id)
  constraint quarantine_sealed_while_open CHECK (((sealed IS NULL) = (state = ANY (ARRAY['redriven'::text, 'discarded'::text]))))
  constraint quarantine_state_check CHECK ((state = ANY (ARRAY['quarantined'::text, 'redrive_requested'::text, 'redriven'::text, 'discarded'::text])))
  CREATE INDEX quarantine_by_state ON pii_vault.quarantine USING btree (state, created_at, id)
  CREATE UNIQUE INDEX quarantine_pkey ON pii_vault.quarantine USING btree (id)
  grant SELECT to tokenvault_api

table pii_vault.refusals owner tokenvault_owner
  -- Refused actions that are counted and not yet in the audit log: one row for each principal and kind. After a minute the row becomes one event.
  column principal uuid not null
    -- Id of the principal: pii_vault.principal_id of issuer and subject.
  column kind text not null
    -- What is counted together: operation, decision and code.
  column since timestamp with time zone not null
    -- When the first of the kind was refused, whose event is in the log.
  column counted bigint not null default 0
    -- How many came after it.
  column requested bigint not null default 0
    -- How many items they asked for, together.
  column event text
    -- The event that the first of those counted would have had; null while there is none.
  column last_at text
    -- The time that the event of the last of them would have had; null while there is none.
  constraint refusals_pkey PRIMARY KEY (principal, kind)
  CREATE INDEX refusals_by_time ON pii_vault.refusals USING btree (since)
  CREATE UNIQUE INDEX refusals_pkey ON pii_vault.refusals USING btree (principal, kind)
  grant SELECT to tokenvault_auditor

table pii_vault.signing_hand_overs owner tokenvault_owner
  -- Where one signing key of the audit log gave way to the next: public, signed by both, and published beside the checkpoints.
  column key_version integer not null
    -- Version of the signing key that took over.
  column tree_size bigint not null
    -- How many events the log had: the earlier key signs these, the later one all events and trees beyond.
  column note text not null
    -- The hand-over as a signed note (docs/evidence.md).
  column created_at timestamp with time zone not null default now()
    -- When it was stored, in the transaction that made the later key the primary one.
  constraint signing_hand_overs_key_version_check CHECK ((key_version > 1))
  constraint signing_hand_overs_note_check CHECK ((length(note) <= 8192))
  constraint signing_hand_overs_pkey PRIMARY KEY (key_version)
  constraint signing_hand_overs_tree_size_check CHECK ((tree_size >= 0))
  constraint signing_hand_overs_tree_size_key UNIQUE (tree_size)
  CREATE UNIQUE INDEX signing_hand_overs_pkey ON pii_vault.signing_hand_overs USING btree (key_version)
  CREATE UNIQUE INDEX signing_hand_overs_tree_size_key ON pii_vault.signing_hand_overs USING btree (tree_size)
  CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON pii_vault.signing_hand_overs FOR EACH STATEMENT EXECUTE FUNCTION pii_vault.refuse_change()
  grant SELECT to tokenvault_api
  grant SELECT to tokenvault_auditor
  grant SELECT to tokenvault_privacy

table pii_vault.spending owner tokenvault_owner
  -- What principals took of their budgets: one row for each principal and slot of time. A slot is removed some time after it left its window.
  column principal uuid not null
    -- Id of the principal: pii_vault.principal_id of issuer and subject.
  column slot_seconds integer not null
    -- Length of the slot: 10 for the budget of a minute, 3600 for that of a day. Each value counts in one slot of both.
  column slot timestamp with time zone not null
    -- When the slot begins.
  column "values" bigint not null
    -- How many values the principal took in the slot.
  constraint spending_pkey PRIMARY KEY (principal, slot_seconds, slot)
  constraint spending_slot_seconds_check CHECK ((slot_seconds = ANY (ARRAY[10, 3600])))
  CREATE INDEX spending_by_slot ON pii_vault.spending USING btree (slot_seconds, slot)
  CREATE UNIQUE INDEX spending_pkey ON pii_vault.spending USING btree (principal, slot_seconds, slot)

table pii_vault.suspensions owner tokenvault_owner
  -- Principals who asked for more than their budget of a day, or met a honey token where the policy suspends for it: one row each. All their requests are refused until an administrator lifts the suspension, which removes the row.
  column principal uuid not null
    -- Id of the principal: pii_vault.principal_id of issuer and subject.
  column issuer text not null
    -- Issuer of the access tokens, their claim iss.
  column subject text not null
    -- The principal as the issuer calls it, the claim sub.
  column suspended_at timestamp with time zone not null
    -- When the budget was exceeded, or the honey token met.
  constraint suspensions_pkey PRIMARY KEY (principal)
  CREATE UNIQUE INDEX suspensions_pkey ON pii_vault.suspensions USING btree (principal)
  grant SELECT to tokenvault_api

table pii_vault.taken_without_approval owner tokenvault_owner
  -- What principals took without the approval of a second person: one row for each principal and ten minutes. A row is removed some time after it left the longest window, a week.
  column principal uuid not null
    -- Id of the principal: pii_vault.principal_id of issuer and subject.
  column slot timestamp with time zone not null
    -- When the ten minutes begin.
  column "values" bigint not null
    -- How many values were revealed to the principal in them.
  constraint taken_without_approval_pkey PRIMARY KEY (principal, slot)
  CREATE INDEX taken_without_approval_by_slot ON pii_vault.taken_without_approval USING btree (slot)
  CREATE UNIQUE INDEX taken_without_approval_pkey ON pii_vault.taken_without_approval USING btree (principal, slot)

table pii_vault.token_aliases owner tokenvault_owner
  -- Tokens of token keys that were moved away from, each with the token of the same value under the key that took over.
  column token_id uuid not null
    -- Token id of the earlier token.
  column field text not null
    -- Field of both tokens, for example ip.
  column token_key_version integer not null
    -- Version of the token key that made the earlier token.
  column old_token text not null
    -- The earlier token as it stands in its column; an inet token without /128.
  column new_token text not null
    -- The token that stands in its place.
  column successor uuid not null
    -- Token id of the token that stands in its place; its original holds the value.
  column proof bytea not null
    -- The earlier token id, sealed under the token key of the successor and bound to its id: an alias that was edited does not open.
  column created_at timestamp with time zone not null default now()
    -- When the alias was stored for the first time.
  constraint token_aliases_pkey PRIMARY KEY (token_id)
  CREATE INDEX token_aliases_old_token ON pii_vault.token_aliases USING btree (old_token, field)
  CREATE UNIQUE INDEX token_aliases_pkey ON pii_vault.token_aliases USING btree (token_id)
  CREATE INDEX token_aliases_successor ON pii_vault.token_aliases USING btree (successor)
  grant SELECT to tokenvault_api
  grant INSERT to tokenvault_store
  grant INSERT to tokenvault_worker

table pii_vault.token_columns owner tokenvault_owner
  -- Columns outside of this product that hold tokens: `tokenvault backfill` enters them, and `tokenvault reconcile` proves that each token in them has its original.
  column table_schema text not null
    -- Schema of the table.
  column table_name text not null
    -- Name of the table.
  column column_name text not null
    -- Name of the column.
  column field text not null
    -- Field whose tokens the column holds, for example ip.
  column registered_at timestamp with time zone not null default now()
    -- When the column was entered here.
  constraint token_columns_pkey PRIMARY KEY (table_schema, table_name, column_name)
  CREATE UNIQUE INDEX token_columns_pkey ON pii_vault.token_columns USING btree (table_schema, table_name, column_name)
  grant SELECT to tokenvault_auditor

table pii_vault.token_moves owner tokenvault_owner
  -- Versions of token keys whose tokens are being replaced, or were.
  column field text not null
    -- Field of the token key.
  column token_key_version integer not null
    -- The version that is moved away from.
  column to_version integer not null
    -- The version that took over.
  column state text not null default 'moving'::text
    -- moving: whoever makes tokens writes aliases for this version; done: nothing of it is left.
  column started_at timestamp with time zone not null default now()
    -- When the key was rotated.
  column done_at timestamp with time zone
    -- When the last token of the version was replaced; null until then.
  column retired_at timestamp with time zone
    -- When its aliases began to be deleted, so that its tokens answer token_retired; null while they still open.
  constraint token_moves_done CHECK (((state = 'done'::text) = (done_at IS NOT NULL)))
  constraint token_moves_pkey PRIMARY KEY (field, token_key_version)
  constraint token_moves_retired CHECK (((retired_at IS NULL) OR (state = 'done'::text)))
  constraint token_moves_state_check CHECK ((state = ANY (ARRAY['moving'::text, 'done'::text])))
  CREATE UNIQUE INDEX token_moves_pkey ON pii_vault.token_moves USING btree (field, token_key_version)
  grant SELECT to tokenvault_api
  grant SELECT to tokenvault_store
  grant SELECT to tokenvault_worker

view public.duplicate_devices owner tokenvault_owner
  -- Devices, as tokens, from which there was more than one login. Those that several users share have users > 1.
  column masked_device_id character varying(256)
    -- Token of the device id; while its token key is rotated, the one under the new key. Logins without one are left out.
  column logins bigint
    -- Number of logins from this device, 2 or more.
  column users bigint
    -- Number of different user_id among these logins: 1 where one user came back, 2 or more where users share the device.
  column first_day date
    -- UTC day of the first of these logins.
  column last_day date
    -- UTC day of the last of these logins.
 SELECT (device_key)::character varying(256) AS masked_device_id,
    count(*) AS logins,
    count(DISTINCT user_id) AS users,
    min(create_date) AS first_day,
    max(create_date) AS last_day
   FROM analyst.logins
  WHERE (device_key IS NOT NULL)
  GROUP BY device_key
 HAVING (count(*) > 1);
  grant SELECT to tokenvault_analyst

view public.duplicate_ips owner tokenvault_owner
  -- IP addresses, as tokens, from which there was more than one login. Those that several users share have users > 1.
  column masked_ip character varying(256)
    -- Token of the IP address; while its token key is rotated, the one under the new key. Logins without one are left out.
  column logins bigint
    -- Number of logins from this address, 2 or more.
  column users bigint
    -- Number of different user_id among these logins: 1 where one user came back, 2 or more where users share the address.
  column first_day date
    -- UTC day of the first of these logins.
  column last_day date
    -- UTC day of the last of these logins.
 SELECT (ip_key)::character varying(256) AS masked_ip,
    count(*) AS logins,
    count(DISTINCT user_id) AS users,
    min(create_date) AS first_day,
    max(create_date) AS last_day
   FROM analyst.logins
  WHERE (ip_key IS NOT NULL)
  GROUP BY ip_key
 HAVING (count(*) > 1);
  grant SELECT to tokenvault_analyst

partitioned table public.user_logins owner tokenvault_owner
  -- One row for each login event. IP address and device id are tokens; partitioned by month of create_date.
  partition by RANGE (create_date)
  column user_id character varying(128)
    -- The user who logged in, as the producer names them.
  column device_type character varying(32)
    -- Kind of device, as the producer names it, for example ios; null where the event has none.
  column masked_ip character varying(256)
    -- Token of the IP address: ip_v1_ (1 is the version of the token key) and letters of base64url. Equal addresses have equal tokens; null where the event has none or a placeholder such as 0.0.0.0, and where the deployment does not tokenize this field.
  column masked_device_id character varying(256)
    -- Token of the device id: device_id_v1_ (1 is the version of the token key) and letters of base64url. Equal ids have equal tokens; null where the event has none or a placeholder such as unknown, and where the deployment does not tokenize this field.
  column locale character varying(32)
    -- Locale of the app, as the producer names it; null where the event has none.
  column app_version integer
    -- First number of the app version: 2 for 2.3.0; null where the event has none.
  column create_date date
    -- UTC day on which the producer sent the message that held the event.
  CREATE INDEX user_logins_masked_device_id ON ONLY public.user_logins USING hash (masked_device_id)
  CREATE INDEX user_logins_masked_ip ON ONLY public.user_logins USING hash (masked_ip)
  grant SELECT to tokenvault_analyst
  grant SELECT to tokenvault_privacy
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

function ingest.drop_expired_delivery_records() owner tokenvault_owner
CREATE OR REPLACE FUNCTION ingest.drop_expired_delivery_records()
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET lock_timeout TO '1s'
AS $function$
DECLARE
  first_kept date;
  partition_name text;
  dropped integer := 0;
BEGIN
  PERFORM pii_vault.bound_transaction();
  LOCK TABLE ingest.receipts IN SHARE UPDATE EXCLUSIVE MODE;
  SELECT least(current_date, max(to_date(substr(child.relname, 10), 'YYYY_MM_DD'))) - 30 INTO first_kept
  FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
  WHERE inhparent = 'ingest.receipts'::regclass AND child.relname ~ '^receipts_\d{4}_\d{2}_\d{2}$';
  FOR partition_name IN
    SELECT child.relname FROM pg_inherits
    JOIN pg_class child ON child.oid = inhrelid
    WHERE inhparent = 'ingest.receipts'::regclass
      AND child.relname < 'receipts_' || to_char(first_kept, 'YYYY_MM_DD')
  LOOP
    CONTINUE WHEN to_regclass(format('ingest.%I', partition_name)) IS NULL;
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
  parent text;
  partition_name text;
BEGIN
  PERFORM pii_vault.require(cardinality(days) <= 10000, 'too many days');
  PERFORM pii_vault.bound_transaction();
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

  FOR parent, month IN SELECT DISTINCT of_table, (date_trunc('month', d) + ahead)::date
    FROM unnest(days) AS d, unnest('{0, 1 month}'::interval[]) AS ahead,
      unnest('{public.user_logins, analyst.login_details}'::text[]) AS of_table
  LOOP
    partition_name := split_part(parent, '.', 2) || to_char(month, '_YYYY_MM');
    CONTINUE WHEN to_regclass(format('ingest.%I', partition_name)) IS NOT NULL;
    BEGIN
      SET LOCAL lock_timeout = '1s';
      EXECUTE format('CREATE TABLE ingest.%I (LIKE %s INCLUDING ALL)', partition_name, parent);
      EXECUTE format('ALTER TABLE %s ATTACH PARTITION ingest.%I FOR VALUES FROM (%L) TO (%L)',
        parent, partition_name, month, (month + interval '1 month')::date);
    EXCEPTION WHEN check_violation OR lock_not_available THEN
      NULL; -- the default partition takes this month's rows; one that holds some already keeps them
    END;
  END LOOP;
END
$function$
  grant EXECUTE to tokenvault_worker

function pii_vault.admit_actions(jsonb) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.admit_actions(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  moment timestamptz;
  standings pii_vault.standing[];
  standing pii_vault.standing;
  action record;
  change jsonb;
  taken bigint;
  nearest jsonb; -- null where the allowances hold the action
  admission jsonb;
  admissions jsonb[] := '{}';
BEGIN
  -- Between admission and append the head stays locked while the caller works: one stalled caller must not stop all others.
  PERFORM set_config('idle_in_transaction_session_timeout', '3000', true);
  PERFORM FROM pii_vault.audit_head FOR UPDATE;
  -- The time after the lock was taken: the transaction may have begun long before.
  moment := clock_timestamp();
  standings := pii_vault.read_standings(request -> 'principals', moment);

  FOR action IN
    SELECT principal + 1 AS place, coalesce("values", 0) AS taken, "perMinute" AS per_minute, "perDay" AS per_day,
      "withoutApproval" AS without_approval, given.change, otherwise
    FROM ROWS FROM (jsonb_to_recordset(request -> 'actions')
      AS (principal integer, "values" bigint, "perMinute" bigint, "perDay" bigint, "withoutApproval" jsonb, change jsonb,
        otherwise jsonb)) WITH ORDINALITY AS given
    ORDER BY ordinality
  LOOP
    standing := standings[action.place];
    change := action.change;
    taken := action.taken;
    nearest := pii_vault.check_allowances(standing, action.without_approval);
    admission := NULL;
    IF nearest IS NOT NULL AND change IS NULL THEN
      change := action.otherwise;
      taken := 0;
    END IF;
    IF standing.is_suspended THEN
      admission := '{"code": "principal_suspended"}';
    ELSIF change IS NOT NULL THEN
      admission := pii_vault.check_change(change, standing, moment);
      IF nearest IS NOT NULL AND admission -> 'code' IS NULL THEN
        admission := coalesce(admission, '{}') || jsonb_build_object('withoutApproval', nearest);
      END IF;
    ELSIF nearest IS NOT NULL THEN
      admission := jsonb_build_object('code', 'approval_required', 'withoutApproval', nearest);
    END IF;
    IF taken > 0 AND admission -> 'code' IS NULL THEN
      admission := coalesce(pii_vault.check_charge(standing, taken, action.per_minute, action.per_day, moment), admission);
    END IF;

    -- Only now, so that a call that the budget refuses does not use up its approval.
    IF admission -> 'code' IS NULL THEN
      standing.charged := standing.charged + taken;
      IF action.without_approval IS NOT NULL THEN
        standing.unapproved := standing.unapproved + taken;
      END IF;
      standings[action.place] := standing;
      IF change ->> 'kind' = 'lift_suspension' THEN
        -- A lift forgets what was spent, also by earlier actions of this group: so these are applied first, and all is read again.
        PERFORM pii_vault.apply_charges(standings, moment);
        PERFORM pii_vault.apply_change(change, admission, standing, moment);
        standings := pii_vault.read_standings(request -> 'principals', moment);
      ELSIF change IS NOT NULL THEN
        PERFORM pii_vault.apply_change(change, admission, standing, moment);
      END IF;
    ELSIF admission ->> 'window' = 'day' THEN
      standings[action.place].is_suspended := true;
      INSERT INTO pii_vault.suspensions (principal, issuer, subject, suspended_at)
      VALUES (standing.principal, standing.issuer, standing.subject, moment);
    END IF;
    admissions := admissions || admission;
  END LOOP;

  PERFORM pii_vault.apply_charges(standings, moment);
  RETURN to_jsonb(admissions);
END
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.append_actions(bytea[],jsonb) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.append_actions(events bytea[], repeats jsonb)
 RETURNS bigint[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  moment timestamptz;
  repeat jsonb;
  id uuid;
  earlier pii_vault.refusals;
  appended bytea[] := '{}';
  places bigint[] := '{}';
  first_sequence bigint;
BEGIN
  -- As in append_audit, which is not called where all events are counted: what is counted is as durable as what is appended.
  IF current_setting('synchronous_commit') <> 'remote_apply' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  PERFORM pii_vault.require(jsonb_typeof(repeats) = 'array' AND jsonb_array_length(repeats) = cardinality(events)
    AND cardinality(events) <= 100000, 'each event has one place in repeats');
  PERFORM pii_vault.require((SELECT coalesce(bool_and(coalesce(octet_length(given ->> 'kind') <= 1024
      AND octet_length(given ->> 'at') <= 64 AND (given -> 'requested')::bigint BETWEEN 0 AND 1000000, false)), true)
    FROM jsonb_array_elements(repeats) AS given WHERE given <> 'null'), 'a repeat is not possible');
  PERFORM pii_vault.bound_transaction();
  PERFORM FROM pii_vault.audit_head FOR UPDATE;
  moment := clock_timestamp();
  FOR place IN 1 .. cardinality(events) LOOP
    repeat := nullif(repeats -> (place - 1), 'null');
    IF repeat IS NOT NULL THEN
      id := pii_vault.principal_id(repeat ->> 'issuer', repeat ->> 'subject');
      UPDATE pii_vault.refusals AS refusal SET
        counted = refusal.counted + 1,
        requested = refusal.requested + (repeat -> 'requested')::bigint,
        event = coalesce(refusal.event, convert_from(events[place], 'UTF8')),
        last_at = repeat ->> 'at'
      -- A clock that was set back must not keep what is refused now out of the log until it has caught up.
      WHERE refusal.principal = id AND refusal.kind = repeat ->> 'kind'
        AND refusal.since > moment - interval '1 minute' AND refusal.since <= moment;
      IF FOUND THEN
        places := places || NULL::bigint;
        CONTINUE;
      END IF;
      DELETE FROM pii_vault.refusals AS refusal WHERE refusal.principal = id AND refusal.kind = repeat ->> 'kind'
        RETURNING * INTO earlier;
      appended := appended || ARRAY(SELECT pii_vault.fold_refusal(earlier));
      INSERT INTO pii_vault.refusals (principal, kind, since) VALUES (id, repeat ->> 'kind', moment);
    END IF;
    appended := appended || events[place];
    places := places || cardinality(appended)::bigint;
  END LOOP;
  IF appended <> '{}' THEN
    first_sequence := pii_vault.append_audit(appended);
  END IF;
  RETURN ARRAY(SELECT first_sequence + appended_place - 1 FROM unnest(places) WITH ORDINALITY AS given (appended_place, place)
    ORDER BY place);
END
$function$
  grant EXECUTE to tokenvault_api

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
  IF events IS NULL THEN
    RAISE EXCEPTION 'events are missing' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  PERFORM pii_vault.require(cardinality(events) <= 100000, 'too many events');
  PERFORM pii_vault.bound_transaction();
  SELECT tree_size, frontier INTO STRICT first_sequence, roots FROM pii_vault.audit_head FOR UPDATE;
  next_sequence := first_sequence;
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
$function$
  grant EXECUTE to tokenvault_api
  grant EXECUTE to tokenvault_privacy

function pii_vault.apply_change(jsonb,jsonb,pii_vault.standing,timestamp with time zone) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.apply_change(change jsonb, admission jsonb, caller pii_vault.standing, moment timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  CASE change ->> 'kind'
  WHEN 'request_approval' THEN
    -- Unless a request for the same call is open already.
    IF (admission ->> 'approvalId')::uuid = (change ->> 'id')::uuid THEN
      INSERT INTO pii_vault.approvals (id, principal, issuer, subject, roles, purpose, ticket, reveal, "values", fields,
        digest, state, created_at, expires_at)
      VALUES ((change ->> 'id')::uuid, caller.principal, caller.issuer, caller.subject, change -> 'roles', change ->> 'purpose',
        change ->> 'ticket', change ->> 'reveal', (change ->> 'values')::bigint, change -> 'fields', change ->> 'digest',
        'pending', moment, moment + interval '24 hours');
    END IF;
  WHEN 'use_approval' THEN
    UPDATE pii_vault.approvals AS approval SET state = 'used' WHERE approval.id = (change ->> 'id')::uuid;
  WHEN 'decide_approval' THEN
    UPDATE pii_vault.approvals AS approval SET
      state = CASE change ->> 'decision' WHEN 'approve' THEN 'approved' WHEN 'refuse' THEN 'refused' END,
      expires_at = CASE change ->> 'decision' WHEN 'approve' THEN moment + interval '15 minutes' ELSE approval.expires_at END,
      decided_by = caller.subject, decided_by_issuer = caller.issuer, decided_at = moment
    WHERE approval.id = (change ->> 'id')::uuid;
  WHEN 'lift_suspension' THEN
    DELETE FROM pii_vault.suspensions AS suspension
    WHERE suspension.principal = pii_vault.principal_id(change ->> 'issuer', change ->> 'subject');
    DELETE FROM pii_vault.spending AS spent
    WHERE spent.principal = pii_vault.principal_id(change ->> 'issuer', change ->> 'subject');
  WHEN 'preview' THEN
    NULL; -- costs and changes nothing
  END CASE;
END
$function$

function pii_vault.apply_charges(pii_vault.standing[],timestamp with time zone) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.apply_charges(standings pii_vault.standing[], moment timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  opened integer;
BEGIN
  WITH added AS (
    INSERT INTO pii_vault.spending AS spent (principal, slot_seconds, slot, "values")
    SELECT standing.principal, seconds, date_bin(make_interval(secs => seconds), moment, 'epoch'), standing.charged
    FROM unnest(standings) AS standing, unnest(ARRAY[10, 3600]) AS seconds
    WHERE standing.charged > 0
    ON CONFLICT (principal, slot_seconds, slot) DO UPDATE SET "values" = spent."values" + excluded."values"
    RETURNING xmax = 0 AS is_new
  )
  SELECT count(*) FILTER (WHERE is_new) INTO opened FROM added;
  -- Slots that left their window are removed when new ones are made, so that few are kept. The head's lock lets one caller at a
  -- time do it.
  IF opened > 0 THEN
    DELETE FROM pii_vault.spending WHERE (principal, slot_seconds, slot) IN (
      (SELECT principal, slot_seconds, slot FROM pii_vault.spending
        WHERE slot_seconds = 10 AND slot <= moment - interval '70 seconds' ORDER BY slot LIMIT 100 + opened)
      UNION ALL
      (SELECT principal, slot_seconds, slot FROM pii_vault.spending
        WHERE slot_seconds = 3600 AND slot <= moment - interval '25 hours' ORDER BY slot LIMIT 100 + opened));
  END IF;
  WITH added AS (
    INSERT INTO pii_vault.taken_without_approval AS taken (principal, slot, "values")
    SELECT standing.principal, date_bin('10 minutes', moment, 'epoch'), standing.unapproved
    FROM unnest(standings) AS standing
    WHERE standing.unapproved > 0
    ON CONFLICT (principal, slot) DO UPDATE SET "values" = taken."values" + excluded."values"
    RETURNING xmax = 0 AS is_new
  )
  SELECT count(*) FILTER (WHERE is_new) INTO opened FROM added;
  IF opened > 0 THEN
    DELETE FROM pii_vault.taken_without_approval WHERE (principal, slot) IN (
      SELECT principal, slot FROM pii_vault.taken_without_approval
      WHERE slot <= moment - interval '7 days 10 minutes' ORDER BY slot LIMIT 100 + opened);
  END IF;
END
$function$

function pii_vault.audit_keys(integer[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.audit_keys(terms integer[])
 RETURNS integer[]
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE STRICT
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT coalesce(array_agg(DISTINCT term >> 12), '{}') FROM unnest(terms) AS term
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.block_entries(integer[],bytea,bigint[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.block_entries(terms integer[], places bytea, bits bigint[])
 RETURNS TABLE(term integer, place integer)
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT held.term, bit FROM unnest(terms) WITH ORDINALITY AS held (term, number), generate_series(0, 63) AS bit
  WHERE CASE WHEN number <= octet_length(places) THEN get_byte(places, number::integer - 1) = bit
    ELSE coalesce(bits[number::integer - octet_length(places)] >> bit & 1 = 1, false) END
$function$
  grant EXECUTE to tokenvault_auditor

function pii_vault.bound_transaction() owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.bound_transaction()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  whole text := current_setting('transaction_timeout', true); -- since Postgres 17
BEGIN
  IF extract(epoch FROM current_setting('idle_in_transaction_session_timeout')::interval) NOT BETWEEN 0.001 AND 3 THEN
    PERFORM set_config('idle_in_transaction_session_timeout', '3s', true);
  END IF;
  IF whole IS NOT NULL AND extract(epoch FROM whole::interval) NOT BETWEEN 0.001 AND 30 THEN
    PERFORM set_config('transaction_timeout', '30s', true);
  END IF;
END
$function$

function pii_vault.build_audit_block(bigint,bigint) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.build_audit_block(first_event bigint, last_event bigint, OUT min_at timestamp with time zone, OUT max_at timestamp with time zone, OUT terms integer[], OUT places bytea, OUT bits bigint[])
 RETURNS record
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
  grant EXECUTE to tokenvault_auditor

function pii_vault.check_allowances(pii_vault.standing,jsonb) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.check_allowances(standing pii_vault.standing, terms jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  asked bigint := terms -> 'asked';
  allowances jsonb;
  allowance jsonb;
  remaining bigint;
  most bigint;
  nearest jsonb;
BEGIN
  IF asked > 0 THEN
    FOR allowances IN SELECT jsonb_array_elements(terms -> 'allowances') LOOP
      most := NULL;
      FOR allowance IN SELECT jsonb_array_elements(allowances) LOOP
        -- A window that was not read holds nothing.
        remaining := coalesce((allowance -> 'values')::bigint - standing.unapproved
          - (standing.taken -> (allowance ->> 'windowSeconds'))::bigint, 0);
        IF most IS NULL OR remaining > most THEN
          most := remaining;
          nearest := jsonb_build_object('above', allowance -> 'values', 'windowSeconds', allowance -> 'windowSeconds',
            'left', greatest(remaining, 0));
        END IF;
      END LOOP;
      IF most < asked THEN
        RETURN nearest;
      END IF;
    END LOOP;
  END IF;
  RETURN NULL;
END
$function$

function pii_vault.check_change(jsonb,pii_vault.standing,timestamp with time zone) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.check_change(change jsonb, caller pii_vault.standing, moment timestamp with time zone)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  -- Text that is not a UUID is the id of no request.
  named uuid := CASE WHEN pg_input_is_valid(change ->> 'id', 'uuid') THEN (change ->> 'id')::uuid END;
  request pii_vault.approvals;
BEGIN
  CASE change ->> 'kind'
  WHEN 'request_approval' THEN
    SELECT * INTO request FROM pii_vault.approvals AS approval
    WHERE approval.principal = caller.principal AND approval.digest = change ->> 'digest'
      AND approval.state IN ('pending', 'approved') AND approval.expires_at > moment
    ORDER BY approval.created_at LIMIT 1;
    IF NOT FOUND THEN
      IF (SELECT count(*) FROM pii_vault.approvals AS approval
        WHERE approval.principal = caller.principal AND approval.state = 'pending' AND approval.expires_at > moment
          AND approval.created_at > moment - interval '24 hours') >= 100 THEN
        RETURN '{"code": "approvals_too_many"}';
      END IF;
      request.id := (change ->> 'id')::uuid;
      request.state := 'pending';
      request.expires_at := moment + interval '24 hours';
    END IF;
    RETURN jsonb_build_object('approvalId', request.id, 'approvalState', request.state,
      'approvalExpiresAt', to_char(request.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));
  WHEN 'use_approval' THEN
    -- One code for every cause, so that nobody learns about the requests of others.
    IF NOT EXISTS (SELECT FROM pii_vault.approvals AS approval
      WHERE approval.id = named AND approval.principal = caller.principal AND approval.digest = change ->> 'digest'
        AND approval.state = 'approved' AND approval.expires_at > moment) THEN
      RETURN '{"code": "approval_unusable"}';
    END IF;
  WHEN 'decide_approval' THEN
    SELECT * INTO request FROM pii_vault.approvals AS approval WHERE approval.id = named;
    IF NOT FOUND THEN
      RETURN '{"code": "approval_unknown"}';
    ELSIF request.principal = caller.principal THEN
      RETURN '{"code": "approval_self"}';
    ELSIF request.state <> 'pending' OR request.expires_at <= moment THEN
      RETURN '{"code": "approval_settled"}';
    END IF;
  WHEN 'lift_suspension' THEN
    IF NOT EXISTS (SELECT FROM pii_vault.suspensions AS suspension
      WHERE suspension.principal = pii_vault.principal_id(change ->> 'issuer', change ->> 'subject')) THEN
      RETURN '{"code": "suspension_unknown"}';
    END IF;
  WHEN 'preview' THEN
    RETURN jsonb_build_object('standing', pii_vault.preview_call(change, caller, moment));
  END CASE;
  RETURN NULL;
END
$function$

function pii_vault.check_charge(pii_vault.standing,bigint,bigint,bigint,timestamp with time zone) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.check_charge(standing pii_vault.standing, taken bigint, per_minute bigint, per_day bigint, moment timestamp with time zone)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF taken > 0 AND standing.day_values + standing.charged + taken > per_day THEN
    RETURN jsonb_build_object('code', 'budget_exceeded', 'window', 'day', 'retryAfterSeconds', pii_vault.seconds_until_fit(
      standing.principal, 3600, interval '24 hours', standing.charged, taken, per_day, moment));
  ELSIF taken > 0 AND standing.minute_values + standing.charged + taken > per_minute THEN
    RETURN jsonb_build_object('code', 'budget_exceeded', 'window', 'minute', 'retryAfterSeconds', pii_vault.seconds_until_fit(
      standing.principal, 10, interval '1 minute', standing.charged, taken, per_minute, moment));
  END IF;
  RETURN NULL;
END
$function$

function pii_vault.check_plain(pii_vault.standing[],jsonb) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.check_plain(standings pii_vault.standing[], actions jsonb)
 RETURNS pii_vault.standing[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  action record;
  standing pii_vault.standing;
BEGIN
  FOR action IN
    SELECT principal + 1 AS place, coalesce("values", 0) AS taken, "perMinute" AS per_minute, "perDay" AS per_day,
      "withoutApproval" AS without_approval, change
    FROM ROWS FROM (jsonb_to_recordset(actions)
      AS (principal integer, "values" bigint, "perMinute" bigint, "perDay" bigint, "withoutApproval" jsonb, change jsonb))
      WITH ORDINALITY
    ORDER BY ordinality
  LOOP
    standing := standings[action.place];
    standing.charged := standing.charged + action.taken;
    IF action.change IS NOT NULL OR standing.is_suspended OR action.taken > 0 AND (
      standing.day_values + standing.charged > action.per_day OR standing.minute_values + standing.charged > action.per_minute) THEN
      RETURN NULL;
    END IF;
    IF action.without_approval IS NOT NULL THEN
      IF pii_vault.check_allowances(standing, action.without_approval) IS NOT NULL THEN
        RETURN NULL;
      END IF;
      standing.unapproved := standing.unapproved + action.taken;
    END IF;
    standings[action.place] := standing;
  END LOOP;
  RETURN standings;
END
$function$

function pii_vault.claim_idempotency(text,text,text,text) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.claim_idempotency(caller_issuer text, caller_subject text, caller_key text, request_fingerprint text, OUT state text, OUT status integer, OUT body text)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  caller uuid := pii_vault.principal_id(caller_issuer, caller_subject);
  found_fingerprint text;
BEGIN
  PERFORM pii_vault.require(octet_length(caller_key) <= 1024, 'the key is too long');
  PERFORM pii_vault.require(octet_length(request_fingerprint) <= 1024, 'the fingerprint is too long');
  INSERT INTO pii_vault.idempotency AS entry (principal, key, fingerprint, created_at)
  VALUES (caller, caller_key, request_fingerprint, clock_timestamp())
  ON CONFLICT (principal, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, status = NULL, body = NULL, created_at = excluded.created_at
    WHERE entry.created_at <= clock_timestamp() - interval '24 hours'
      OR (entry.status IS NULL AND entry.fingerprint = excluded.fingerprint
        AND entry.created_at <= clock_timestamp() - interval '5 minutes');
  IF FOUND THEN
    state := 'claimed';
    -- Those that another claim holds are passed over, so that two that tidy up cannot wait for each other.
    DELETE FROM pii_vault.idempotency WHERE (principal, key) IN (
      SELECT old.principal, old.key FROM pii_vault.idempotency AS old
      WHERE old.created_at <= clock_timestamp() - interval '24 hours' ORDER BY old.created_at LIMIT 100 FOR UPDATE SKIP LOCKED);
    RETURN;
  END IF;
  SELECT entry.fingerprint, entry.status, entry.body INTO found_fingerprint, status, body
  FROM pii_vault.idempotency AS entry WHERE entry.principal = caller AND entry.key = caller_key;
  IF found_fingerprint IS DISTINCT FROM request_fingerprint THEN
    -- Also where it was released this moment: then the caller may try again.
    state := CASE WHEN found_fingerprint IS NULL THEN 'in_progress' ELSE 'other_request' END;
    status := NULL;
    body := NULL;
  ELSE
    state := CASE WHEN status IS NULL THEN 'in_progress' ELSE 'done' END;
  END IF;
END
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.colliding_tokens(uuid[],text[],integer[],smallint[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.colliding_tokens(token_ids uuid[], fields text[], token_key_versions integer[], siv_rests smallint[])
 RETURNS SETOF uuid
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  PERFORM pii_vault.require(cardinality(token_ids) <= 100000 AND cardinality(fields) = cardinality(token_ids)
    AND cardinality(token_key_versions) = cardinality(token_ids) AND cardinality(siv_rests) = cardinality(token_ids),
    'each token has one field, version and rest');
  RETURN QUERY
    SELECT original.token_id
    FROM unnest(token_ids, fields, token_key_versions, siv_rests) AS given (token_id, field, token_key_version, siv_rest)
    JOIN pii_vault.originals AS original ON original.token_id = given.token_id
    WHERE (original.field, original.token_key_version, original.siv_rest)
      IS DISTINCT FROM (given.field, given.token_key_version, given.siv_rest);
END
$function$
  grant EXECUTE to tokenvault_store
  grant EXECUTE to tokenvault_worker

function pii_vault.commit_plain_actions(jsonb,bytea[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.commit_plain_actions(request jsonb, events bytea[])
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  moment timestamptz;
  standings pii_vault.standing[];
BEGIN
  IF jsonb_array_length(request -> 'actions') IS DISTINCT FROM cardinality(events) THEN
    RAISE EXCEPTION 'each action has one event' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RETURN NULL;
  END IF;
  PERFORM pii_vault.bound_transaction();
  PERFORM FROM pii_vault.audit_head FOR UPDATE;
  moment := clock_timestamp();
  standings := pii_vault.check_plain(pii_vault.read_standings(request -> 'principals', moment), request -> 'actions');
  IF standings IS NULL THEN
    RETURN NULL;
  END IF;
  PERFORM pii_vault.apply_charges(standings, moment);
  RETURN pii_vault.append_audit(events);
END
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.compare_audit_blocks(bigint,bigint) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.compare_audit_blocks(low bigint, below bigint, OUT missing bigint, OUT surplus bigint)
 RETURNS record
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
  grant EXECUTE to tokenvault_auditor

function pii_vault.complete_idempotency(text,text,text,integer,text) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.complete_idempotency(caller_issuer text, caller_subject text, caller_key text, reply_status integer, reply_body text)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT pii_vault.require(reply_status BETWEEN 100 AND 599, 'the status is not one of HTTP');
  SELECT pii_vault.require(octet_length(reply_body) <= 4194304, 'the body is too long');
  UPDATE pii_vault.idempotency SET status = reply_status, body = reply_body
  WHERE principal = pii_vault.principal_id(caller_issuer, caller_subject) AND key = caller_key AND status IS NULL
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.count_erased(bigint,text,text,jsonb) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.count_erased(erasure_number bigint, erased_kind text, erased_field text, counts jsonb)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  INSERT INTO pii_vault.erased_counts (erasure, place, kind, field, day, count)
  SELECT erasure_number,
    (SELECT count(*) FROM pii_vault.erased_counts AS before WHERE before.erasure = erasure_number) + row_number() OVER (ORDER BY line ->> 'day'),
    erased_kind, erased_field, (line ->> 'day')::date, (line ->> 'count')::bigint
  FROM jsonb_array_elements(counts) AS line WHERE (line ->> 'count')::bigint > 0
$function$

function pii_vault.count_without_original(text,uuid[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.count_without_original(field_name text, token_ids uuid[])
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  PERFORM pii_vault.require(coalesce(cardinality(token_ids) BETWEEN 1 AND 100000, false), '1 to 100,000 token ids');
  PERFORM pii_vault.require(field_name IS NOT NULL, 'a field');
  RETURN cardinality(token_ids) - (
    SELECT count(*) FROM unnest(token_ids) AS asked (token_id)
    LEFT JOIN pii_vault.token_aliases AS alias ON alias.token_id = asked.token_id AND alias.field = field_name
    JOIN pii_vault.originals AS original ON original.token_id = coalesce(alias.successor, asked.token_id)
    WHERE original.field = field_name);
END
$function$
  grant EXECUTE to tokenvault_auditor

function pii_vault.discard_quarantined(uuid[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.discard_quarantined(ids uuid[])
 RETURNS SETOF uuid
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT pii_vault.require(cardinality(ids) <= 10000, 'too many ids');
  WITH locked AS MATERIALIZED (
    SELECT id FROM pii_vault.quarantine
    WHERE id = ANY (ids) AND state IN ('quarantined', 'redrive_requested') ORDER BY id FOR UPDATE
  )
  UPDATE pii_vault.quarantine AS entry SET state = 'discarded', sealed = NULL, changed_at = now()
  FROM locked WHERE entry.id = locked.id
  RETURNING entry.id
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.erase_originals(bigint,text,uuid[],jsonb) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.erase_originals(erasure_number bigint, field_name text, ids uuid[], result jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
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
$function$

function pii_vault.erase_person(text,text[],text[],text[],boolean,boolean) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.erase_person(person_user_id text, fields text[], columns text[], derived text[], anonymize boolean, is_trial boolean)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
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
$function$
  grant EXECUTE to tokenvault_privacy

function pii_vault.erase_quarantined(uuid[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.erase_quarantined(entries uuid[])
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
DECLARE
  number_erased bigint;
BEGIN
  PERFORM pii_vault.require(coalesce(cardinality(entries) <= 100000, false), 'too many entries');
  SELECT count(*) INTO number_erased FROM pii_vault.discard_quarantined(entries);
  PERFORM pii_vault.count_erased((SELECT head.number + 1 FROM pii_vault.erasure_head AS head), 'quarantined', NULL,
    jsonb_build_array(jsonb_build_object('count', number_erased)));
  RETURN number_erased;
END
$function$
  grant EXECUTE to tokenvault_privacy

function pii_vault.erased_token_id(text,text,text) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.erased_token_id(token text, field_name text, format text)
 RETURNS uuid
 LANGUAGE sql
 IMMUTABLE STRICT
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$

function pii_vault.event_terms(bytea) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.event_terms(event bytea)
 RETURNS text[]
 LANGUAGE plpgsql
 IMMUTABLE STRICT
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
    'person ' || (member ->> 'person'),
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
$function$
  grant EXECUTE to tokenvault_auditor

function pii_vault.find_audit_blocks(integer[],integer[],bigint,bigint,integer) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.find_audit_blocks(all_terms integer[], any_terms integer[], low bigint, below bigint, max_blocks integer)
 RETURNS SETOF bigint
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_indexscan TO 'off'
 SET plan_cache_mode TO 'force_custom_plan'
AS $function$
BEGIN
  RETURN QUERY SELECT first_sequence FROM pii_vault.audit_blocks AS block
  WHERE (all_terms = '{}' OR pii_vault.audit_keys(block.terms) @> pii_vault.audit_keys(all_terms))
    AND (any_terms IS NULL OR pii_vault.audit_keys(block.terms) && pii_vault.audit_keys(any_terms))
    AND block.terms @> all_terms AND (any_terms IS NULL OR block.terms && any_terms)
    AND first_sequence >= low AND first_sequence < below
  LIMIT max_blocks;
END
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.fold_refusal(pii_vault.refusals) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.fold_refusal(refusal pii_vault.refusals)
 RETURNS SETOF bytea
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT convert_to(CASE refusal.counted
    WHEN 1 THEN refusal.event
    ELSE (
      SELECT '{' || string_agg(to_json(name)::text || ':' ||
          CASE name WHEN 'requested' THEN refusal.requested::text ELSE value::text END, ',' ORDER BY place)
        || ',"count":' || refusal.counted || ',"until":' || to_json(refusal.last_at) || '}'
      FROM json_each(refusal.event::json) WITH ORDINALITY AS member (name, value, place))
    END, 'UTF8')
  WHERE refusal.counted > 0
$function$

function pii_vault.fold_refusals(boolean) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.fold_refusals(everything boolean)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  -- Of the time before the lock, which is earlier: a minute that is over by then stays over.
  -- Another process may have written a later time by then, but not one of a minute ahead, unless the clock was set back.
  ahead timestamptz := clock_timestamp() + interval '1 minute';
  due timestamptz := CASE WHEN everything THEN 'infinity' ELSE clock_timestamp() - interval '1 minute' END;
  done integer;
  appended bytea[];
BEGIN
  -- Nearly always there is nothing to do, and nobody has to wait for it.
  IF NOT EXISTS (SELECT FROM pii_vault.refusals WHERE since <= due OR since > ahead) THEN
    RETURN 0;
  END IF;
  PERFORM pii_vault.bound_transaction();
  PERFORM FROM pii_vault.audit_head FOR UPDATE;
  WITH over AS (
    DELETE FROM pii_vault.refusals AS refusal WHERE (refusal.principal, refusal.kind) IN (
      SELECT principal, kind FROM pii_vault.refusals WHERE since <= due OR since > ahead ORDER BY since LIMIT 500)
    RETURNING refusal
  )
  SELECT count(*), array_agg(event ORDER BY (refusal).since, (refusal).principal, (refusal).kind) FILTER (WHERE event IS NOT NULL)
  INTO done, appended
  FROM over LEFT JOIN LATERAL pii_vault.fold_refusal(refusal) AS event ON true;
  IF appended IS NOT NULL THEN
    PERFORM pii_vault.append_audit(appended);
  END IF;
  RETURN done;
END
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.follow_keys(uuid,text,bytea) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.follow_keys(follower uuid, its_process text, its_keyset bytea)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF follower IS NULL OR coalesce(length(its_process), 0) NOT BETWEEN 1 AND 32 OR coalesce(octet_length(its_keyset), 0) <> 32 THEN
    RAISE EXCEPTION 'not a follower' USING ERRCODE = '22023';
  END IF;
  DELETE FROM pii_vault.key_followers WHERE looked_at < now() - interval '1 minute' AND instance <> follower;
  INSERT INTO pii_vault.key_followers AS present (instance, process, keyset) VALUES (follower, its_process, its_keyset)
  ON CONFLICT (instance) DO UPDATE SET process = excluded.process, keyset = excluded.keyset, looked_at = now();
END
$function$
  grant EXECUTE to tokenvault_api
  grant EXECUTE to tokenvault_worker

function pii_vault.index_audit(integer) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.index_audit(max_events integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.insert_checkpoint(bigint,text) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.insert_checkpoint(size bigint, signed_note text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  PERFORM pii_vault.require(size BETWEEN 0 AND (SELECT tree_size FROM pii_vault.audit_head), 'the tree has another size');
  PERFORM pii_vault.require(octet_length(signed_note) <= 8192, 'longer than a signed note');
  INSERT INTO pii_vault.checkpoints (tree_size, note) VALUES (size, signed_note) ON CONFLICT DO NOTHING;
END
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.lock_erasures() owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.lock_erasures()
 RETURNS TABLE(number bigint, entry_hash bytea)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT head.number, head.entry_hash FROM pii_vault.erasure_head AS head FOR UPDATE
$function$
  grant EXECUTE to tokenvault_privacy

function pii_vault.meet_honey(bytea,uuid[],boolean) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.meet_honey(event bytea, met uuid[], suspends boolean)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  described jsonb := convert_from(event, 'UTF8')::jsonb;
  place bigint;
BEGIN
  PERFORM pii_vault.require(coalesce(described ->> 'type' = 'honey' AND described ->> 'issuer' <> ''
    AND described ->> 'subject' <> '' AND described ->> 'requestId' <> '', false), 'the event is not one of honey tokens');
  PERFORM pii_vault.require(coalesce(cardinality(met) BETWEEN 1 AND 10000, false), '1 to 10,000 honey tokens');
  place := pii_vault.append_audit(ARRAY[event]);
  INSERT INTO pii_vault.honey_meetings (sequence, honey_token, issuer, subject, request_id)
  SELECT DISTINCT place, id, described ->> 'issuer', described ->> 'subject', described ->> 'requestId'
  FROM unnest(met) AS id;
  IF suspends THEN
    INSERT INTO pii_vault.suspensions (principal, issuer, subject, suspended_at)
    VALUES (pii_vault.principal_id(described ->> 'issuer', described ->> 'subject'),
      described ->> 'issuer', described ->> 'subject', now())
    ON CONFLICT (principal) DO NOTHING;
  END IF;
  RETURN place;
END
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.preview_call(jsonb,pii_vault.standing,timestamp with time zone) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.preview_call(call jsonb, caller pii_vault.standing, moment timestamp with time zone)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  per_minute bigint := call -> 'perMinute';
  per_day bigint := call -> 'perDay';
  -- No request for approval has this id, so one that is named otherwise is open already.
  none uuid := '00000000-0000-0000-0000-000000000000';
  request jsonb := pii_vault.check_change(
    jsonb_build_object('kind', 'request_approval', 'id', none, 'digest', call -> 'digest'), caller, moment);
BEGIN
  RETURN jsonb_strip_nulls(jsonb_build_object(
    'minuteLeft', CASE WHEN per_minute IS NOT NULL THEN greatest(per_minute - caller.minute_values - caller.charged, 0) END,
    'dayLeft', CASE WHEN per_day IS NOT NULL THEN greatest(per_day - caller.day_values - caller.charged, 0) END,
    'exceeds', pii_vault.check_charge(caller, (call -> 'values')::bigint, per_minute, per_day, moment) - 'code',
    'allowances', coalesce((
      SELECT jsonb_agg(jsonb_build_object('above', allowance -> 'values', 'windowSeconds', allowance -> 'windowSeconds',
          'left', greatest(coalesce((allowance -> 'values')::bigint - caller.unapproved
            - (caller.taken -> (allowance ->> 'windowSeconds'))::bigint, 0), 0))
        ORDER BY (allowance -> 'windowSeconds')::bigint, (allowance -> 'values')::bigint)
      FROM (
        SELECT DISTINCT allowance
        FROM jsonb_array_elements(call #> '{withoutApproval,allowances}') AS list, jsonb_array_elements(list) AS allowance
      ) AS given), '[]'),
    'nearest', pii_vault.check_allowances(caller, call -> 'withoutApproval'),
    'request', CASE WHEN (request ->> 'approvalId')::uuid <> none THEN jsonb_build_object(
      'id', request -> 'approvalId', 'state', request -> 'approvalState', 'expiresAt', request -> 'approvalExpiresAt') END,
    'hasTooManyRequests', CASE WHEN request ->> 'code' = 'approvals_too_many' THEN true END));
END
$function$

function pii_vault.principal_id(text,text) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.principal_id(issuer text, subject text)
 RETURNS uuid
 LANGUAGE sql
 IMMUTABLE STRICT
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT encode(substr(sha256(convert_to(length(issuer) || ':' || issuer || subject, 'UTF8')), 1, 16), 'hex')::uuid
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.read_standings(jsonb,timestamp with time zone) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.read_standings(principals jsonb, moment timestamp with time zone)
 RETURNS pii_vault.standing[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RETURN (
    SELECT array_agg(ROW(id, issuer, subject,
      EXISTS (SELECT FROM pii_vault.suspensions AS suspension WHERE suspension.principal = id),
      coalesce((SELECT sum(spent."values") FROM pii_vault.spending AS spent
        WHERE spent.principal = id AND spent.slot_seconds = 10 AND spent.slot > moment - interval '70 seconds'), 0),
      coalesce((SELECT sum(spent."values") FROM pii_vault.spending AS spent
        WHERE spent.principal = id AND spent.slot_seconds = 3600 AND spent.slot > moment - interval '25 hours'), 0),
      0,
      CASE WHEN jsonb_array_length(windows) > 0 THEN
        (SELECT jsonb_object_agg(seconds,
          coalesce((SELECT sum(taken."values") FROM pii_vault.taken_without_approval AS taken
            WHERE taken.principal = id AND taken.slot > moment - make_interval(secs => seconds::integer + 600)), 0))
        FROM jsonb_array_elements_text(windows) AS seconds)
      END,
      0)::pii_vault.standing ORDER BY place)
    FROM (
      SELECT place, named ->> 'issuer' AS issuer, named ->> 'subject' AS subject, named -> 'windows' AS windows,
        pii_vault.principal_id(named ->> 'issuer', named ->> 'subject') AS id
      FROM jsonb_array_elements(principals) WITH ORDINALITY AS given (named, place)
    ) AS named_principals);
END
$function$

function pii_vault.reconcile_days() owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.reconcile_days()
 RETURNS TABLE(day date, is_provable boolean, delivery_records bigint, rows_recorded bigint, rows_stored bigint, details_recorded bigint, details_stored bigint, quarantine_recorded bigint, quarantine_stored bigint, rows_erased bigint, details_erased bigint, rows_dropped bigint)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
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
$function$
  grant EXECUTE to tokenvault_auditor

function pii_vault.reconcile_networks(text[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.reconcile_networks(fields text[])
 RETURNS TABLE(finding text, field text, day date, tokens bigint)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
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
      AND NOT EXISTS (SELECT FROM pii_vault.expired_originals AS expired
        WHERE expired.token_id = token.token_id AND expired.field = token.name)
    GROUP BY token.name
    UNION ALL
    SELECT 'original_without_token', original.field, original.created_at::date, count(*) FROM pii_vault.originals AS original
    WHERE original.field = ANY (fields) AND NOT original.kept_elsewhere
      AND coalesce(original.created_at >= (SELECT max(month) + interval '1 month' FROM pii_vault.dropped_months), true)
      AND NOT EXISTS (SELECT FROM token
      WHERE token.token_id = original.token_id AND token.name = original.field)
      AND NOT EXISTS (SELECT FROM pii_vault.token_aliases AS alias
        JOIN pii_vault.originals AS next ON next.token_id = alias.successor
        WHERE alias.token_id = original.token_id AND alias.field = original.field)
      AND NOT EXISTS (SELECT FROM token JOIN pii_vault.token_aliases AS alias ON alias.token_id = token.token_id
        WHERE alias.successor = original.token_id AND alias.field = original.field AND token.name = original.field)
    GROUP BY original.field, original.created_at::date
    ORDER BY 1 DESC, 2, 3;
END
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
  PERFORM pii_vault.require(cardinality(fields) BETWEEN 1 AND 100 AND cardinality(columns) = cardinality(fields)
    AND (SELECT count(DISTINCT name) = count(*) AND count(DISTINCT column_name) = count(*)
      FROM unnest(fields, columns) AS named (name, column_name)), 'each field has one column');
  PERFORM pii_vault.require((SELECT bool_and(name IN (SELECT key.field FROM pii_vault.keys AS key WHERE key.purpose = 'token'))
    FROM unnest(fields) AS name), 'a field has no key');
  PERFORM pii_vault.require((SELECT bool_and(column_name IN (
      SELECT attname FROM pg_attribute
      WHERE attrelid = 'public.user_logins'::regclass AND attnum > 0 AND NOT attisdropped
        AND attname NOT IN ('user_id', 'device_type', 'locale')
        AND atttypid IN ('varchar'::regtype, 'text'::regtype,
          CASE recorded.format WHEN 'uuid' THEN 'uuid'::regtype WHEN 'inet' THEN 'inet'::regtype END)))
    FROM unnest(fields, columns) AS named (name, column_name)
    LEFT JOIN pii_vault.fields AS recorded ON recorded.name = named.name), 'a column holds no tokens');

  -- The 22 letters of a token hold 128 bits, and 4 bits that are zero. A match without a capture, and lengths by hand: a capture
  -- costs five times as much, and a count of letters in the pattern four times.
  SELECT string_agg(format(CASE recorded.format
    WHEN 'uuid' THEN
    'SELECT %1$L::text AS field, create_date AS day, CASE
       WHEN %2$I::text ~ ''^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$''
       THEN %2$I::text::uuid END AS token_id
     FROM public.user_logins WHERE %2$I IS NOT NULL'
    WHEN 'inet' THEN
    'SELECT %1$L::text AS field, create_date AS day, CASE
       WHEN %2$I::text ~ ''^f[cd][0-9a-f]{2}:[0-9a-f:]+(/128)?$'' AND pg_input_is_valid(%2$I::text, ''inet'')
       THEN encode(substr(inet_send(%2$I::text::inet), 5), ''hex'')::uuid END AS token_id
     FROM public.user_logins WHERE %2$I IS NOT NULL'
    ELSE
    'SELECT %1$L::text AS field, create_date AS day, CASE
       WHEN starts_with(%2$I, %3$L) AND substr(%2$I, %4$s) ~ ''^[1-9][0-9]*_[A-Za-z0-9_-]+$''
         AND length(%2$I) - strpos(substr(%2$I, %4$s), ''_'') = %4$s + 21 AND strpos(''AQgw'', right(%2$I, 1)) > 0
       THEN encode(decode(translate(right(%2$I, 22), ''-_'', ''+/'') || ''=='', ''base64''), ''hex'')::uuid END AS token_id
     FROM public.user_logins WHERE %2$I IS NOT NULL'
    END, named.name, column_name, named.name || '_v', length(named.name) + 3), ' UNION ALL ')
  INTO stored
  FROM unnest(fields, columns) AS named (name, column_name)
  LEFT JOIN pii_vault.fields AS recorded ON recorded.name = named.name;

  RETURN QUERY EXECUTE format(
    'SELECT ''token_without_original'', token.field, token.day, count(*) FROM (%s) AS token
     WHERE NOT EXISTS (SELECT FROM pii_vault.originals AS original
       WHERE original.token_id = token.token_id AND original.field = token.field)
       AND NOT EXISTS (SELECT FROM pii_vault.token_aliases AS alias
         JOIN pii_vault.originals AS original ON original.token_id = alias.successor
         WHERE alias.token_id = token.token_id AND alias.field = token.field)
       AND NOT EXISTS (SELECT FROM pii_vault.expired_originals AS expired
         WHERE expired.token_id = token.token_id AND expired.field = token.field)
     GROUP BY token.field, token.day ORDER BY 2, 3', stored);
  RETURN QUERY EXECUTE format(
    'SELECT ''original_without_token'', original.field, original.created_at::date, count(*) FROM pii_vault.originals AS original
     WHERE NOT original.kept_elsewhere
       AND coalesce(original.created_at >= (SELECT max(month) + interval ''1 month'' FROM pii_vault.dropped_months), true)
       AND NOT EXISTS (SELECT FROM (%s) AS token
       WHERE token.token_id = original.token_id AND token.field = original.field)
       AND NOT EXISTS (SELECT FROM pii_vault.archived_tokens AS archived
         WHERE archived.token_id = original.token_id AND archived.field = original.field)
       AND NOT EXISTS (SELECT FROM pii_vault.token_aliases AS alias
         JOIN pii_vault.originals AS next ON next.token_id = alias.successor
         WHERE alias.token_id = original.token_id AND alias.field = original.field)
       AND NOT EXISTS (SELECT FROM (%s) AS token JOIN pii_vault.token_aliases AS alias ON alias.token_id = token.token_id
         WHERE alias.successor = original.token_id AND alias.field = original.field AND token.field = original.field)
       AND NOT EXISTS (SELECT FROM pii_vault.archived_tokens AS archived
         JOIN pii_vault.token_aliases AS alias ON alias.token_id = archived.token_id
         WHERE alias.successor = original.token_id AND alias.field = original.field AND archived.field = original.field)
     GROUP BY original.field, original.created_at::date ORDER BY 2, 3', stored, stored);
END
$function$
  grant EXECUTE to tokenvault_auditor

function pii_vault.record_erasure(bigint,text,uuid,timestamp with time zone,text,bytea,text[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.record_erasure(entry_number bigint, person_digest text, used_approval uuid, at timestamp with time zone, note text, hash bytea, digests text[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
  grant EXECUTE to tokenvault_privacy

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

function pii_vault.release_idempotency(text,text,text) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.release_idempotency(caller_issuer text, caller_subject text, caller_key text)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  DELETE FROM pii_vault.idempotency
  WHERE principal = pii_vault.principal_id(caller_issuer, caller_subject) AND key = caller_key AND status IS NULL
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.request_redrive(uuid[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.request_redrive(ids uuid[])
 RETURNS SETOF uuid
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT pii_vault.require(cardinality(ids) <= 10000, 'too many ids');
  WITH locked AS MATERIALIZED (
    SELECT id FROM pii_vault.quarantine WHERE id = ANY (ids) AND state = 'quarantined' ORDER BY id FOR UPDATE
  )
  UPDATE pii_vault.quarantine AS entry SET state = 'redrive_requested', changed_at = now()
  FROM locked WHERE entry.id = locked.id
  RETURNING entry.id
$function$
  grant EXECUTE to tokenvault_api

function pii_vault.require(boolean,text) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.require(condition boolean, says text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF condition IS NOT TRUE THEN
    RAISE EXCEPTION '%', says USING ERRCODE = 'invalid_parameter_value';
  END IF;
END
$function$

function pii_vault.require_keys_in_use(text[],text[],integer[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.require_keys_in_use(purposes text[], its_fields text[], versions integer[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF purposes IS NULL OR its_fields IS NULL OR versions IS NULL OR cardinality(purposes) > 1000
    OR cardinality(its_fields) <> cardinality(purposes) OR cardinality(versions) <> cardinality(purposes) THEN
    RAISE EXCEPTION 'not a list of keys' USING ERRCODE = '22023';
  END IF;
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('pii_vault.keys in use', 0));
  IF EXISTS (
    SELECT FROM unnest(purposes, its_fields, versions) AS used (purpose, field, version)
    JOIN pii_vault.keys AS key ON key.purpose = used.purpose AND key.field = used.field AND key.version = used.version
    WHERE key.status IN ('disabled', 'destroyed'))
  THEN
    RAISE EXCEPTION 'a key is not in use any more' USING ERRCODE = '55TV1';
  END IF;
END
$function$
  grant EXECUTE to tokenvault_store
  grant EXECUTE to tokenvault_worker

function pii_vault.seconds_until_fit(uuid,integer,interval,bigint,bigint,bigint,timestamp with time zone) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.seconds_until_fit(spender uuid, seconds integer, window_length interval, charged bigint, charge bigint, budget bigint, moment timestamp with time zone)
 RETURNS integer
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT coalesce(
    ceil(extract(epoch FROM min(leaves) FILTER (WHERE later + charge <= budget) - moment)),
    extract(epoch FROM window_length))::integer
  FROM (
    SELECT slot + make_interval(secs => seconds) + window_length AS leaves,
      sum(taken) OVER (ORDER BY slot DESC) - taken AS later -- what newer slots hold
    FROM (
      SELECT slot, sum(taken) AS taken FROM (
        SELECT slot, "values" AS taken FROM pii_vault.spending
        WHERE principal = spender AND slot_seconds = seconds
          AND slot > moment - window_length - make_interval(secs => seconds)
        UNION ALL SELECT date_bin(make_interval(secs => seconds), moment, 'epoch'), charged
      ) AS stored_and_charged GROUP BY slot
    ) AS slots
  ) AS ends
$function$

function pii_vault.settle_redrives(uuid[],text[],integer[],integer[],integer[]) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.settle_redrives(ids uuid[], reasons text[], stored integer[], details integer[], quarantined integer[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  settled integer;
BEGIN
  PERFORM pii_vault.require(cardinality(ids) <= 10000 AND cardinality(reasons) = cardinality(ids)
    AND cardinality(stored) = cardinality(ids) AND cardinality(details) = cardinality(ids)
    AND cardinality(quarantined) = cardinality(ids), 'each id has one outcome');
  PERFORM pii_vault.require((SELECT coalesce(bool_and(coalesce(reason ~ '^[a-z0-9_]{1,100}$', true)
      AND coalesce(rows_stored BETWEEN 0 AND 1000000 AND details_stored BETWEEN 0 AND rows_stored
        AND rows_quarantined BETWEEN -1 AND 1000000, false)), true)
    FROM unnest(reasons, stored, details, quarantined) AS outcome (reason, rows_stored, details_stored, rows_quarantined)),
    'an outcome is not possible');

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
    details_stored = delivery.details_stored + added.details,
    rows_quarantined = delivery.rows_quarantined + added.quarantined
  FROM (
    SELECT entry.sent_on, entry.message_id, sum(outcome.stored) AS stored, sum(outcome.details) AS details,
      sum(outcome.quarantined) AS quarantined
    FROM unnest(ids, stored, details, quarantined) AS outcome (id, stored, details, quarantined)
    JOIN pii_vault.quarantine AS entry ON entry.id = outcome.id
    GROUP BY entry.sent_on, entry.message_id
  ) AS added
  WHERE delivery.sent_on = added.sent_on AND delivery.message_id = added.message_id
    AND (added.stored <> 0 OR added.quarantined <> 0);
END
$function$
  grant EXECUTE to tokenvault_worker

function pii_vault.signing_key_version() owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.signing_key_version()
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RETURN coalesce((SELECT max(key_version) FROM pii_vault.signing_hand_overs), 1);
END
$function$
  grant EXECUTE to tokenvault_api
  grant EXECUTE to tokenvault_privacy

function pii_vault.take_redrives(integer) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.take_redrives(max_entries integer)
 RETURNS TABLE(id uuid, message_id text, data_key_version integer, sealed bytea, sent_on date)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT pii_vault.require(max_entries BETWEEN 1 AND 10000, 'max_entries is from 1 to 10000');
  WITH locked AS MATERIALIZED (
    SELECT * FROM pii_vault.quarantine AS entry WHERE entry.state = 'redrive_requested'
    ORDER BY entry.created_at, entry.id LIMIT max_entries FOR UPDATE SKIP LOCKED
  )
  SELECT counted.id, counted.message_id, counted.data_key_version, counted.sealed, counted.sent_on
  FROM (
    SELECT locked.*, sum(octet_length(locked.sealed)) OVER (ORDER BY locked.created_at, locked.id) AS bytes FROM locked
  ) AS counted
  WHERE counted.bytes <= 4194304 OR counted.bytes = octet_length(counted.sealed)
$function$
  grant EXECUTE to tokenvault_worker

function pii_vault.token_id_of(text,text,text) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.token_id_of(token text, field text, format text)
 RETURNS uuid
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT CASE format
    WHEN 'uuid' THEN CASE WHEN token ~ '^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' THEN token::uuid END
    WHEN 'inet' THEN CASE WHEN token ~ '^f[cd][0-9a-f]{2}:[0-9a-f:]+(/128)?$' AND pg_input_is_valid(token, 'inet')
      THEN encode(substr(inet_send(token::inet), 5), 'hex')::uuid END
    ELSE CASE WHEN starts_with(token, field || '_v') AND substr(token, length(field) + 3) ~ '^[1-9][0-9]*_[A-Za-z0-9_-]+$'
        AND length(token) - strpos(substr(token, length(field) + 3), '_') = length(field) + 24 AND strpos('AQgw', right(token, 1)) > 0
      THEN encode(decode(translate(right(token, 22), '-_', '+/') || '==', 'base64'), 'hex')::uuid END
  END
$function$

function pii_vault.tokens_of_no_other(text[],text,text) owner tokenvault_owner
CREATE OR REPLACE FUNCTION pii_vault.tokens_of_no_other(tokens text[], column_name text, column_type text)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$

extension plpgsql
