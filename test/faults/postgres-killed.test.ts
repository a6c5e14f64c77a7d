import t from 'tap'
import { inTier, makePlan, seed, until } from '../helpers/faults/plan.ts'
import { startPostgresServer } from '../helpers/faults/postgres-server.ts'
import { createFaultWorld, scenario } from '../helpers/faults/world.ts'

const kills = inTier({ short: 2, long: 20 })
const fates = ['cut-before', 'cut-during', 'cut-after'] as const
const skip = process.platform === 'linux' ? false : 'finds the processes of the server in /proc'

t.test(`${kills} kill -9 of Postgres under load, FAULT_SEED=${seed}`, { ...scenario, skip }, async t => {
  const plan = makePlan()
  const server = await startPostgresServer(t)
  let countdown = 0
  let isKilled = false
  const acknowledged = new Set<string>()
  const world = await createFaultWorld(t, {
    plan,
    database: server.database,
    duplicates: 0.1,
    visibilityTimeoutSeconds: 3,
    commitAsked: () => (--countdown === 0 ? plan.pick(fates) : 'pass'),
    async beforeCut() {
      server.kill()
      isKilled = true
    },
    async queueFault({ action, input, forward }) {
      if (action !== 'DeleteMessageBatch') return undefined
      const output = await forward()
      for (const { ReceiptHandle } of input.Entries) acknowledged.add(world.queue.messageOf(ReceiptHandle)!)
      return { output }
    },
  })
  const { rows: settings } = await world.admin.query(
    `SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS commits`,
  )
  t.strictSame(settings, [{ fsync: 'on', commits: 'on' }])

  const worker = world.start({ WORKER_BATCH_MESSAGES: '50', LOG_LEVEL: 'warn' })
  for (let kill = 0; kill < kills; kill++) {
    await world.sendLogins(990)
    await world.sendPoison(10)
    isKilled = false
    countdown = 1 + plan.below(10)
    await until(`kill ${kill}`, () => isKilled)
    await server.restart()
    const ids = [...acknowledged]
    const { rows } = await world.admin.query(
      'SELECT count(*)::int AS count FROM ingest.receipts WHERE message_id = ANY ($1)',
      [ids],
    )
    t.equal(rows[0].count, ids.length, 'what was acknowledged is there')
  }
  t.equal(server.recoveries(), kills, 'no kill was a shutdown')
  await until('everything took effect', () => world.isDone())
  t.equal((await worker.end('SIGTERM')).code, 0, 'one worker went through all of it')
  t.equal(acknowledged.size, world.queue.sent.size)
  await world.checkTruth(t)
})
