import t from 'tap'
import { checkRights, createApiHealth } from '../../../src/store/postgres/health.ts'
import { loginRoles } from '../../../src/store/setup/role-passwords.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'

/** Each role lacks one thing after the other, of each kind that it is granted. */
const needs = [
  ['tokenvault_worker', 'SELECT', 'TABLE ingest.receipts'],
  ['tokenvault_worker', 'INSERT', 'TABLE public.user_logins'],
  ['tokenvault_worker', 'INSERT (sealed)', 'TABLE pii_vault.quarantine'],
  ['tokenvault_worker', 'EXECUTE', 'FUNCTION ingest.ensure_partitions(date[])'],
  ['tokenvault_worker', 'USAGE', 'SCHEMA ingest'],
  ['tokenvault_api', 'SELECT', 'TABLE pii_vault.keys'],
  ['tokenvault_auditor', 'EXECUTE', 'FUNCTION pii_vault.reconcile_days()'],
  ['tokenvault_analyst', 'SELECT', 'TABLE public.duplicate_ips'],
] as const

t.test('a role that lacks a grant of any kind is told which', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const databases = new Map(loginRoles.map(role => [role, vault.database(role, 1)]))
  for (const role of loginRoles) await t.resolves(checkRights(databases.get(role)!, role), role)
  await t.resolves(checkRights(vault.database(undefined, 1), 'tokenvault_worker'), 'who may do more may do it, too')
  for (const [role, privilege, object] of needs) {
    await admin.query(`REVOKE ${privilege} ON ${object} FROM ${role}`)
    const said = `missing, or not granted to the role: ${object.replace(/^\w+/, kind => kind.toLowerCase())}`
    const refusal = { code: 'store_misconfigured', message: said }
    await t.rejects(checkRights(databases.get(role)!, role), refusal, `${role} ${privilege}`)
    await admin.query(`GRANT ${privilege} ON ${object} TO ${role}`)
    await t.resolves(checkRights(databases.get(role)!, role))
  }
})

t.test('ready only while the database can do what the API does, and told what is wrong otherwise', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const health = createApiHealth(vault.database('tokenvault_api'))
  await t.resolves(health.check())

  const faults: [name: string, spoil: string, mend: string, refusal: { code: string; message: string | RegExp }][] = [
    [
      'read-only',
      `ALTER DATABASE ${vault.name} SET default_transaction_read_only = on`,
      `ALTER DATABASE ${vault.name} RESET default_transaction_read_only`,
      { code: 'store_unavailable', message: /takes no writes/ },
    ],
    [
      'a lost grant on a table',
      'REVOKE SELECT ON pii_vault.originals FROM tokenvault_api',
      'GRANT SELECT ON pii_vault.originals TO tokenvault_api',
      { code: 'store_misconfigured', message: /not granted to the role: table pii_vault.originals$/ },
    ],
    [
      'a lost grant on a function',
      'REVOKE EXECUTE ON FUNCTION pii_vault.append_audit(bytea[]) FROM tokenvault_api',
      'GRANT EXECUTE ON FUNCTION pii_vault.append_audit(bytea[]) TO tokenvault_api',
      { code: 'store_misconfigured', message: /function pii_vault.append_audit\(bytea\[\]\)$/ },
    ],
    [
      'a missing function',
      'ALTER FUNCTION pii_vault.index_audit(integer) RENAME TO gone',
      'ALTER FUNCTION pii_vault.gone(integer) RENAME TO index_audit',
      { code: 'store_misconfigured', message: /function pii_vault.index_audit\(integer\)$/ },
    ],
    [
      'a missing table',
      'ALTER TABLE pii_vault.suspensions RENAME TO gone',
      'ALTER TABLE pii_vault.gone RENAME TO suspensions',
      { code: 'store_misconfigured', message: /table pii_vault.suspensions$/ },
    ],
    [
      'a lost grant on the schema',
      'REVOKE USAGE ON SCHEMA pii_vault FROM tokenvault_api',
      'GRANT USAGE ON SCHEMA pii_vault TO tokenvault_api',
      { code: 'store_misconfigured', message: /not granted to the role: schema pii_vault$/ },
    ],
    [
      'no keys',
      'ALTER TABLE pii_vault.keys RENAME TO kept; CREATE TABLE pii_vault.keys (); GRANT SELECT ON pii_vault.keys TO tokenvault_api',
      'DROP TABLE pii_vault.keys; ALTER TABLE pii_vault.kept RENAME TO keys',
      { code: 'store_misconfigured', message: 'no key is stored' },
    ],
  ]
  for (const [name, spoil, mend, refusal] of faults) {
    await admin.query(spoil)
    // A setting of the database is for sessions to come.
    await t.rejects(createApiHealth(vault.database('tokenvault_api')).check(), refusal, name)
    await admin.query(mend)
    await t.resolves(health.check(), name)
  }
})
