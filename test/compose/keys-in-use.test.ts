import t, { type Test } from 'tap'
import { openKeyAdministrator } from '../../src/compose/key-administration.ts'
import { openIngestVault } from '../../src/compose/vault.ts'
import { loadConfig } from '../../src/config/load.ts'
import { processLambdaBatch } from '../../src/ingest/batch/process-batch.ts'
import type { IngestEvent } from '../../src/ingest/metrics/observe.ts'
import { createOriginalWriter } from '../../src/store/original-writer.ts'
import { createDatabase } from '../../src/store/postgres/database.ts'
import type { KeyName } from '../../src/vault/keys/keyset.ts'
import { until } from '../helpers/faults/plan.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { createTestLog } from '../helpers/queue/server.ts'

const dataKey: KeyName = { purpose: 'data', field: 'ip', version: 1 }
const body = (ip: string) => JSON.stringify({ user_id: 'u', ip, device_id: 'd' })

/** A vault whose keys of data and quarantine were rotated, and a worker that does not know it. */
async function openStale(t: Test) {
  const vault = await createVaultDatabase(t)
  const environment = { DATABASE_URL: vault.adminUrl, KEK_FILE: vault.kekFile }
  const administrator = await openKeyAdministrator(loadConfig('migrate', environment), environment)
  t.teardown(() => administrator.close())
  const worker = await openIngestVault(
    loadConfig('lambda', { DATABASE_URL: vault.urlFor('tokenvault_worker'), KEK_FILE: vault.kekFile }),
    { environment: {}, applicationName: 'tokenvault worker' },
  )
  t.teardown(() => worker.database.destroy())
  for (const place of [dataKey, { purpose: 'quarantine', field: '' }] as const)
    await administrator.promote(await administrator.create(place))
  return { vault, administrator, worker, owner: await vault.connect() }
}

t.test(
  'nothing is written under a key that is out of use, and the worker that tries spends no message on it',
  async t => {
    const { administrator, worker, owner } = await openStale(t)
    const counts = async () =>
      (
        await owner.query(`SELECT (SELECT count(*) FROM pii_vault.originals)::int AS originals,
        (SELECT count(*) FROM pii_vault.quarantine)::int AS quarantined, (SELECT count(*) FROM ingest.receipts)::int AS receipts`)
      ).rows[0]
    const sentAtMs = Date.now()
    const refusal = { code: 'store_unavailable', message: /a key is not in use any more.*55TV1/ }

    await t.test('originals, and bodies of the quarantine', async t => {
      for (const [key, text] of [
        [dataKey, body('10.0.0.1')],
        [{ purpose: 'quarantine', field: '', version: 1 }, 'not an event'],
      ] as const) {
        await administrator.disable(key)
        const made = worker.tokenizeMessages([{ messageId: 'm1', body: text, sentAtMs }])
        await t.rejects(worker.store.storeMessages(made), refusal, key.purpose)
        t.same(await counts(), { originals: 0, quarantined: 0, receipts: 0 }, 'nothing of the transaction stays')
        await administrator.enable(key)
        await administrator.scheduleDestruction(key, new Date(), 0)
        await administrator.destroyDue()
        await t.rejects(worker.store.storeMessages(made), refusal, `${key.purpose}, destroyed`)
      }
    })

    await t.test('once the process follows, the same batch is sealed anew and stored', async t => {
      const { log } = createTestLog()
      const events: IngestEvent[] = []
      let stop = () => {}
      t.teardown(() => stop())
      const observe = (event: IngestEvent) => {
        // It takes up the change only after it was refused.
        if (event.kind === 'store_failed' && !events.some(({ kind }) => kind === 'store_failed'))
          stop = worker.follow(log).stop
        events.push(event)
      }
      const message = (messageId: string, text: string) => {
        return { messageId, receiptHandle: messageId, body: text, sentAtMs, receiveCount: 1, receivedAtMs: 0 }
      }
      const failed = await processLambdaBatch([message('m1', body('10.0.0.1')), message('m2', 'not an event')], {
        tokenizeMessages: worker.tokenizeMessages,
        store: worker.store,
        log,
        observe,
        remainingMilliseconds: 60_000,
      })
      t.same(failed, [], 'every message took effect')
      t.match(
        events.find(({ kind }) => kind === 'store_failed'),
        { code: 'store_unavailable' },
      )
      t.same(await counts(), { originals: 2, quarantined: 1, receipts: 2 })
      const { rows } = await owner.query(
        "SELECT data_key_version FROM pii_vault.originals WHERE field = 'ip' UNION ALL SELECT data_key_version FROM pii_vault.quarantine",
      )
      t.same(rows, [{ data_key_version: 2 }, { data_key_version: 2 }])
    })
  },
)

t.test('who takes a key out of use waits for those who are writing under it, so that the count sees them', async t => {
  const { vault, administrator, worker, owner } = await openStale(t)
  const storing = createDatabase({ url: vault.urlFor('tokenvault_store'), poolMax: 1, applicationName: 'test' })
  t.teardown(() => storing.destroy())
  const [message] = worker.tokenizeMessages([{ messageId: 'm1', body: body('10.0.0.1'), sentAtMs: Date.now() }])
  const originals = message!.rows[0]!.tokens.flatMap(token => (token === null ? [] : [token.original]))
  const held = await createOriginalWriter(storing, worker.database).insert(originals)
  let isDisabled = false
  const disabling = administrator.disable(dataKey).then(() => {
    isDisabled = true
  })
  await until('it waits', async () => {
    const { rows } = await owner.query("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    return rows.length === 1
  })
  t.notOk(isDisabled)
  await held.commit()
  await disabling
  t.equal(await administrator.countContent(dataKey), 1)
})
