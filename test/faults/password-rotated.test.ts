import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { startApi, verifyAudit } from '../helpers/faults/api.ts'
import { inTier, makePlan, seed, until } from '../helpers/faults/plan.ts'
import { startPostgresServer } from '../helpers/faults/postgres-server.ts'
import { createFaultWorld, scenario } from '../helpers/faults/world.ts'
import { withLogin } from '../helpers/postgres/vault-database.ts'

const rotations = inTier({ short: 2, long: 60 })
const roles = ['tokenvault_worker', 'tokenvault_api'] as const
const skip = process.platform === 'linux' ? false : 'finds the processes of the server in /proc'

t.test(`${rotations} rotations of passwords under load, FAULT_SEED=${seed}`, { ...scenario, skip }, async t => {
  const plan = makePlan()
  const { database } = await startPostgresServer(t)
  const world = await createFaultWorld(t, {
    plan,
    database,
  })
  const directory = temporaryDirectory(t)
  const fileOf = (role: (typeof roles)[number]) => join(directory, role)
  // As secret mounts do it: nobody ever reads half of a file.
  const writePassword = (role: (typeof roles)[number], password: string) => {
    writeFileSync(`${fileOf(role)}.new`, `${withLogin(database.adminUrl, role, password)}\n`, { mode: 0o600 })
    renameSync(`${fileOf(role)}.new`, fileOf(role))
  }
  const alterRole = (role: string, password: string) => world.admin.query(`ALTER ROLE ${role} PASSWORD '${password}'`)
  for (const role of roles) {
    writePassword(role, 'rotation-0')
    await alterRole(role, 'rotation-0')
  }

  const worker = world.start({
    DATABASE_URL: '',
    DATABASE_URL_FILE: fileOf('tokenvault_worker'),
    WORKER_BATCH_MESSAGES: '20',
    WORKER_VISIBILITY_TIMEOUT_SECONDS: '60',
    LOG_LEVEL: 'warn',
  })
  const api = await startApi(t, database, { DATABASE_URL: '', DATABASE_URL_FILE: fileOf('tokenvault_api') })
  await world.sendLogins(10)
  await until('the first rows', async () => (await world.receipts()) > 0)
  const { rows } = await world.admin.query('SELECT masked_ip AS token FROM public.user_logins LIMIT 1')
  const stopCalls = api.callWith(rows[0].token)

  let ended = 0
  for (let rotation = 1; rotation <= rotations; rotation++) {
    await world.sendLogins(300)
    await world.sendPoison(3)
    const password = `rotation-${rotation}`
    const fileFirst = plan.chance(0.5)
    for (const role of roles) {
      if (fileFirst) writePassword(role, password)
      await alterRole(role, password)
      // In between, new sessions are refused: this is the moment at which most of them are asked for.
      if (plan.chance(0.7)) await endSessions(role)
      if (!fileFirst) writePassword(role, password)
      await endSessions(role)
    }
    await until(`a value after rotation ${rotation}`, () => api.detokenize(rows[0].token))
    await until('messages after it', () => world.isDone())
  }
  async function endSessions(role: string) {
    const { rows } = await world.admin.query(
      'SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = $1',
      [role],
    )
    ended += rows.length
  }

  await stopCalls()
  t.ok(worker.isRunning() && api.isRunning(), 'nothing was restarted')
  t.ok(ended >= rotations, `${ended} sessions were ended`)
  t.equal(
    world.queue.deliveries.total,
    world.queue.sent.size,
    'no message was received twice: no receive count was spent',
  )
  t.equal((await worker.end('SIGTERM')).code, 0)
  t.equal((await api.end()).code, 0)
  await world.checkTruth(t)
  const { code, result } = await verifyAudit(t, database, api.published)
  t.equal(code, 0, 'the audit log is intact')
  t.ok(result.events > Math.max(...api.calls.sequences), 'the event of each value that was given is in it')
  t.pass(`${api.calls.sequences.length} values given, refused: ${JSON.stringify([...api.calls.refused])}`)
})
