import t from 'tap'
import { loginRoles } from '../../../src/store/setup/role-passwords.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'

/**
 * What each role may do, object by object, as the server itself answers: rights by membership and by PUBLIC count.
 * An object that stands nowhere here is one that nobody may touch; a new one must be given a row.
 */
const declared: Record<string, Record<string, string>> = {
  database: {
    worker: 'CONNECT',
    api: 'CONNECT',
    analyst: 'CONNECT',
    auditor: 'CONNECT',
    store: 'CONNECT',
    privacy: 'CONNECT',
  },

  'schema analyst': { worker: 'USAGE', analyst: 'USAGE' },
  'schema ingest': { worker: 'USAGE' },
  'schema pii_vault': { worker: 'USAGE', api: 'USAGE', auditor: 'USAGE', store: 'USAGE', privacy: 'USAGE' },
  'schema public': {
    PUBLIC: 'USAGE',
    worker: 'USAGE',
    api: 'USAGE',
    analyst: 'USAGE',
    auditor: 'USAGE',
    store: 'USAGE',
    privacy: 'USAGE',
  },
  'schema tokenvault_migrations': {},

  'table analyst.ip_networks': { worker: 'INSERT', analyst: 'SELECT' },
  'table analyst.login_details': { worker: 'INSERT', analyst: 'SELECT' },
  'table ingest.login_details_<month>': {},
  'table ingest.login_details_default': {},
  'table ingest.receipts': { worker: 'SELECT INSERT' },
  'table ingest.receipts_<day>': {},
  'table ingest.user_logins_<month>': {},
  'table ingest.user_logins_default': {},
  'table pii_vault.approvals': { api: 'SELECT' },
  'table pii_vault.audit_blocks': { api: 'SELECT', auditor: 'SELECT' },
  'table pii_vault.audit_blocks_head': { api: 'SELECT', auditor: 'SELECT' },
  'table pii_vault.audit_events': { auditor: 'SELECT' },
  'table pii_vault.audit_head': { api: 'SELECT', auditor: 'SELECT' },
  'table pii_vault.audit_log': { api: 'SELECT', auditor: 'SELECT' },
  'table pii_vault.audit_subtrees': { api: 'SELECT', auditor: 'SELECT' },
  'table pii_vault.checkpoints': { api: 'SELECT', auditor: 'SELECT' },
  'table pii_vault.erased_counts': { api: 'SELECT' },
  'table pii_vault.erased_tokens': { api: 'SELECT' },
  'table pii_vault.erasure_completions': { api: 'SELECT' },
  'table pii_vault.erasure_head': {},
  'table pii_vault.erasures': { worker: 'SELECT', api: 'SELECT', auditor: 'SELECT', privacy: 'SELECT' },
  'table pii_vault.exports': { privacy: 'SELECT' },
  'table pii_vault.fields': { worker: 'SELECT', api: 'SELECT', auditor: 'SELECT' },
  'table pii_vault.idempotency': {},
  'table pii_vault.key_recovery': { api: 'SELECT' },
  'table pii_vault.keys': { worker: 'SELECT', api: 'SELECT' },
  'table pii_vault.legal_holds': { privacy: 'SELECT INSERT UPDATE DELETE' },
  'table pii_vault.originals': { worker: 'INSERT', api: 'SELECT', store: 'INSERT' },
  'table pii_vault.quarantine': { worker: 'INSERT of some columns', api: 'SELECT' },
  'table pii_vault.refusals': { auditor: 'SELECT' },
  'table pii_vault.spending': {},
  'table pii_vault.suspensions': { api: 'SELECT' },
  'table pii_vault.taken_without_approval': {},
  'table pii_vault.token_columns': { auditor: 'SELECT' },
  'table analyst.archived_months': { analyst: 'SELECT' },
  'table analyst.logins': { analyst: 'SELECT' },
  'table pii_vault.archived_tokens': {},
  'table pii_vault.archives': {},
  'table pii_vault.dropped_months': {},
  'table pii_vault.expired_originals': {},
  'table pii_vault.honey_meetings': { api: 'SELECT' },
  'table pii_vault.honey_tokens': { api: 'SELECT INSERT UPDATE of some columns' },
  'table pii_vault.key_followers': {},
  'table pii_vault.signing_hand_overs': { api: 'SELECT', auditor: 'SELECT', privacy: 'SELECT' },
  'table pii_vault.token_aliases': { worker: 'INSERT', api: 'SELECT', store: 'INSERT' },
  'table pii_vault.token_moves': { worker: 'SELECT', api: 'SELECT', store: 'SELECT' },
  'table public.duplicate_devices': { analyst: 'SELECT' },
  'table public.duplicate_ips': { analyst: 'SELECT' },
  'table public.user_logins': { worker: 'INSERT', analyst: 'SELECT', privacy: 'SELECT' },
  'table tokenvault_migrations.kysely_migration': {},
  'table tokenvault_migrations.kysely_migration_lock': {},

  'function ingest.drop_expired_delivery_records()': { worker: 'EXECUTE' },
  'function ingest.ensure_partitions(date[])': { worker: 'EXECUTE' },
  'function pii_vault.admit_actions(jsonb)': { api: 'EXECUTE' },
  'function pii_vault.append_actions(bytea[],jsonb)': { api: 'EXECUTE' },
  'function pii_vault.append_audit(bytea[])': { api: 'EXECUTE', privacy: 'EXECUTE' },
  'function pii_vault.apply_change(jsonb,jsonb,pii_vault.standing,timestamp with time zone)': {},
  'function pii_vault.apply_charges(pii_vault.standing[],timestamp with time zone)': {},
  'function pii_vault.audit_keys(integer[])': { api: 'EXECUTE' },
  'function pii_vault.block_entries(integer[],bytea,bigint[])': { auditor: 'EXECUTE' },
  'function pii_vault.bound_transaction()': {},
  'function pii_vault.build_audit_block(bigint,bigint)': { auditor: 'EXECUTE' },
  'function pii_vault.compare_audit_blocks(bigint,bigint)': { auditor: 'EXECUTE' },
  'function pii_vault.check_allowances(pii_vault.standing,jsonb)': {},
  'function pii_vault.check_change(jsonb,pii_vault.standing,timestamp with time zone)': {},
  'function pii_vault.check_charge(pii_vault.standing,bigint,bigint,bigint,timestamp with time zone)': {},
  'function pii_vault.check_plain(pii_vault.standing[],jsonb)': {},
  'function pii_vault.claim_idempotency(text,text,text,text)': { api: 'EXECUTE' },
  'function pii_vault.colliding_tokens(uuid[],text[],integer[],smallint[])': { worker: 'EXECUTE', store: 'EXECUTE' },
  'function pii_vault.commit_plain_actions(jsonb,bytea[])': { api: 'EXECUTE' },
  'function pii_vault.complete_idempotency(text,text,text,integer,text)': { api: 'EXECUTE' },
  'function pii_vault.count_without_original(text,uuid[])': { auditor: 'EXECUTE' },
  'function pii_vault.count_erased(bigint,text,text,jsonb)': {},
  'function pii_vault.erase_originals(bigint,text,uuid[],jsonb)': {},
  'function pii_vault.erase_person(text,text[],text[],text[],boolean,boolean)': { privacy: 'EXECUTE' },
  'function pii_vault.erase_quarantined(uuid[])': { privacy: 'EXECUTE' },
  'function pii_vault.lock_erasures()': { privacy: 'EXECUTE' },
  'function pii_vault.record_erasure(bigint,text,uuid,timestamp with time zone,text,bytea,text[])': {
    privacy: 'EXECUTE',
  },
  'function pii_vault.erased_token_id(text,text,text)': {},
  'function pii_vault.tokens_of_no_other(text[],text,text)': {},
  'function pii_vault.event_terms(bytea)': { auditor: 'EXECUTE' },
  'function pii_vault.find_audit_blocks(integer[],integer[],bigint,bigint,integer)': { api: 'EXECUTE' },
  'function pii_vault.fold_refusal(pii_vault.refusals)': {},
  'function pii_vault.fold_refusals(boolean)': { api: 'EXECUTE' },
  'function pii_vault.index_audit(integer)': { api: 'EXECUTE' },
  'function pii_vault.insert_checkpoint(bigint,text)': { api: 'EXECUTE' },
  'function pii_vault.preview_call(jsonb,pii_vault.standing,timestamp with time zone)': {},
  'function pii_vault.principal_id(text,text)': { api: 'EXECUTE' },
  'function pii_vault.read_standings(jsonb,timestamp with time zone)': {},
  'function pii_vault.reconcile_days()': { auditor: 'EXECUTE' },
  'function pii_vault.reconcile_networks(text[])': { auditor: 'EXECUTE' },
  'function pii_vault.reconcile_tokens(text[],text[])': { auditor: 'EXECUTE' },
  'function pii_vault.discard_quarantined(uuid[])': { api: 'EXECUTE' },
  'function pii_vault.follow_keys(uuid,text,bytea)': { worker: 'EXECUTE', api: 'EXECUTE' },
  'function pii_vault.meet_honey(bytea,uuid[],boolean)': { api: 'EXECUTE' },
  'function pii_vault.require_keys_in_use(text[],text[],integer[])': { worker: 'EXECUTE', store: 'EXECUTE' },
  'function pii_vault.signing_key_version()': { api: 'EXECUTE', privacy: 'EXECUTE' },
  'function pii_vault.token_id_of(text,text,text)': {},
  'function pii_vault.refuse_change()': {},
  'function pii_vault.release_idempotency(text,text,text)': { api: 'EXECUTE' },
  'function pii_vault.request_redrive(uuid[])': { api: 'EXECUTE' },
  'function pii_vault.require(boolean,text)': {},
  'function pii_vault.seconds_until_fit(uuid,integer,interval,bigint,bigint,bigint,timestamp with time zone)': {},
  'function pii_vault.settle_redrives(uuid[],text[],integer[],integer[],integer[])': { worker: 'EXECUTE' },
  'function pii_vault.take_redrives(integer)': { worker: 'EXECUTE' },
}

const ours = `nspname <> 'information_schema' AND nspname !~ '^pg_'`
const may = (kind: string, object: string, verb: string) => `has_${kind}_privilege(grantee, ${object}, '${verb}')`
const verbs = (kind: string, object: string, ...names: string[]) =>
  `concat_ws(' ', ${names.map(name => `CASE WHEN ${may(kind, object, name)} THEN '${name}' END`)})`
// A column may be granted where its table is not.
const columnVerbs = ['SELECT', 'INSERT', 'UPDATE', 'REFERENCES'].map(
  verb => `CASE WHEN ${may('table', 'c.oid', verb)} THEN '${verb}'
    WHEN has_any_column_privilege(grantee, c.oid, '${verb}') THEN '${verb} of some columns' END`,
)

const actual = `
  WITH grantees AS (SELECT unnest($1::text[]) AS grantee)
  SELECT 'database' AS object, grantee, ${verbs('database', 'current_database()', 'CREATE', 'CONNECT', 'TEMPORARY')} AS verbs FROM grantees
  UNION ALL
  SELECT 'schema ' || nspname, grantee, ${verbs('schema', 'oid', 'CREATE', 'USAGE')} FROM grantees, pg_namespace WHERE ${ours}
  UNION ALL
  SELECT 'table ' || nspname || '.' || regexp_replace(regexp_replace(relname, '_\\d{4}_\\d\\d_\\d\\d$', '_<day>'), '_\\d{4}_\\d\\d$', '_<month>'),
    grantee, concat_ws(' ', ${columnVerbs}, ${['DELETE', 'TRUNCATE', 'TRIGGER', 'MAINTAIN'].map(
      verb => `CASE WHEN ${may('table', 'c.oid', verb)} THEN '${verb}' END`,
    )})
  FROM grantees, pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE ${ours} AND relkind IN ('r', 'p', 'v', 'm', 'f')
  UNION ALL
  SELECT 'sequence ' || c.oid::regclass, grantee, ${verbs('sequence', 'c.oid', 'USAGE', 'SELECT', 'UPDATE')}
  FROM grantees, pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE ${ours} AND relkind = 'S'
  UNION ALL
  SELECT 'function ' || p.oid::regprocedure, grantee, ${verbs('function', 'p.oid', 'EXECUTE')}
  FROM grantees, pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE ${ours}`

t.test('every role may do what is declared, and nothing else, on every object there is', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  await admin.query('SELECT ingest.ensure_partitions(ARRAY[current_date])')
  const grantees = ['public', ...loginRoles]
  const { rows } = await admin.query<{ object: string; grantee: string; verbs: string }>(actual, [grantees])
  const found: Record<string, Record<string, string>> = {}
  for (const { object, grantee, verbs } of rows) {
    found[object] ??= {}
    const name = grantee === 'public' ? 'PUBLIC' : grantee.replace('tokenvault_', '')
    if (verbs !== '') found[object][name] = verbs
  }
  t.same(found, declared)
})

t.test('no login role has an attribute, a membership, an ownership or a default privilege beyond that', async t => {
  const admin = await (await createVaultDatabase(t)).connect()
  const { rows: attributes } = await admin.query(
    `SELECT rolname FROM pg_roles WHERE rolname = ANY ($1)
       AND rolcanlogin AND NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)`,
    [loginRoles],
  )
  t.equal(attributes.length, 6)
  const { rows: memberships } = await admin.query(
    'SELECT member::regrole FROM pg_auth_members WHERE member::regrole::text = ANY ($1) OR roleid::regrole::text = ANY ($1)',
    [loginRoles],
  )
  t.strictSame(memberships, [])
  const { rows: owned } = await admin.query(
    `SELECT relname FROM pg_class WHERE relowner::regrole::text = ANY ($1)
     UNION ALL SELECT proname FROM pg_proc WHERE proowner::regrole::text = ANY ($1)
     UNION ALL SELECT nspname FROM pg_namespace WHERE nspowner::regrole::text = ANY ($1)`,
    [loginRoles],
  )
  t.strictSame(owned, [])
  t.strictSame((await admin.query('SELECT * FROM pg_default_acl')).rows, [])
  const { rows: owner } = await admin.query(`SELECT rolcanlogin FROM pg_roles WHERE rolname = 'tokenvault_owner'`)
  t.strictSame(owner, [{ rolcanlogin: false }])
})

t.test('every function that runs as its owner pins its search path, pg_temp last', async t => {
  const admin = await (await createVaultDatabase(t)).connect()
  const { rows } = await admin.query(
    `SELECT p.oid::regprocedure::text AS function, proconfig[1] AS first FROM pg_proc p
     JOIN pg_namespace n ON n.oid = pronamespace WHERE ${ours} ORDER BY 1`,
  )
  t.ok(rows.length > 25, `${rows.length} functions`)
  for (const row of rows) t.equal(row.first, 'search_path=pg_catalog, pg_temp', row.function)
})
