import t from 'tap'
import { describeDurability } from '../../../src/store/setup/durability.ts'
import { inspectDurability } from '../../../src/store/setup/inspect.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'

const safe = { fsync: 'on', full_page_writes: 'on', synchronous_commit: 'on', synchronous_standby_names: '' }

t.test('settings that cannot keep what was settled are told, and others are not', async t => {
  const cases: [change: Partial<typeof safe>, standbys: number, told: RegExp | undefined][] = [
    [{}, 0, undefined],
    [{ synchronous_commit: 'local' }, 0, undefined],
    [{ synchronous_commit: 'remote_write' }, 0, undefined],
    [{ synchronous_standby_names: 'ANY 1 (a, b)' }, 2, undefined],
    [{ synchronous_standby_names: '*', synchronous_commit: 'remote_apply' }, 1, undefined],
    [{ fsync: 'off' }, 0, /^fsync is off/],
    [{ full_page_writes: 'off' }, 0, /^full_page_writes is off/],
    [{ synchronous_commit: 'off' }, 0, /^synchronous_commit is off: a crash of the server loses/],
    [
      { synchronous_commit: 'local', synchronous_standby_names: '*' },
      1,
      /^synchronous_commit is local: a failover loses/,
    ],
    [{ synchronous_commit: 'remote_write', synchronous_standby_names: '*' }, 1, /^synchronous_commit is remote_write/],
    [{}, 1, /^a standby is attached and none is synchronous: a failover loses/],
    [{}, 3, /^3 standbys are attached and none/],
  ]
  for (const [change, standbys, told] of cases) {
    const settings = Object.entries({ ...safe, ...change }).map(([name, value]) => ({ name, value, place: '' }))
    const findings = describeDurability(settings, standbys)
    const name = `${JSON.stringify(change)}, ${standbys} standbys`
    t.equal(findings.length, told === undefined ? 0 : 1, name)
    if (told !== undefined) t.match(findings[0], { code: 'not_durable', status: 'warn', says: told }, name)
  }
})

t.test('what a database has for sessions to come is told with its place, to any role', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  await admin.query(`ALTER DATABASE ${vault.name} SET synchronous_commit = off`)
  const place = `ALTER ROLE tokenvault_worker IN DATABASE ${vault.name}`
  await admin.query(
    `${place} SET synchronous_commit = off; ${place.replace('worker', 'api')} SET synchronous_commit = off`,
  )
  const findings = await inspectDurability(vault.database('tokenvault_worker', 1))
  t.match(
    findings.map(({ says }) => says),
    [
      // The servers of tests are made to be thrown away.
      /^fsync is off/,
      /^full_page_writes is off/,
      /^synchronous_commit is off for role tokenvault_worker for the database: a crash/,
      /^synchronous_commit is off for the database: a crash/,
    ],
  )
})
