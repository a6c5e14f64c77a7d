import t from 'tap'
import { apiNeeds, createApiHealth } from '../../../src/store/postgres/health.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'

t.test('what the API needs is exactly what migrate grants to its role', async t => {
  const admin = await (await createVaultDatabase(t)).connect()
  const functions = await admin.query(`
    SELECT p.oid::regprocedure::text AS name
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, aclexplode(p.proacl) a
    WHERE n.nspname = 'pii_vault' AND a.grantee = 'tokenvault_api'::regrole ORDER BY 1`)
  t.strictSame(
    functions.rows.map(row => row.name),
    apiNeeds.functions,
  )
  const tables = await admin.query(`
    SELECT c.oid::regclass::text AS name, a.privilege_type AS privilege
    FROM pg_class c, aclexplode(c.relacl) a
    WHERE a.grantee = 'tokenvault_api'::regrole ORDER BY 1`)
  t.strictSame(
    tables.rows,
    apiNeeds.readableTables.map(name => ({ name, privilege: 'SELECT' })),
  )
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
      { code: 'store_misconfigured', message: /grant is missing.+SQLSTATE 42501$/ },
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
