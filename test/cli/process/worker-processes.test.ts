import { once } from 'node:events'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { type Command, startCommand } from '../../helpers/cli/cli.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'
import { loginBodies } from '../../helpers/queue/events.ts'
import { startQueue } from '../../helpers/queue/server.ts'

/** A database and a queue, and what `tokenvault worker` needs to find them. */
async function startWorld(t: Test) {
  const vault = await createVaultDatabase(t)
  const { queue, queueUrl, server, count } = await startQueue(t)
  const environment = {
    DATABASE_URL: vault.urlFor('tokenvault_worker'),
    KEK_FILE: vault.kekFile,
    SQS_QUEUE_URL: queueUrl,
    AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${server.port}`,
    WORKER_VISIBILITY_TIMEOUT_SECONDS: '10',
    WORKER_BATCH_MESSAGES: '50',
  }
  const countRows = async () => {
    const client = await vault.connect()
    const { rows } = await client.query('SELECT count(*)::int AS rows FROM user_logins')
    return rows[0].rows as number
  }
  return { environment, queue, count, countRows }
}

/** Log lines as they come; each is taken once. */
function readLog(command: Command) {
  const lines: Record<string, unknown>[] = []
  const reader = createInterface({ input: command.process.stderr! })
  reader.on('line', line => void (line.startsWith('{') && lines.push(JSON.parse(line))))
  const next = async (event: string, matches: (line: Record<string, unknown>) => boolean = () => true) => {
    for (;;) {
      const place = lines.findIndex(line => line['event'] === event && matches(line))
      if (place >= 0) return lines.splice(place, 1)[0]!
      const more = await Promise.race([once(reader, 'line'), command.ended])
      if (!Array.isArray(more)) throw new Error(`ended without ${event}: ${command.stderr()}`)
    }
  }
  return next
}

t.test('--processes drains with several processes and sums up what they did', async t => {
  const { environment, queue, count, countRows } = await startWorld(t)
  await queue.send(loginBodies(300))
  const command = startCommand(t, ['worker', '--processes', '2', '--drain', '--json'], environment)
  t.match(await command.ended, { code: 0, signal: null }, command.stderr())
  t.match(JSON.parse(command.stdout()), { received: 300, stored: 300, duplicates: 0, undeleted: 0 })
  t.equal(await countRows(), 300)
  t.equal(count(), 0)
  for (const worker of [1, 2]) t.match(command.stderr(), `"worker":${worker}`, 'each line says whose it is')
})

for (const processes of [[], ['--processes', '2']]) {
  t.test(`a drain that is stopped before its end is no success: ${processes.join(' ')}`, async t => {
    const { environment, queue, count } = await startWorld(t)
    await queue.send(loginBodies(2000))
    const command = startCommand(t, ['worker', '--drain', '--json', ...processes], environment)
    await readLog(command)('worker_started')
    command.process.kill('SIGTERM')
    t.match(await command.ended, { code: 1 })
    t.ok(count() > 0)
    t.match(JSON.parse(command.stdout()), { undeleted: 0 }, 'the summary is there all the same')
    t.match(command.stderr(), 'tokenvault: stopped: the queue is not drained')
  })
}

t.test('a process that is killed is started anew, and SIGTERM ends all of them in order', async t => {
  const { environment, queue, countRows } = await startWorld(t)
  const command = startCommand(t, ['worker', '--processes', '2', '--json'], { ...environment, METRICS_PORT: '0' })
  const logged = readLog(command)
  const { port } = await logged('metrics_listening')
  const first = await logged('worker_started', ({ worker }) => worker === 1)
  await logged('worker_started', ({ worker }) => worker === 2)

  process.kill(Number(first['pid']), 'SIGKILL')
  t.match(await logged('worker_ended'), { worker: 1, pid: first['pid'], signal: 'SIGKILL' })
  const second = await logged('worker_started', ({ worker }) => worker === 1)
  t.not(second['pid'], first['pid'])

  await queue.send(loginBodies(100))
  for (let stored = 0; stored < 100; ) stored += Number((await logged('batch'))['rows'])
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  t.match(metrics, 'tokenvault_ingest_worker_restarts_total 1')
  t.match(metrics, 'tokenvault_ingest_worker_processes 2')
  const perProcess = [...metrics.matchAll(/^tokenvault_ingest_rows_stored_total\{worker="(\d)"\} (\d+)$/gm)]
  t.strictSame(perProcess.map(([, worker]) => worker).sort(), ['1', '2'])
  t.equal(
    perProcess.reduce((sum, [, , rows]) => sum + Number(rows), 0),
    100,
  )

  command.process.kill('SIGTERM')
  t.match(await command.ended, { code: 0, signal: null }, command.stderr())
  t.match(JSON.parse(command.stdout()), { stored: 100 })
  t.equal(await countRows(), 100)
  t.throws(() => process.kill(Number(second['pid']), 0), { code: 'ESRCH' }, 'no process is left behind')
})

t.test('processes that outlive a killed supervisor finish what is in hand and end', async t => {
  const { environment } = await startWorld(t)
  const command = startCommand(t, ['worker', '--processes', '1'], environment)
  await readLog(command)('worker_started')
  command.process.kill('SIGKILL')
  // The worker shares its standard error, so that ends only when both have.
  t.match(await command.ended, { signal: 'SIGKILL' })
})

t.test('a process that dies at once again and again is given up, with exit code 1', async t => {
  const { environment } = await startWorld(t)
  const command = startCommand(t, ['worker', '--processes', '1'], environment)
  const logged = readLog(command)
  for (let death = 1; death <= 5; death++) {
    const { pid } = await logged('worker_started')
    process.kill(Number(pid), 'SIGKILL')
  }
  t.match(await command.ended, { code: 1 })
  t.match(command.stderr(), /tokenvault: worker_failed: worker process 1 ended 5 times in a row/)
})

t.test('a wrong KEK is refused once and not tried again', async t => {
  const { environment } = await startWorld(t)
  const other = await startWorld(t)
  const command = startCommand(t, ['worker', '--processes', '1'], {
    ...environment,
    KEK_FILE: other.environment.KEK_FILE,
  })
  t.match(await command.ended, { code: 2 })
  t.equal(command.stderr().match(/kek_mismatch/g)?.length, 1)
})
