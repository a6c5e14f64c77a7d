import t from 'tap'
import type { LoginRole } from '../../src/store/setup/role-passwords.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'

interface Tested {
  readonly role: LoginRole
  /** Arguments that are refused before anything is read or written. */
  readonly refused: readonly string[]
}

const issuerAndSubject = `'i', 's'`
const huge = (type: string, count = 100_001) => `array_fill(NULL::${type}, ARRAY[${count}])`

/**
 * Every function that runs with its owner's rights and takes arguments. What a caller gives must be bounded, and no text of
 * a caller's may become a pattern or SQL. A new function must be given a row.
 */
const tested: Readonly<Record<string, Tested>> = {
  'ingest.ensure_partitions(date[])': {
    role: 'tokenvault_worker',
    refused: [huge('date'), `'{infinity}'`, `'{-infinity}'`, `'{2001-01-01}'`, `ARRAY[current_date + 3]`],
  },
  // The events that it admits are appended by the same caller, and what it may take is what the same caller says.
  'pii_vault.admit_actions(jsonb)': { role: 'tokenvault_api', refused: [`'{"principals": {}}'`, `'{"actions": 1}'`] },
  'pii_vault.append_actions(bytea[],jsonb)': {
    role: 'tokenvault_api',
    refused: [
      `NULL, '[]'`,
      `ARRAY['{}'::bytea], NULL`,
      `ARRAY['{}'::bytea], '{}'`,
      `ARRAY['{}'::bytea], '[]'`,
      `ARRAY['{}'::bytea], '[{}]'`,
      `ARRAY['{}'::bytea], '[{"kind": "k", "at": "a", "requested": -1}]'`,
      `ARRAY['{}'::bytea], jsonb_build_array(jsonb_build_object('kind', repeat('k', 1025), 'at', 'a', 'requested', 1))`,
    ],
  },
  'pii_vault.meet_honey(bytea,uuid[],boolean)': {
    role: 'tokenvault_api',
    refused: [
      `NULL, ARRAY[gen_random_uuid()], false`,
      `'{}', ARRAY[gen_random_uuid()], false`,
      `'{"type": "detokenize", "issuer": "i", "subject": "s", "requestId": "r"}', ARRAY[gen_random_uuid()], false`,
      `'{"type": "honey", "issuer": "i", "subject": "s", "requestId": "r"}', '{}', false`,
      `'{"type": "honey", "issuer": "i", "subject": "s", "requestId": "r"}', ${huge('uuid', 10_001)}, false`,
    ],
  },
  'pii_vault.append_audit(bytea[])': {
    role: 'tokenvault_api',
    refused: ['NULL', huge('bytea'), `ARRAY['\\xff'::bytea]`],
  },
  'pii_vault.claim_idempotency(text,text,text,text)': {
    role: 'tokenvault_api',
    refused: [`${issuerAndSubject}, repeat('k', 1025), 'f'`, `${issuerAndSubject}, 'k', repeat('f', 1025)`],
  },
  'pii_vault.colliding_tokens(uuid[],text[],integer[],smallint[])': {
    role: 'tokenvault_worker',
    refused: [
      'NULL, NULL, NULL, NULL',
      `${huge('uuid')}, ${huge('text')}, ${huge('int')}, ${huge('smallint')}`,
      `ARRAY[gen_random_uuid()], '{}', '{}', '{}'`,
      `ARRAY[gen_random_uuid()], '{ip}', '{1}', NULL`,
    ],
  },
  'pii_vault.commit_plain_actions(jsonb,bytea[])': {
    role: 'tokenvault_api',
    refused: [`'{"actions": []}', ARRAY['{}'::bytea]`, `'{"actions": [{}]}', '{}'`],
  },
  'pii_vault.complete_idempotency(text,text,text,integer,text)': {
    role: 'tokenvault_api',
    refused: [
      `${issuerAndSubject}, 'k', 99, ''`,
      `${issuerAndSubject}, 'k', 600, ''`,
      `${issuerAndSubject}, 'k', NULL, ''`,
      `${issuerAndSubject}, 'k', 200, repeat('x', 4194305)`,
    ],
  },
  'pii_vault.count_without_original(text,uuid[])': {
    role: 'tokenvault_auditor',
    refused: [`'ip', NULL`, `'ip', '{}'`, `NULL, ARRAY[NULL::uuid]`, `'ip', ${huge('uuid')}`],
  },
  'pii_vault.discard_quarantined(uuid[])': { role: 'tokenvault_api', refused: ['NULL', huge('uuid')] },
  'pii_vault.erase_person(text,text[],text[],text[],boolean,boolean)': {
    role: 'tokenvault_privacy',
    refused: [
      `NULL, '{ip}', '{masked_ip}', '{}', false, true`,
      `repeat('u', 129), '{ip}', '{masked_ip}', '{}', false, true`,
      `'u', '{}', '{}', '{}', false, true`,
      `'u', '{ip}', '{user_id}', '{}', false, true`,
      `'u', '{ip}', ARRAY[NULL::text], '{}', false, true`,
      `'u', '{no_such_field}', '{masked_ip}', '{}', false, true`,
      `'u', '{ip}', '{masked_ip}', '{no_such_field}', false, true`,
      `'u', '{ip}', '{masked_ip}', '{}', NULL, true`,
    ],
  },
  'pii_vault.erase_quarantined(uuid[])': { role: 'tokenvault_privacy', refused: ['NULL', huge('uuid')] },
  'pii_vault.record_erasure(bigint,text,uuid,timestamp with time zone,text,bytea,text[])': {
    role: 'tokenvault_privacy',
    refused: [
      `7, repeat('p', 22), NULL, now(), 'n', sha256(''), '{}'`,
      `1, repeat('p', 21), NULL, now(), 'n', sha256(''), '{}'`,
      `1, repeat('p', 22), NULL, now(), repeat('n', 65537), sha256(''), '{}'`,
      `1, repeat('p', 22), NULL, now(), 'n', sha256(''), NULL`,
      `1, repeat('p', 22), NULL, now(), 'n', sha256(''), '{d}'`,
    ],
  },
  'pii_vault.follow_keys(uuid,text,bytea)': {
    role: 'tokenvault_worker',
    refused: [
      `NULL, 'worker', sha256('')`,
      `gen_random_uuid(), NULL, sha256('')`,
      `gen_random_uuid(), repeat('w', 33), sha256('')`,
      `gen_random_uuid(), 'worker', NULL`,
      `gen_random_uuid(), 'worker', '\\x00'`,
    ],
  },
  // One answer or the other, and at most 500 rows.
  'pii_vault.fold_refusals(boolean)': { role: 'tokenvault_api', refused: [] },
  'pii_vault.index_audit(integer)': { role: 'tokenvault_api', refused: ['0', '-1', '100001', 'NULL'] },
  'pii_vault.insert_checkpoint(bigint,text)': {
    role: 'tokenvault_api',
    refused: [`-1, ''`, `1, ''`, `NULL, ''`, `0, repeat('x', 8193)`, '0, NULL'],
  },
  'pii_vault.reconcile_networks(text[])': {
    role: 'tokenvault_auditor',
    refused: ['NULL', `'{}'`, `'{ip,ip}'`, `'{no_such_field}'`, `'{.*}'`, 'ARRAY[NULL]', `ARRAY['ip_v1_(A(x+x+)+y|B']`],
  },
  'pii_vault.reconcile_tokens(text[],text[])': {
    role: 'tokenvault_auditor',
    refused: [
      'NULL, NULL',
      `'{}', '{}'`,
      `'{ip}', '{}'`,
      `'{ip}', '{masked_ip,masked_device_id}'`,
      `'{ip,ip}', '{masked_ip,masked_device_id}'`,
      `'{ip,device_id}', '{masked_ip,masked_ip}'`,
      // A pattern that is slow only where a row matches would tell by its time what the row holds.
      `ARRAY['ip_v1_(A(x+x+)+y|B'], '{masked_ip}'`,
      `'{.*}', '{masked_ip}'`,
      `'{i%}', '{masked_ip}'`,
      `'{no_such_field}', '{masked_ip}'`,
      `ARRAY[NULL], '{masked_ip}'`,
      `'{ip}', '{user_id}'`,
      `'{ip}', '{locale}'`,
      `'{ip}', '{device_type}'`,
      `'{ip}', '{create_date}'`,
      `'{ip}', '{ctid}'`,
      `'{ip}', '{no_such_column}'`,
      `'{ip}', ARRAY[NULL]`,
      `'{ip}', ARRAY['masked_ip IS NOT NULL; --']`,
    ],
  },
  'pii_vault.release_idempotency(text,text,text)': { role: 'tokenvault_api', refused: [] },
  'pii_vault.request_redrive(uuid[])': { role: 'tokenvault_api', refused: ['NULL', huge('uuid')] },
  'pii_vault.require_keys_in_use(text[],text[],integer[])': {
    role: 'tokenvault_store',
    refused: [
      'NULL, NULL, NULL',
      `'{data}', '{ip}', NULL`,
      `'{data}', '{ip}', '{}'`,
      `${huge('text')}, ${huge('text')}, ${huge('int')}`,
    ],
  },
  'pii_vault.settle_redrives(uuid[],text[],integer[],integer[],integer[])': {
    role: 'tokenvault_worker',
    refused: [
      'NULL, NULL, NULL, NULL, NULL',
      `ARRAY[gen_random_uuid()], '{}', '{}', '{}', '{}'`,
      `ARRAY[gen_random_uuid()], '{"a value"}', '{0}', '{0}', '{0}'`,
      `ARRAY[gen_random_uuid()], ARRAY[repeat('x', 101)], '{0}', '{0}', '{0}'`,
      `ARRAY[gen_random_uuid()], '{NULL}', '{-1}', '{0}', '{0}'`,
      `ARRAY[gen_random_uuid()], '{NULL}', '{2000000000}', '{0}', '{0}'`,
      `ARRAY[gen_random_uuid()], '{NULL}', '{1}', '{2}', '{0}'`,
      `ARRAY[gen_random_uuid()], '{NULL}', '{1}', '{-1}', '{0}'`,
      `ARRAY[gen_random_uuid()], '{NULL}', '{1}', '{NULL}', '{0}'`,
      `ARRAY[gen_random_uuid()], '{NULL}', '{0}', '{0}', '{-2}'`,
      `ARRAY[gen_random_uuid()], '{NULL}', '{0}', '{0}', '{NULL}'`,
    ],
  },
  'pii_vault.take_redrives(integer)': { role: 'tokenvault_worker', refused: ['0', '-1', '10001', 'NULL'] },
}

/** Functions whose text has a pattern or makes SQL, and why no caller steers it. */
const patternsAndSql: readonly string[] = [
  'ingest.drop_expired_delivery_records()', // names of partitions, from the catalog
  'ingest.ensure_partitions(date[])', // names made of days, which are checked
  'pii_vault.erase_person(text,text[],text[],text[],boolean,boolean)', // columns of tokens, of the catalog
  'pii_vault.reconcile_networks(text[])', // the pattern is a constant
  'pii_vault.reconcile_tokens(text[],text[])', // fields with a key and columns of tokens; the pattern is a constant
  'pii_vault.record_erasure(bigint,text,uuid,timestamp with time zone,text,bytea,text[])', // the pattern is a constant
  'pii_vault.settle_redrives(uuid[],text[],integer[],integer[],integer[])', // the pattern is a constant
]

t.test('functions that run as the owner bound what callers give them', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const { rows } = await admin.query<{ name: string; takes: number; source: string }>(
    `SELECT oid::regprocedure::text AS name, pronargs AS takes, prosrc AS source FROM pg_proc
     WHERE prosecdef AND pronamespace::regnamespace::text IN ('public', 'analyst', 'ingest', 'pii_vault') ORDER BY 1`,
  )
  t.strictSame(
    rows.filter(({ takes }) => takes > 0).map(({ name }) => name),
    Object.keys(tested).sort(),
  )
  const suspicious = /[^<>=!]~|\bLIKE\b|\bILIKE\b|\bSIMILAR\b|\bregexp_|\bEXECUTE\b|to_tsquery|xpath|jsonb_path|@\?|@@/
  t.strictSame(
    rows.filter(({ source }) => suspicious.test(source)).map(({ name }) => name),
    patternsAndSql,
  )

  for (const [name, { role, refused }] of Object.entries(tested)) {
    const client = await vault.connect(role)
    for (const given of refused) {
      const called = `SELECT FROM ${name.slice(0, name.indexOf('('))}(${given})`
      // Class 22: what was given is not valid.
      await t.rejects(client.query(called), { code: /^22/ }, called)
    }
  }
  const auditor = await vault.connect('tokenvault_auditor')
  await t.resolves(
    auditor.query(`SELECT * FROM pii_vault.reconcile_tokens('{ip,device_id}', '{masked_ip,masked_device_id}')`),
  )
})
