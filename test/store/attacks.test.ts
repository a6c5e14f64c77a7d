import t from 'tap'
import type { LoginRole } from '../../src/store/setup/role-passwords.ts'
import { foldSubtreeRoots, leafHash, treeHead } from '../helpers/evidence/merkle-tree.ts'
import { connectTo, createVaultDatabase, withLogin } from '../helpers/postgres/vault-database.ts'

const denied = { code: '42501' }
/** Statements that each role, logged in, is refused with insufficient_privilege. */
const refused: Record<LoginRole, readonly string[]> = {
  tokenvault_worker: [
    'SELECT FROM pii_vault.originals',
    'SELECT FROM pii_vault.quarantine',
    'SELECT FROM user_logins',
    `INSERT INTO pii_vault.originals VALUES (gen_random_uuid(), 'ip', 1, 1, '') RETURNING sealed`,
    `INSERT INTO pii_vault.originals VALUES (gen_random_uuid(), 'ip', 1, 1, '')
       ON CONFLICT (token_id) DO UPDATE SET sealed = excluded.sealed`,
    `COPY pii_vault.originals TO STDOUT`,
    'UPDATE pii_vault.originals SET sealed = NULL',
    'UPDATE user_logins SET user_id = NULL',
    'UPDATE ingest.receipts SET rows_stored = 0',
    'UPDATE pii_vault.keys SET wrapped = NULL',
    'DELETE FROM pii_vault.originals',
    'DELETE FROM pii_vault.quarantine',
    'DELETE FROM ingest.receipts',
    'DELETE FROM user_logins',
    'TRUNCATE pii_vault.originals',
    'TRUNCATE user_logins',
    'SELECT FROM pii_vault.audit_log',
    'SELECT FROM pii_vault.audit_head',
    'SELECT FROM pii_vault.audit_events',
    `SELECT pii_vault.append_audit(ARRAY['{}'::bytea])`,
    `SELECT pii_vault.admit_actions('{"principals": [], "actions": []}')`,
    `SELECT pii_vault.commit_plain_actions('{"principals": [], "actions": []}', '{}')`,
    'SELECT pii_vault.index_audit(1)',
    'SELECT FROM pii_vault.audit_blocks',
    'SELECT FROM pii_vault.approvals',
    'SELECT FROM pii_vault.suspensions',
    `INSERT INTO pii_vault.quarantine (id, message_id, event_index, reason, data_key_version, sealed, sent_on, state)
       VALUES (gen_random_uuid(), 'm', 0, 'r', 1, '', current_date, 'discarded')`,
    `SELECT pii_vault.request_redrive('{}')`,
    `SELECT pii_vault.discard_quarantined('{}')`,
    'SELECT FROM ingest.user_logins_default',
    'CREATE TABLE ingest.mine ()',
    'DROP TABLE ingest.receipts',
  ],
  tokenvault_privacy: [
    'SELECT FROM pii_vault.originals',
    'SELECT FROM pii_vault.keys',
    'SELECT FROM pii_vault.quarantine',
    'SELECT FROM pii_vault.audit_log',
    'INSERT INTO user_logins DEFAULT VALUES',
    'UPDATE user_logins SET user_id = NULL',
    'TRUNCATE user_logins',
    'INSERT INTO pii_vault.exports SELECT * FROM pii_vault.exports',
    'TRUNCATE pii_vault.legal_holds',
    'DELETE FROM user_logins',
    'DELETE FROM pii_vault.originals',
    'INSERT INTO pii_vault.erased_tokens VALUES (NULL, 1)',
    `SELECT pii_vault.erase_originals(1, 'ip', '{}', '{}')`,
    `SELECT pii_vault.count_erased(1, 'row', NULL, '[]')`,
  ],
  tokenvault_store: [
    'SELECT FROM pii_vault.originals',
    `SELECT sealed FROM pii_vault.originals LIMIT 1`,
    `INSERT INTO pii_vault.originals VALUES (gen_random_uuid(), 'ip', 1, 1, '') RETURNING sealed`,
    `INSERT INTO pii_vault.originals VALUES (gen_random_uuid(), 'ip', 1, 1, '')
       ON CONFLICT (token_id) DO UPDATE SET sealed = excluded.sealed`,
    'INSERT INTO pii_vault.originals SELECT * FROM pii_vault.originals',
    `MERGE INTO pii_vault.originals AS o USING (SELECT gen_random_uuid() AS id) AS n ON o.token_id = n.id
       WHEN NOT MATCHED THEN INSERT (token_id, field, token_key_version, data_key_version, sealed) VALUES (n.id, 'ip', 1, 1, '')`,
    'COPY pii_vault.originals TO STDOUT',
    'UPDATE pii_vault.originals SET sealed = NULL',
    'DELETE FROM pii_vault.originals',
    'TRUNCATE pii_vault.originals',
    'DO $$BEGIN LOCK TABLE pii_vault.originals IN SHARE MODE; END$$',
    'SELECT FROM pii_vault.keys',
    'UPDATE pii_vault.keys SET wrapped = NULL',
    'SELECT FROM pii_vault.quarantine',
    'SELECT FROM pii_vault.audit_log',
    'SELECT FROM pii_vault.audit_head',
    'SELECT FROM pii_vault.audit_blocks',
    'SELECT FROM pii_vault.approvals',
    'SELECT FROM pii_vault.suspensions',
    `SELECT pii_vault.append_audit(ARRAY['{}'::bytea])`,
    `SELECT pii_vault.commit_plain_actions('{"principals": [], "actions": []}', '{}')`,
    `SELECT pii_vault.claim_idempotency('i', 's', 'k', 'f')`,
    `SELECT pii_vault.request_redrive('{}')`,
    'SELECT FROM user_logins',
    `INSERT INTO user_logins VALUES ('u', 'd', 'ip', 'id', NULL, 1, current_date)`,
    'SELECT FROM ingest.receipts',
    'SELECT ingest.ensure_partitions(ARRAY[current_date])',
    'CREATE TABLE pii_vault.mine ()',
    'CREATE TABLE public.mine ()',
    'CREATE TEMPORARY TABLE mine ()',
    'ALTER TABLE pii_vault.originals DISABLE TRIGGER ALL',
    'SET ROLE tokenvault_api',
    'SET ROLE tokenvault_owner',
  ],
  tokenvault_api: [
    `INSERT INTO pii_vault.originals VALUES (gen_random_uuid(), 'ip', 1, 1, '')`,
    `INSERT INTO pii_vault.originals VALUES (gen_random_uuid(), 'ip', 1, 1, '') ON CONFLICT DO NOTHING`,
    'COPY pii_vault.originals FROM STDIN',
    'SET ROLE tokenvault_store',
    'UPDATE pii_vault.originals SET sealed = NULL',
    'DELETE FROM pii_vault.originals',
    `INSERT INTO pii_vault.audit_log VALUES (0, '', sha256(''))`,
    `UPDATE pii_vault.audit_log SET event = ''`,
    'DELETE FROM pii_vault.audit_log',
    'TRUNCATE pii_vault.audit_log',
    'SELECT FROM pii_vault.audit_events',
    'SELECT FROM pii_vault.audit_head FOR UPDATE',
    'UPDATE pii_vault.audit_head SET tree_size = 0',
    'DELETE FROM pii_vault.audit_head',
    'DO $$BEGIN LOCK TABLE pii_vault.audit_log IN ROW SHARE MODE; END$$',
    `INSERT INTO pii_vault.audit_subtrees VALUES (8, 0, sha256(''))`,
    `INSERT INTO pii_vault.audit_blocks VALUES (0, 0, null, null, '{}', '', '{}')`,
    'DELETE FROM pii_vault.audit_blocks',
    'UPDATE pii_vault.audit_blocks_head SET next_sequence = 1',
    'SELECT FROM pii_vault.spending',
    'DELETE FROM pii_vault.spending',
    'UPDATE pii_vault.spending SET "values" = 0',
    'DELETE FROM pii_vault.suspensions',
    `UPDATE pii_vault.approvals SET state = 'approved'`,
    'DELETE FROM pii_vault.approvals',
    'SELECT FROM pii_vault.idempotency',
    'DELETE FROM pii_vault.idempotency',
    `SELECT pii_vault.apply_change('{}', '{}', NULL, now())`,
    `SELECT pii_vault.apply_charges('{}', now())`,
    `SELECT pii_vault.check_change('{}', NULL, now())`,
    `SELECT pii_vault.read_standings('[]', now())`,
    'ALTER TABLE pii_vault.audit_log DISABLE TRIGGER ALL',
    'DROP TRIGGER append_only ON pii_vault.audit_log',
    `INSERT INTO pii_vault.checkpoints VALUES (0, '')`,
    'UPDATE pii_vault.quarantine SET sealed = NULL',
    `UPDATE pii_vault.quarantine SET state = 'quarantined'`,
    'DELETE FROM pii_vault.quarantine',
    'SELECT pii_vault.take_redrives(1)',
    `SELECT pii_vault.settle_redrives('{}', '{}', '{}', '{}', '{}')`,
    'SELECT FROM user_logins',
    'SELECT FROM ingest.receipts',
    `INSERT INTO pii_vault.keys VALUES ('token', 'x', 1, 'active', '', '')`,
    'UPDATE pii_vault.keys SET wrapped = NULL',
    'SET ROLE tokenvault_owner',
    `SET session_replication_role = 'replica'`,
  ],
  tokenvault_analyst: [
    'SELECT FROM pii_vault.originals',
    'SELECT FROM pii_vault.keys',
    'SELECT FROM pii_vault.quarantine',
    'SELECT pii_vault.take_redrives(1)',
    'SELECT FROM pii_vault.audit_events',
    `SELECT pii_vault.append_audit(ARRAY['{}'::bytea])`,
    'SELECT FROM ingest.receipts',
    'SELECT FROM ingest.user_logins_default',
    'SELECT ingest.ensure_partitions(ARRAY[current_date])',
    'SELECT ingest.drop_expired_delivery_records()',
    'SELECT FROM tokenvault_migrations.kysely_migration',
    `INSERT INTO user_logins VALUES ('x')`,
    'UPDATE user_logins SET user_id = NULL',
    'DELETE FROM user_logins',
    'DO $$BEGIN LOCK TABLE user_logins IN ROW SHARE MODE; END$$',
    'CREATE TABLE public.mine ()',
    'CREATE TABLE mine AS SELECT FROM user_logins',
    'CREATE TEMPORARY TABLE mine ()',
    'CREATE VIEW public.mine AS SELECT 1',
    'CREATE SCHEMA mine',
    'CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS $$SELECT 1$$',
    'CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS $$SELECT 1$$',
    'CREATE TYPE public.mine AS (x int)',
    'CREATE EXTENSION pgcrypto',
    'CREATE DATABASE mine',
    'CREATE ROLE mine',
    'SET ROLE tokenvault_owner',
    'SET ROLE tokenvault_api',
    `COPY user_logins TO PROGRAM 'cat'`,
    `COPY user_logins TO '/tmp/tokenvault-stolen'`,
    `SELECT pg_read_file('postgresql.conf')`,
    'SELECT FROM pg_authid',
    'SELECT FROM pg_statistic',
    'ALTER VIEW duplicate_ips SET (security_invoker = on)',
    'ALTER ROLE tokenvault_analyst CREATEROLE',
    "ALTER SYSTEM SET log_statement = 'all'",
  ],
  tokenvault_auditor: [
    'SELECT FROM pii_vault.originals',
    'SELECT FROM pii_vault.keys',
    'SELECT FROM pii_vault.quarantine',
    'SELECT FROM user_logins',
    'SELECT FROM duplicate_ips',
    'SELECT FROM ingest.receipts',
    `SELECT pii_vault.append_audit(ARRAY['{}'::bytea])`,
    `SELECT pii_vault.admit_actions('{"principals": [], "actions": []}')`,
    'SELECT pii_vault.index_audit(1)',
    `SELECT pii_vault.insert_checkpoint(0, '')`,
    `SELECT pii_vault.claim_idempotency('i', 's', 'k', 'f')`,
    'SELECT FROM pii_vault.spending',
    'SELECT FROM pii_vault.approvals',
    'SELECT FROM pii_vault.suspensions',
    'SELECT FROM pii_vault.idempotency',
    'DELETE FROM pii_vault.audit_log',
    'DELETE FROM pii_vault.audit_subtrees',
    'DELETE FROM pii_vault.audit_blocks',
    'UPDATE pii_vault.audit_head SET tree_size = 0',
    'SELECT FROM pii_vault.audit_head FOR SHARE',
    `INSERT INTO pii_vault.checkpoints VALUES (0, '')`,
    'CREATE TEMPORARY TABLE mine ()',
  ],
}

/** What Postgres lets everybody do, and no analyst or auditor has any business doing. */
const refusedToReaders: readonly string[] = [
  'SELECT lo_create(0)',
  'SELECT lo_creat(-1)',
  `SELECT lo_from_bytea(0, 'x')`,
  `SELECT lo_import('/etc/passwd')`,
  'SELECT lo_open(1, 1)',
  'SELECT lo_get(1)',
  'SELECT lo_unlink(1)',
  `SELECT pg_advisory_lock(hashtextextended('tokenvault/migrate', 0))`,
  `SELECT pg_try_advisory_lock_shared(1, 2)`,
  `SELECT pg_advisory_xact_lock(n) FROM generate_series(1, 10) AS n`,
  `SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))`,
  'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()',
  'SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()',
  'CREATE TEMPORARY TABLE mine ()',
  'CREATE TEMPORARY SEQUENCE mine',
  'CREATE TEMPORARY VIEW mine AS SELECT 1',
  'SELECT 1 AS x INTO TEMPORARY mine',
  'CREATE TABLE public.mine ()',
  'CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS $$SELECT 1$$',
  'CREATE SCHEMA mine',
  'CREATE PUBLICATION mine',
  'CREATE SUBSCRIPTION mine CONNECTION $$$$ PUBLICATION mine',
  'CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION pii_vault.refuse_change()',
  `COPY (SELECT 1) TO PROGRAM 'cat'`,
  `COPY (SELECT 1) TO '/tmp/tokenvault-stolen'`,
  `SELECT pg_read_file('postgresql.conf')`,
  `SELECT pg_read_binary_file('PG_VERSION')`,
  `SELECT pg_stat_file('PG_VERSION')`,
  `SELECT pg_ls_dir('.')`,
  'SELECT pg_ls_logdir()',
  'SELECT pg_switch_wal()',
  'SELECT pg_reload_conf()',
  'SELECT pg_stat_reset()',
  'SELECT FROM pg_authid',
  'SELECT subconninfo FROM pg_subscription',
  'SELECT FROM pg_largeobject',
  'SELECT FROM pg_hba_file_rules',
  'SELECT FROM pg_backend_memory_contexts',
  'CHECKPOINT',
  "ALTER SYSTEM SET log_statement = 'all'",
  'ALTER ROLE CURRENT_USER CONNECTION LIMIT -1',
  'ALTER ROLE CURRENT_USER SET temp_file_limit = -1',
  'SET temp_file_limit = -1',
  `SET log_statement = 'all'`,
  'SET ROLE tokenvault_owner',
]

t.test('each role, logged in, is refused what it has no business doing', async t => {
  const vault = await createVaultDatabase(t)
  for (const [role, own] of Object.entries(refused)) {
    const client = await vault.connect(role as LoginRole)
    const isReader = role === 'tokenvault_analyst' || role === 'tokenvault_auditor'
    for (const statement of isReader ? [...own, ...refusedToReaders] : own)
      await t.rejects(client.query(statement), denied, `${role}: ${statement}`)
  }
})

t.test('each role, logged in, can do its work', async t => {
  const vault = await createVaultDatabase(t)
  const allowed: Record<LoginRole, readonly string[]> = {
    tokenvault_worker: [
      'SELECT ingest.ensure_partitions(ARRAY[current_date])',
      `INSERT INTO user_logins VALUES ('u', 'd', 'ip', 'id', NULL, 1, current_date)`,
      `INSERT INTO ingest.receipts VALUES (current_date, 'm', 1, 0) RETURNING message_id`,
      `INSERT INTO pii_vault.originals VALUES (gen_random_uuid(), 'ip', 1, 1, '') ON CONFLICT DO NOTHING`,
      `INSERT INTO pii_vault.quarantine VALUES (gen_random_uuid(), 'm', 0, 'r', 1, '', current_date)`,
      'SELECT FROM pii_vault.keys',
      'SELECT ingest.drop_expired_delivery_records()',
    ],
    tokenvault_store: [
      `INSERT INTO pii_vault.originals VALUES (gen_random_uuid(), 'ip', 1, 1, '') ON CONFLICT DO NOTHING`,
      `INSERT INTO pii_vault.originals (token_id, field, token_key_version, data_key_version, sealed)
         VALUES (gen_random_uuid(), 'ip', 1, 1, '')`,
    ],
    tokenvault_privacy: [
      'SELECT pii_vault.lock_erasures()',
      'SELECT FROM pii_vault.erasures',
      `SELECT pii_vault.erase_person('nobody', '{ip}', '{masked_ip}', '{}', false, true)`,
      'SELECT FROM user_logins, pii_vault.exports, pii_vault.legal_holds',
      `INSERT INTO pii_vault.legal_holds VALUES ('AAAAAAAAAAAAAAAAAAAAAA', current_date, 'litigation')`,
      'DELETE FROM pii_vault.legal_holds',
    ],
    tokenvault_api: [
      'SELECT FROM pii_vault.keys',
      'SELECT FROM pii_vault.originals',
      `SELECT pii_vault.append_audit(ARRAY['{}'::bytea])`,
      `SELECT pii_vault.commit_plain_actions('{"principals": [{"issuer": "i", "subject": "s"}], "actions": [{"principal": 0}]}',
         ARRAY['{}'::bytea])`,
      'SELECT pii_vault.index_audit(1)',
      `SELECT pii_vault.insert_checkpoint(1, '')`,
      `SELECT pii_vault.claim_idempotency('i', 's', 'k', 'f')`,
      'SELECT FROM pii_vault.audit_log, pii_vault.audit_head, pii_vault.audit_subtrees, pii_vault.checkpoints',
      'SELECT FROM pii_vault.audit_blocks, pii_vault.audit_blocks_head, pii_vault.approvals, pii_vault.suspensions',
    ],
    tokenvault_analyst: ['SELECT FROM user_logins', 'SELECT FROM duplicate_ips', 'SELECT FROM duplicate_devices'],
    tokenvault_auditor: [
      'SELECT FROM pii_vault.audit_log',
      'SELECT FROM pii_vault.audit_events',
      'SELECT FROM pii_vault.audit_head',
      'SELECT FROM pii_vault.audit_subtrees, pii_vault.audit_blocks, pii_vault.audit_blocks_head',
      'SELECT FROM pii_vault.checkpoints',
    ],
  }
  for (const [role, statements] of Object.entries(allowed)) {
    const client = await vault.connect(role as LoginRole)
    for (const statement of statements) await t.resolves(client.query(statement), `${role}: ${statement}`)
  }
})

t.test('nobody else of the cluster can even connect', async t => {
  const { adminUrl, connect, name } = await createVaultDatabase(t)
  const admin = await connect()
  await admin.query(`CREATE ROLE stranger_${name} LOGIN PASSWORD 'stranger'`)
  t.teardown(async () => (await connectTo(t, adminUrl)).query(`DROP ROLE stranger_${name}`).catch(() => {}))
  await t.rejects(connectTo(t, withLogin(adminUrl, `stranger_${name}`, 'stranger')), denied)
})

t.test(
  'analyst and auditor reach no other database of the cluster that has everybody in it, and read no statement of others',
  async t => {
    const vault = await createVaultDatabase(t)
    for (const role of ['tokenvault_analyst', 'tokenvault_auditor'] as const) {
      for (const database of ['postgres', 'template1']) {
        const url = new URL(vault.urlFor(role))
        url.pathname = `/${database}`
        await t.rejects(connectTo(t, url.href), denied, `${role}: ${database}`)
      }
      const reader = await vault.connect(role)
      const { rows } = await reader.query(
        `SELECT DISTINCT query FROM pg_stat_activity WHERE usename <> current_user AND query <> ''`,
      )
      t.strictSame(rows, [{ query: '<insufficient privilege>' }], role)
    }
  },
)

t.test('names that a caller puts in the way reach no function that runs as the owner', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  // More than any of our roles may do: its own schema, and temporary tables.
  await admin.query(`CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO tokenvault_api, tokenvault_worker;
    GRANT TEMPORARY ON DATABASE ${vault.name} TO tokenvault_api, tokenvault_worker`)
  const shadow = (schema: string) => `
    CREATE FUNCTION ${schema}.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$SELECT decode(repeat('00', 32), 'hex')$$;
    CREATE FUNCTION ${schema}.cardinality(bytea[]) RETURNS integer LANGUAGE sql AS 'SELECT 0';
    CREATE FUNCTION ${schema}.convert_from(bytea, text) RETURNS text LANGUAGE sql AS 'SELECT NULL::text';
    CREATE FUNCTION ${schema}.to_char(date, text) RETURNS text LANGUAGE sql AS $$SELECT 'hijacked'$$;
    CREATE FUNCTION ${schema}.concat(bytea, bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1';
    CREATE OPERATOR ${schema}.|| (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = ${schema}.concat);
    CREATE TABLE ${schema}.audit_head (tree_size bigint, frontier bytea[]);
    CREATE TABLE ${schema}.audit_log (sequence bigint, event bytea, leaf_hash bytea);
    CREATE TABLE ${schema}.audit_blocks (first_sequence bigint, last_sequence bigint);
    CREATE TABLE ${schema}.audit_blocks_head (next_sequence bigint);
    CREATE TABLE ${schema}.spending (principal uuid, slot_seconds integer, slot timestamptz, "values" bigint);
    CREATE TABLE ${schema}.suspensions (principal uuid, issuer text, subject text, suspended_at timestamptz);
    CREATE TABLE ${schema}.approvals (id uuid, state text);
    CREATE TABLE ${schema}.idempotency (principal uuid, key text, created_at timestamptz);
    CREATE FUNCTION ${schema}.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$SELECT '1970-01-01'::timestamptz$$;
    CREATE FUNCTION ${schema}.date_bin(interval, timestamptz, timestamptz) RETURNS timestamptz LANGUAGE sql AS 'SELECT $3';
    CREATE TABLE ${schema}.receipts (sent_on date, message_id text);
    CREATE TABLE ${schema}.pg_inherits (inhparent oid, inhrelid oid);`
  for (const schema of ['evil', 'pg_temp']) {
    const api = await vault.connect('tokenvault_api')
    await api.query(shadow(schema))
    await api.query(`SET search_path = ${schema}, pg_temp, pg_catalog, pii_vault, ingest`)
    await api.query(`SELECT pii_vault.append_audit(ARRAY['{"n":1}', '{"n":2}']::bytea[])`)
    await api.query(
      `SELECT pii_vault.commit_plain_actions($1, ARRAY['{"tokens":["AAAAAAAAAAAAAAAAAAAAAA"]}'::bytea])`,
      [{ principals: [{ issuer: 'i', subject: 's' }], actions: [{ principal: 0, values: 2, perDay: 5 }] }],
    )
    const { rows: admitted } = await api.query('SELECT pii_vault.admit_actions($1) AS admissions', [
      { principals: [{ issuer: 'i', subject: schema }], actions: [{ principal: 0, values: 6, perDay: 5 }] },
    ])
    t.match(admitted, [{ admissions: [{ code: 'budget_exceeded', window: 'day' }] }])
    await api.query(`SELECT pii_vault.append_audit($1)`, [Array(64).fill(Buffer.from('{"subject":"s"}'))])
    await api.query('SELECT pii_vault.index_audit(64)')
    await api.query(`SELECT pii_vault.insert_checkpoint(1, '${schema}')`)
    await api.query(`SELECT pii_vault.claim_idempotency('i', 's', '${schema}', 'f')`)
    const worker = await vault.connect('tokenvault_worker')
    if (schema === 'pg_temp') await worker.query(shadow(schema))
    await worker.query(`SET search_path = ${schema}, pg_temp, pg_catalog, pii_vault, ingest`)
    await worker.query('SELECT ingest.ensure_partitions(ARRAY[current_date])')
    await worker.query('SELECT ingest.drop_expired_delivery_records()')
  }
  const { rows } =
    await admin.query(`SELECT bool_and(leaf_hash = sha256('\\x00'::bytea || event)) AS honest, count(*)::int
    FROM pii_vault.audit_log`)
  t.strictSame(rows, [{ honest: true, count: 134 }])
  const { rows: kept } = await admin.query(`SELECT
    (SELECT bool_and(slot > now() - interval '2 hours') AND sum("values") = 8 FROM pii_vault.spending) AS spent,
    (SELECT count(*)::int FROM pii_vault.suspensions) AS suspended, (SELECT count(*)::int FROM pii_vault.audit_blocks WHERE cardinality(terms) > 0) AS named,
    (SELECT count(*)::int FROM pii_vault.idempotency) AS claims, (SELECT count(*)::int FROM pii_vault.checkpoints) AS notes`)
  t.strictSame(kept, [{ spent: true, suspended: 2, named: 2, claims: 2, notes: 1 }])
  const { rows: hijacked } = await admin.query(`SELECT relname FROM pg_class WHERE relname ~ 'hijacked'`)
  t.strictSame(hijacked, [])
})

t.test('settings that change how SQL is read do not change what is hashed', async t => {
  const vault = await createVaultDatabase(t)
  const event = Buffer.from('{}')
  for (const setting of ['standard_conforming_strings = off', `bytea_output = 'escape'`, 'array_nulls = off']) {
    const api = await vault.connect('tokenvault_api')
    // Half of the function is planned before the setting, half after it.
    await api.query('SELECT pii_vault.append_audit($1)', [[event]])
    await api.query(`SET ${setting}`)
    await api.query('SELECT pii_vault.append_audit($1)', [[event]])
  }
  const admin = await vault.connect()
  const { rows: log } = await admin.query('SELECT leaf_hash FROM pii_vault.audit_log')
  t.strictSame(
    log.map(row => row.leaf_hash),
    Array(6).fill(leafHash(event)),
  )
  const { rows } = await admin.query('SELECT frontier FROM pii_vault.audit_head')
  t.same(foldSubtreeRoots(rows[0].frontier), treeHead(Array(6).fill(event)))
})

t.test('a role that only reads cannot hold up ingestion by taking the locks it can name', async t => {
  const vault = await createVaultDatabase(t)
  const analyst = await vault.connect('tokenvault_analyst')
  await analyst.query('BEGIN; LOCK TABLE user_logins IN ACCESS SHARE MODE')
  const worker = await vault.connect('tokenvault_worker')
  await worker.query(`SET statement_timeout = '10s'`)
  await worker.query('SELECT ingest.ensure_partitions(ARRAY[current_date])')
  await t.resolves(worker.query(`INSERT INTO ingest.receipts VALUES (current_date, 'm', 1, 0)`))
  await t.resolves(worker.query(`INSERT INTO user_logins VALUES ('u', 'd', 'ip', 'id', NULL, 1, current_date)`))
})
