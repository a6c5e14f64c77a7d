import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { composeEvidence, composeSink } from '../../src/compose/evidence.ts'
import { type Environment, loadConfig } from '../../src/config/load.ts'
import { loginFields } from '../../src/vault/fields/fields.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { startEvidence } from '../helpers/evidence/evidence.ts'
import { until } from '../helpers/faults/plan.ts'
import { createTestLog } from '../helpers/queue/server.ts'

async function compose(t: Test, environment: Environment = {}) {
  const evidence = await startEvidence(t)
  const { apiDatabase: database, keys, signer, kekFile } = evidence
  const config = loadConfig('api', {
    DATABASE_URL: evidence.urlFor('tokenvault_api'),
    KEK_FILE: kekFile,
    JWT_ISSUER: 'https://issuer.test',
    JWT_AUDIENCE: 'tokenvault',
    JWKS_URL: 'https://issuer.test/jwks',
    ...environment,
  })
  const { log, logged } = createTestLog()
  const vault = { fields: loginFields, database, keys, signer }
  const sink = await composeSink(config, {})
  const composed = composeEvidence(config, vault, () => Promise.reject(new Error('not asked')), sink, log)
  t.teardown(() => composed.close())
  return { ...evidence, composed, logged }
}

t.test(
  'without CHECKPOINT_URL checkpoints stay in the database, which is said; the search index follows the log',
  async t => {
    const { composed, append, kept, admin, logged } = await compose(t)
    await append(1_500)
    composed.start()
    const indexed = async () => {
      const { rows } = await admin.query('SELECT next_sequence::int AS next FROM pii_vault.audit_blocks_head')
      return rows[0].next === 64 * Math.floor(1_500 / 64)
    }
    await until('the index follows', indexed)
    await until('a checkpoint is made', async () => (await kept()).size > 0)
    t.strictSame([...(await kept()).keys()], [1_500])
    await append(1)
    await composed.close()
    t.strictSame([...(await kept()).keys()], [1_500, 1_501], 'the last one is made by closing')
    t.match(
      logged.map(line => JSON.parse(line)),
      [{ level: 'warn', event: 'checkpoints_not_published' }],
    )
    t.equal(logged.length, 1)
  },
)

t.test('a directory that is missing is told once, and the API goes on', async t => {
  const directory = join(temporaryDirectory(t), 'missing')
  const { composed, append, kept, logged } = await compose(t, { CHECKPOINT_URL: `${pathToFileURL(directory)}/` })
  await append(1)
  composed.start()
  await until('the failure is told', () => logged.length > 0)
  await append(1)
  await composed.close()
  t.match(
    logged.map(line => JSON.parse(line)),
    [{ level: 'warn', event: 'checkpoint_failed', err: { code: 'checkpoint_unavailable', message: /ENOENT$/ } }],
  )
  t.ok((await kept()).has(2), 'signed and kept all the same')
  t.throws(() => readdirSync(directory), { code: 'ENOENT' })
})

t.test('an index that is far behind holds up no checkpoint, and the last one least', async t => {
  const { composed, append, kept, admin, connect, logged } = await compose(t, { CHECKPOINT_SECONDS: '1' })
  await append(20_000)
  const gate = await connect()
  await gate.query('BEGIN; SELECT 1 FROM pii_vault.audit_blocks_head FOR UPDATE')
  composed.start()
  await until('indexing waits at the gate', async () => {
    const { rows } = await admin.query(
      `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%index_audit%'`,
    )
    return rows.length > 0
  })
  for (let size = 20_000; size < 20_003; size++) {
    await until(`a checkpoint of ${size}`, async () => (await kept()).has(size))
    await append(1)
  }
  await composed.close()
  t.ok((await kept()).has(20_003), 'the last one is made by closing')
  await gate.query('COMMIT')
  t.equal(logged.length, 1, 'nothing failed')
})

t.test(
  'notes that nobody signed are told once, so is the place of the due checkpoint that one has, and the API goes on',
  async t => {
    const { composed, append, kept, store, logged } = await compose(t, { CHECKPOINT_SECONDS: '1' })
    await append(2)
    await store.insertCheckpoint({ treeSize: 1, note: 'no note' })
    await store.insertCheckpoint({ treeSize: 2, note: 'no note' })
    composed.start()
    await until('they are told', () => logged.length === 3)
    for (let size = 3; size < 5; size++) {
      await append(1)
      await until(`a checkpoint of ${size}`, async () => (await kept()).has(size))
    }
    await composed.close()
    t.match(
      logged.map(line => JSON.parse(line)),
      [
        { event: 'checkpoints_not_published' },
        { level: 'error', event: 'checkpoint_invalid', err: { code: 'audit_invalid', message: /^2 stored notes/ } },
        { level: 'error', event: 'checkpoint_failed', err: { code: 'audit_invalid', message: /has the place/ } },
        { level: 'info', event: 'checkpoints_recovered' },
      ],
    )
    t.equal(logged.length, 4)
  },
)

t.test('an index that cannot be brought up to date is told once, and again when it can; checkpoints go on', async t => {
  const { composed, append, kept, admin, logged } = await compose(t, { CHECKPOINT_SECONDS: '1' })
  await append(1)
  await admin.query('REVOKE EXECUTE ON FUNCTION pii_vault.index_audit(integer) FROM tokenvault_api')
  composed.start()
  await until('the failure is told', () => logged.length === 2)
  await append(1)
  await until('a checkpoint is made', async () => (await kept()).has(2))
  await append(1)
  await until('another is made', async () => (await kept()).has(3))
  await admin.query('GRANT EXECUTE ON FUNCTION pii_vault.index_audit(integer) TO tokenvault_api')
  await until('that it is over is told', () => logged.length === 3)
  await composed.close()
  t.match(
    logged.map(line => JSON.parse(line)),
    [
      { level: 'warn', event: 'checkpoints_not_published' },
      { level: 'warn', event: 'search_index_failed', err: { code: 'store_misconfigured', message: /42501/ } },
      { level: 'info', event: 'search_index_recovered' },
    ],
  )
})
