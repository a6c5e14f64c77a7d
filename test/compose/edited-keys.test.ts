import t from 'tap'
import { openSigningVault } from '../../src/compose/vault.ts'
import { loadConfig } from '../../src/config/load.ts'
import { until } from '../helpers/faults/plan.ts'
import { startVaultApi } from '../helpers/http/vault-api.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { createTestLog } from '../helpers/queue/server.ts'

const ip = "purpose = 'data' AND field = 'ip'"

/** What somebody with the right of the owner may do to the table of keys by hand, and how it is refused. */
const edits: readonly (readonly [name: string, sql: string, code: string])[] = [
  ['version', `UPDATE pii_vault.keys SET version = 2 WHERE ${ip}`, 'kek_mismatch'],
  ['field', `UPDATE pii_vault.keys SET field = 'locale' WHERE ${ip}`, 'kek_mismatch'],
  [
    'purpose',
    "UPDATE pii_vault.keys SET purpose = 'token', version = 2, status = 'active' WHERE purpose = 'quarantine'",
    'kek_mismatch',
  ],
  ['status', `UPDATE pii_vault.keys SET status = 'active' WHERE ${ip}`, 'keyset_incomplete'],
  [
    'wrapped',
    `UPDATE pii_vault.keys SET wrapped = set_byte(wrapped, 0, get_byte(wrapped, 0) # 1) WHERE ${ip}`,
    'kek_mismatch',
  ],
  [
    'wrapped bytes swapped between rows',
    `UPDATE pii_vault.keys AS key SET wrapped = other.wrapped FROM pii_vault.keys AS other
     WHERE key.purpose = 'data' AND other.purpose = 'data' AND key.field <> other.field`,
    'kek_mismatch',
  ],
  [
    'a purpose that this release does not know',
    `ALTER TABLE pii_vault.keys DROP CONSTRAINT IF EXISTS keys_purpose_check;
     INSERT INTO pii_vault.keys (purpose, field, version, status, kek_id, wrapped)
     SELECT 'novel', '', 1, 'primary', kek_id, wrapped FROM pii_vault.keys WHERE ${ip}`,
    'kek_mismatch',
  ],
]

t.test('keys that were edited by hand start no process, and those that run go on with the keys they have', async t => {
  const vault = await createVaultDatabase(t)
  const owner = await vault.connect()
  const config = loadConfig('lambda', { DATABASE_URL: vault.urlFor('tokenvault_api'), KEK_FILE: vault.kekFile })
  const opening = { environment: {}, applicationName: 'tokenvault api', role: 'tokenvault_api' } as const
  const running = await openSigningVault(config, opening)
  t.teardown(() => running.database.destroy())
  const before = running.keys.sealer('data', 'ip', 1)
  await owner.query('CREATE TABLE public.kept AS SELECT * FROM pii_vault.keys')
  for (const [name, statement, code] of edits) {
    await owner.query(statement)
    const { log } = createTestLog()
    const followed = running.follow(log)
    await until(name, () => followed.problem() !== undefined)
    t.equal(followed.problem()?.code, code, `${name}: a process that runs says so`)
    t.equal(running.keys.sealer('data', 'ip', running.keys.primaryVersion('data', 'ip')), before, 'and goes on')
    followed.stop()
    await t.rejects(
      openSigningVault(config, opening).then(({ keys }) => keys.primaryVersion('data', 'ip')),
      { code },
      `${name}: one that starts is refused`,
    )
    await owner.query('DELETE FROM pii_vault.keys; INSERT INTO pii_vault.keys SELECT * FROM public.kept')
  }
})

t.test('an API that cannot take up a change of keys stays ready, says why, and reveals as before', async t => {
  const policy = 'version: 1\nroles:\n  investigator: { reveal: { "*": full }, purposes: ["*"] }\n'
  const api = await startVaultApi(t, { policy, originals: 1 })
  const owner = await api.vault.connect()
  const ready = async () => (await (await fetch(`${api.origin}/readyz`)).json()) as { status: string; keys?: object }
  t.notOk((await ready()).keys)
  await owner.query(
    "UPDATE pii_vault.keys SET wrapped = set_byte(wrapped, 0, get_byte(wrapped, 0) # 1) WHERE purpose = 'data'",
  )
  await until('it says so', async () => (await ready()).keys !== undefined)
  t.match(await ready(), { status: 'ready', keys: { code: 'kek_mismatch', detail: /data\/.* does not unwrap/ } })
  const body = { purpose: 'fraud_investigation', tokens: api.tokens }
  const caller = { sub: 'casey', roles: ['investigator'] }
  t.match(await api.call(caller, 'POST', '/v1/detokenize', body), {
    status: 200,
    json: { results: [{ value: '10.0.0.0' }] },
  })
})
