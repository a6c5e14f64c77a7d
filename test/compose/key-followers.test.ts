import { randomUUID } from 'node:crypto'
import t from 'tap'
import { awaitFollowers, refuseLaggards } from '../../src/cli/local/await-followers.ts'
import { openKeyAdministrator } from '../../src/compose/key-administration.ts'
import { openIngestVault, openSigningVault } from '../../src/compose/vault.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createSayFollowed } from '../../src/store/key-followers.ts'
import type { KeyName } from '../../src/vault/keys/keyset.ts'
import { runInProcess } from '../helpers/cli/cli-in-process.ts'
import { until } from '../helpers/faults/plan.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { createTestLog } from '../helpers/queue/server.ts'

t.test('a rotation knows whether every running process goes by the stored keys', async t => {
  const vault = await createVaultDatabase(t)
  const owner = await vault.connect()
  const environment = { DATABASE_URL: vault.adminUrl, KEK_FILE: vault.kekFile, KEY_MAX_AGE_DAYS: '365' }
  const administrator = await openKeyAdministrator(loadConfig('migrate', environment), environment)
  t.teardown(() => administrator.close())
  const { log } = createTestLog()
  const configOf = (role: 'tokenvault_worker' | 'tokenvault_api') =>
    loadConfig('lambda', { DATABASE_URL: vault.urlFor(role), KEK_FILE: vault.kekFile })
  const worker = await openIngestVault(configOf('tokenvault_worker'), {
    environment: {},
    applicationName: 'tokenvault worker',
  })
  t.teardown(() => worker.database.destroy())
  const api = await openSigningVault(configOf('tokenvault_api'), {
    environment: {},
    applicationName: 'tokenvault api',
    role: 'tokenvault_api',
  })
  t.teardown(() => api.database.destroy())
  const followed = [worker.follow(log), api.follow(log)]
  t.teardown(() => followed.forEach(({ stop }) => void stop()))
  const readAll = administrator.readFollowers
  await until('both are known', async () => (await readAll()).followers.length === 2)
  t.same(
    (await readAll()).followers.map(({ process }) => process),
    ['api', 'worker'],
  )

  const data2: KeyName = { purpose: 'data', field: 'ip', version: 2 }
  await administrator.create(data2)
  t.equal((await readAll()).laggards.length, 2, 'as soon as a key is stored, nobody goes by it')
  t.same(await awaitFollowers(administrator, { leastSeconds: 0 }), [], 'and both do within the wait')
  for (const { keys } of [worker, api]) t.ok(keys.sealer('data', 'ip', 2), 'who is said to follow can read it')

  await t.test('one that goes by other keys holds a rotation up, and is named', async t => {
    const stale = { instance: randomUUID(), process: 'worker', keyset: Buffer.alloc(32) }
    await createSayFollowed(worker.database)(stale)
    const laggards = await awaitFollowers(administrator, { leastSeconds: 0, longestSeconds: 0 })
    t.throws(() => refuseLaggards(laggards), {
      code: 'keys_not_followed',
      message: new RegExp(`^worker ${stale.instance.slice(0, 8)}$`),
    })
    const shown = await runInProcess(['keys', 'status'], environment)
    t.match(shown, { code: 1, stdout: /worker [0-9a-f]{8}\s+NO/ })
    t.match(shown.stdout, /warning: worker [0-9a-f]{8} does not go by the stored keys/)
    await owner.query(
      "UPDATE pii_vault.key_followers SET looked_at = now() - interval '21 seconds' WHERE instance = $1",
      [stale.instance],
    )
    t.same((await readAll()).laggards, [], 'one that ended holds up nothing')
    await owner.query(
      "UPDATE pii_vault.key_followers SET looked_at = now() - interval '2 minutes' WHERE instance = $1",
      [stale.instance],
    )
    await createSayFollowed(worker.database)({ ...stale, instance: randomUUID() })
    const { rows } = await owner.query('SELECT FROM pii_vault.key_followers WHERE instance = $1', [stale.instance])
    t.equal(rows.length, 0, 'and leaves nothing behind')
    await owner.query('DELETE FROM pii_vault.key_followers WHERE keyset = $1', [stale.keyset])
  })

  await t.test('a process reads nothing about others', async t => {
    const session = await vault.connect('tokenvault_worker')
    const denied = { code: '42501' }
    await t.rejects(session.query('SELECT FROM pii_vault.key_followers'), denied)
    await t.rejects(session.query('DELETE FROM pii_vault.key_followers'), denied)
  })

  await t.test('a key that has written for too long is told, and one that was rotated is not', async t => {
    await owner.query("UPDATE pii_vault.keys SET primary_since = now() - interval '366 days' WHERE status = 'primary'")
    const aged = JSON.parse((await runInProcess(['keys', 'status', '--json'], environment)).stdout)
    t.same(
      aged.warnings.filter((text: string) => text.includes('KEY_MAX_AGE_DAYS')).length,
      4,
      'both data keys, quarantine, audit; token and signing keys are not rotated for their age',
    )
    t.equal(aged.primaries.find(({ key }: { key: string }) => key === 'data/ip/v1').days, 366)
    await administrator.promote(data2)
    const { warnings } = JSON.parse((await runInProcess(['keys', 'status', '--json'], environment)).stdout)
    t.notOk(warnings.some((text: string) => text.startsWith('data/ip/')))
    t.match(await runInProcess(['keys', 'create', '--kind', 'data', '--field', 'ip', '--dry-run'], environment), {
      code: 0,
      stdout: 'data/ip/v3 would be made\n',
    })
    t.match(await runInProcess(['keys', 'create', '--kind', 'data', '--field', 'ip'], environment), {
      code: 0,
      stdout: /^data\/ip\/v3 is there/,
    })
  })
})
