import t, { type Test } from 'tap'
import { runCommand } from '../helpers/cli/cli.ts'
import { hasCheckpoint, startApi, verifyAudit } from '../helpers/faults/api.ts'
import { inTier, makePlan, seed, until } from '../helpers/faults/plan.ts'
import { makeMigrated } from '../helpers/faults/postgres-server.ts'
import { type PostgresPair, startPair } from '../helpers/faults/standby.ts'
import { createFaultWorld, type FaultWorld, scenario } from '../helpers/faults/world.ts'

const failovers = inTier({ short: 1, long: 5 })
const skip = process.platform === 'linux' ? false : 'finds the processes of the server in /proc'

const migrated = skip === false ? await makeMigrated(t) : ''

/** A worker that follows an address, and an API that knows both servers, with callers. */
async function startLoad(t: Test, pair: PostgresPair) {
  /** Messages that the worker deleted: it says that they took effect. */
  const acknowledged = new Set<string>()
  let isDeleting = true
  const world: FaultWorld = await createFaultWorld(t, {
    plan: makePlan(),
    database: pair.database,
    visibilityTimeoutSeconds: 3,
    async queueFault({ action, input, forward }) {
      if (action !== 'DeleteMessageBatch') return undefined
      if (!isDeleting) return { status: 500, body: '{}' }
      const output = await forward(input)
      for (const { ReceiptHandle } of input.Entries) acknowledged.add(world.queue.messageOf(ReceiptHandle)!)
      return { output }
    },
  })
  const worker = world.start({ WORKER_BATCH_MESSAGES: '20', LOG_LEVEL: 'warn' })
  const api = await startApi(t, pair.database, { DATABASE_URL: pair.urlOfBoth('tokenvault_api') })
  await world.sendLogins(200)
  await world.sendPoison(5)
  await until('the first rows', async () => (await world.receipts()) > 0)
  const { rows } = await world.admin.query('SELECT masked_ip AS token FROM public.user_logins LIMIT 1')
  const token: string = rows[0].token
  /** How many of these messages have no delivery record. */
  const missing = async (ids: Iterable<string>) => {
    const all = [...ids]
    const { rows } = await world.admin.query(
      'SELECT count(*)::int AS count FROM ingest.receipts WHERE message_id = ANY ($1)',
      [all],
    )
    return all.length - rows[0].count
  }
  const failOver = async () => {
    await pair.failOver()
    // Idle sessions of ours died with the primary.
    await until('the new primary answers us', () =>
      world.receipts().then(
        () => true,
        () => false,
      ),
    )
  }
  const stopDeleting = () => {
    isDeleting = false
  }
  const resumeDeleting = () => {
    isDeleting = true
  }
  return { world, worker, api, token, acknowledged, missing, failOver, stopDeleting, resumeDeleting }
}

const sequenceNext = async (world: FaultWorld) =>
  (await world.admin.query('SELECT count(*)::int AS count FROM pii_vault.audit_events')).rows[0].count as number

t.test(
  `${failovers} failovers to a synchronous standby lose nothing, FAULT_SEED=${seed}`,
  { ...scenario, skip },
  async t => {
    for (let failover = 0; failover < failovers; failover++) {
      const pair = await startPair(t, migrated, { isSynchronous: true })
      const { world, worker, api, token, acknowledged, missing, failOver } = await startLoad(t, pair)
      const stopCalls = api.callWith(token)
      await world.sendLogins(500)
      const before = api.calls.sequences.length
      await until(
        'calls and commits are under way',
        () => acknowledged.size > 20 && api.calls.sequences.length > before + 3,
      )
      await failOver()
      const told = new Set(acknowledged)
      t.equal(await missing(told), 0, 'what was acknowledged is on the new primary')
      await until('the API gives values again', () => api.detokenize(token))
      await world.sendLogins(100)
      await until('everything took effect', () => world.isDone())
      await stopCalls()
      t.ok(worker.isRunning() && api.isRunning(), 'nothing was restarted')
      t.equal((await worker.end('SIGTERM')).code, 0)
      t.equal((await api.end()).code, 0)
      await world.checkTruth(t)
      const { code, result } = await verifyAudit(t, pair.database, api.published)
      t.strictSame([code, result.findings], [0, []], 'the log has grown out of every published checkpoint')
      t.ok(result.checkpoints.external > 0)
      t.ok(result.events > Math.max(...api.calls.sequences), 'each value that was given has its event')
      t.equal(new Set(api.calls.sequences).size, api.calls.sequences.length, 'and one of its own')
      t.notMatch(api.output(), /audit_invalid/)
      t.pass(`${api.calls.sequences.length} values given, refused: ${JSON.stringify([...api.calls.refused])}`)
    }
  },
)

t.test(
  `a failover to an asynchronous standby that lagged: the loss is told, FAULT_SEED=${seed}`,
  { ...scenario, skip },
  async t => {
    const pair = await startPair(t, migrated, { isSynchronous: false })
    const { world, worker, api, token, acknowledged, missing, failOver, stopDeleting, resumeDeleting } =
      await startLoad(t, pair)
    await until('the first messages took effect', () => world.isDone())
    for (let call = 0; call < 3; call++) t.ok(await api.detokenize(token))

    pair.cutReplication()
    await world.sendLogins(100)
    await until('what the standby will not have is acknowledged', () => world.isDone())
    for (let call = 0; call < 3; call++) t.ok(await api.detokenize(token))
    const events = await sequenceNext(world)
    await until('a checkpoint of it is published', () => hasCheckpoint(api.published, events))
    // Committed, and not yet deleted: the queue still has these.
    stopDeleting()
    await world.sendLogins(50)
    await until('more is committed', async () => (await world.receipts()) === world.queue.sent.size)

    await failOver()
    const lost = await missing(acknowledged)
    t.ok(lost > 0, `${lost} acknowledged messages are lost`)
    resumeDeleting()
    await until('what the queue still had took effect again', async () => (await world.queue.count()) === 0)
    const unacknowledged = [...world.queue.sent].filter(id => !acknowledged.has(id))
    t.strictSame(unacknowledged, [], 'the queue has nothing left')
    t.equal(await missing(world.queue.sent), lost, 'and no more than those is missing')

    const tellsLoss = (output: string) => /"event":"checkpoint_failed".*audit_invalid/.test(output)
    await until('the running API tells it', () => tellsLoss(api.output()))
    t.equal((await worker.end('SIGTERM')).code, 0)
    await api.end()
    const restarted = await startApi(t, pair.database, {}, api.published)
    await until('a restarted API tells it, too', () => tellsLoss(restarted.output()))
    await restarted.end()
    const signed = await world.admin.query('SELECT max(tree_size)::int AS size FROM pii_vault.checkpoints')
    t.ok(Number(signed.rows[0].size) < events, 'and neither signs what contradicts a published checkpoint')
    const auditor = { DATABASE_URL: pair.database.urlFor('tokenvault_auditor') }
    const reconciled = await runCommand(t, ['reconcile'], auditor)
    t.match(reconciled, { code: 0, stdout: /^consistent in itself: the server was promoted/m })
    const { code, result } = await verifyAudit(t, pair.database, api.published)
    t.equal(code, 1, 'a published checkpoint contradicts the log')
    t.match(result.findings.map((finding: { code: string }) => finding.code).join(), /checkpoint_/)
  },
)
