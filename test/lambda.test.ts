import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import t from 'tap'
import { openKeyAdministrator } from '../src/compose/key-administration.ts'
import { loadConfig } from '../src/config/load.ts'
import { processLambdaBatch } from '../src/ingest/batch/process-batch.ts'
import { createFirstIdentitySeal } from '../src/ingest/first-identity.ts'
import { createLambdaFunction } from '../src/lambda.ts'
import type { SqsEvent, SqsRecord } from '../src/queue/lambda-event.ts'
import { connectTo, createVaultDatabase, type VaultDatabase } from './helpers/postgres/vault-database.ts'
import { loginEvent, poison, received } from './helpers/queue/events.ts'
import { createMemoryStore } from './helpers/queue/memory-store.ts'
import { createTestLog } from './helpers/queue/server.ts'
import { tokenizeMessages, unavailable } from './helpers/queue/worker.ts'

/**
 * A record as AWS documents it (https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html, "Example Amazon SQS message event"),
 * with our own body and, because receipts are kept for 30 days, today's times.
 */
function record(n: number, body: unknown, changes: Record<string, unknown> = {}): SqsRecord {
  const sentAtMs = Date.now() - 5_000
  return {
    messageId: `${String(n).padStart(8, '0')}-55c3-4f0d-8f0a-9f0c8a7d8a05`,
    receiptHandle: 'AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    attributes: {
      ApproximateReceiveCount: '1',
      SentTimestamp: String(sentAtMs),
      SenderId: 'AIDAIENQZJOLO23YVJ4VO',
      ApproximateFirstReceiveTimestamp: String(sentAtMs + 4),
      ...changes,
    },
    messageAttributes: {},
    md5OfBody: 'e4e68fb7bd0e697a0ae8f1bb342846b3',
    eventSource: 'aws:sqs',
    eventSourceARN: 'arn:aws:sqs:us-east-2:123456789012:my-queue',
    awsRegion: 'us-east-2',
  } as SqsRecord
}

/** A record of a FIFO queue, after the second example of the same page. */
function fifoRecord(n: number, groupId: string, body: unknown, changes: Record<string, unknown> = {}): SqsRecord {
  const fifo = { SequenceNumber: `${18_849_496_460_467_696_128n + BigInt(n)}`, MessageDeduplicationId: `d-${n}` }
  return {
    ...record(n, body, { ...fifo, MessageGroupId: groupId, ...changes }),
    eventSourceARN: 'arn:aws:sqs:us-east-2:123456789012:fifo.fifo',
  }
}

/** Sent before the days for which receipts are taken: the store refuses it, whatever it holds. */
const tooOld = { SentTimestamp: String(Date.now() - 60 * 24 * 3600 * 1000) }

async function start(t: Test, changes: Record<string, string> = {}) {
  const vault = await createVaultDatabase(t)
  const environment = {
    DATABASE_URL: vault.urlFor('tokenvault_worker'),
    KEK_FILE: vault.kekFile,
    LOG_LEVEL: 'fatal',
    ...changes,
  }
  const lines: string[] = []
  const lambda = createLambdaFunction(environment, line => lines.push(line))
  t.teardown(() => lambda.close())
  /** What the last event gave CloudWatch. */
  const metrics = () => JSON.parse(lines.at(-1)!)
  const owner = await vault.connect()
  const users = async () => {
    const { rows } = await owner.query<{ user_id: string }>('SELECT user_id FROM user_logins ORDER BY 1')
    return rows.map(row => row.user_id)
  }
  return { vault, lambda, owner, users, environment, metrics, lines }
}

/** Server processes that serve the function. */
async function backends(owner: Awaited<ReturnType<VaultDatabase['connect']>>): Promise<number[]> {
  const { rows } = await owner.query<{ pid: number }>(
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'tokenvault lambda' AND datname = current_database()",
  )
  return rows.map(({ pid }) => pid).sort()
}

/** Cuts the function off from its database. @returns ends that */
async function goAway(t: Test, { name, adminUrl }: VaultDatabase): Promise<() => Promise<unknown>> {
  const elsewhere = new URL(adminUrl)
  elsewhere.pathname = '/postgres'
  const admin = await connectTo(t, elsewhere.href)
  await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`)
  const mine = "application_name = 'tokenvault lambda' AND datname = $1"
  await admin.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${mine}`, [name])
  return () => admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`)
}

t.test('events become rows, what is none goes to quarantine, and nothing fails', async t => {
  const { lambda, owner, users } = await start(t)
  const event: SqsEvent = {
    Records: [
      record(1, loginEvent(1)),
      record(2, [loginEvent(2), { no: 'event' }, loginEvent(3)]),
      record(3, JSON.stringify({ Type: 'Notification', Message: JSON.stringify(loginEvent(4)) })),
      ...poison.map(({ body }, n) => record(100 + n, body)),
    ],
  }
  t.same(await lambda.handler(event), { batchItemFailures: [] })
  t.same(await users(), ['user-1', 'user-2', 'user-3', 'user-4'])
  const { rows } = await owner.query('SELECT count(*)::int AS n FROM pii_vault.quarantine')
  t.equal(rows[0].n, poison.length + 1)

  const before = await backends(owner)
  t.same(await lambda.handler(event), { batchItemFailures: [] }, 'delivered again')
  t.equal((await users()).length, 4, 'and stored once')
  t.same(await backends(owner), before, 'over the connections of before')
  t.same(await lambda.handler({ Records: [] }), { batchItemFailures: [] })
})

t.test('an instance that stood still takes up changes of keys before its next event', async t => {
  const { lambda, owner, vault } = await start(t)
  const ingest = (n: number) => lambda.handler({ Records: [record(n, { ...loginEvent(n), ip: `203.0.113.${n}` })] })
  t.same(await ingest(1), { batchItemFailures: [] })
  const environment = { DATABASE_URL: vault.adminUrl, KEK_FILE: vault.kekFile }
  const administrator = await openKeyAdministrator(loadConfig('migrate', environment), environment)
  t.teardown(() => administrator.close())
  const made = await administrator.create({ purpose: 'data', field: 'ip' })
  await administrator.promote(made)
  await administrator.disable({ ...made, version: 1 })
  const now = Date.now()
  // It thaws an hour later.
  t.intercept(Date, 'now', { value: () => now + 3_600_000 })
  t.same(await ingest(2), { batchItemFailures: [] })
  const { rows } = await owner.query(
    "SELECT data_key_version AS version, count(*)::int AS n FROM pii_vault.originals WHERE field = 'ip' GROUP BY 1 ORDER BY 1",
  )
  t.same(rows, [
    { version: 1, n: 1 },
    { version: 2, n: 1 },
  ])
})

t.test('each event is one line of metrics, which the embedded metric format takes', async t => {
  const { lambda, vault, metrics, lines } = await start(t, { AWS_LAMBDA_FUNCTION_NAME: 'ingest' })
  await lambda.handler({ Records: [record(1, loginEvent(1)), record(2, loginEvent(2), tooOld), record(3, '{}')] })
  const { _aws, batch_duration_seconds, ...values } = metrics()
  t.ok(batch_duration_seconds > 0)
  t.strictSame(values, {
    function: 'ingest',
    messages_received: 3,
    rows_stored: 1,
    duplicates: 0,
    quarantined: 1,
    placeholders: 0,
    messages_failed: 1,
    messages_unstorable: 1,
    // The batch, one half of it, and the message alone.
    store_failures: 3,
    store_unavailable: 0,
    store_misconfigured: 0,
    batch_failures: 0,
  })
  const [{ Namespace, Dimensions, Metrics }] = _aws.CloudWatchMetrics
  t.ok(Math.abs(Date.now() - _aws.Timestamp) < 60_000)
  t.strictSame([Namespace, Dimensions], ['tokenvault', [['function']]])
  const named = Metrics.map(({ Name }: { Name: string }) => Name)
  t.strictSame(
    named.toSorted(),
    Object.keys({ ...values, batch_duration_seconds })
      .filter(name => name !== 'function')
      .toSorted(),
  )
  for (const line of lines) t.match(line, /^[^\n]*\n$/)

  await goAway(t, vault)
  await t.rejects(lambda.handler({ Records: [record(4, loginEvent(4))] }), { code: 'store_unavailable' })
  t.match(metrics(), { rows_stored: 0, messages_failed: 1, store_failures: 4, store_unavailable: 4, batch_failures: 1 })
  await t.rejects(lambda.handler({} as SqsEvent), { code: 'event_invalid' })
  t.match(metrics(), { messages_received: 0, batch_failures: 1 })
  t.equal(lines.length, 3)
})

t.test('a message that cannot be stored fails alone', async t => {
  const { lambda, users } = await start(t)
  const records = Array.from({ length: 9 }, (_, n) => record(n, loginEvent(n), n === 4 ? tooOld : {}))
  t.same(await lambda.handler({ Records: records }), { batchItemFailures: [{ itemIdentifier: records[4]!.messageId }] })
  t.same(
    await users(),
    [0, 1, 2, 3, 5, 6, 7, 8].map(n => `user-${n}`),
  )
})

t.test('on a FIFO queue it holds back its group, and no other', async t => {
  const { lambda, users } = await start(t)
  const records = Array.from({ length: 10 }, (_, n) =>
    fifoRecord(n, n % 2 ? 'odd' : 'even', loginEvent(n), n === 3 ? tooOld : {}),
  )
  const { batchItemFailures } = await lambda.handler({ Records: records })
  const failed = [3, 5, 7, 9].map(n => ({ itemIdentifier: records[n]!.messageId }))
  t.same(
    batchItemFailures.toSorted((a, b) => a.itemIdentifier.localeCompare(b.itemIdentifier)),
    failed,
  )
  t.same(
    await users(),
    [0, 1, 2, 4, 6, 8].map(n => `user-${n}`),
  )
})

t.test('while the store is away the whole event fails, and afterwards it is stored once', async t => {
  const { lambda, owner, users, vault } = await start(t)
  const event = { Records: [record(1, loginEvent(1)), record(2, loginEvent(2))] }
  await lambda.handler({ Records: [record(0, loginEvent(0))] })

  const comeBack = await goAway(t, vault)
  await t.rejects(lambda.handler(event), { code: 'store_unavailable' })
  await comeBack()
  t.same(await users(), ['user-0'])
  t.same(await lambda.handler(event), { batchItemFailures: [] })
  t.same(await users(), ['user-0', 'user-1', 'user-2'])
  t.ok((await backends(owner)).length > 0)
})

t.test('a store that only an operator can mend fails the whole event at once, and blames no message', async t => {
  const { lambda, owner, users, metrics } = await start(t)
  const event = { Records: [record(1, loginEvent(1)), record(2, loginEvent(2))] }
  const context = { getRemainingTimeInMillis: () => 60_000 }
  await lambda.handler({ Records: [] })
  await owner.query('REVOKE INSERT ON user_logins FROM tokenvault_worker')
  await t.rejects(lambda.handler(event, context), { code: 'store_misconfigured' })
  t.match(metrics(), {
    messages_received: 2,
    messages_failed: 2,
    messages_unstorable: 0,
    store_failures: 1,
    store_misconfigured: 1,
    batch_failures: 1,
  })
  await owner.query('GRANT INSERT ON user_logins TO tokenvault_worker')
  t.same(await lambda.handler(event, context), { batchItemFailures: [] })
  t.same(await users(), ['user-1', 'user-2'])
})

t.test('a store that is away for less time than the function has costs no message a receive', async t => {
  const messages = [received('a', JSON.stringify(loginEvent(1)))]
  const { log } = createTestLog()
  const handle = (failures: number, remainingMilliseconds?: number) => {
    let tries = 0
    const store = createMemoryStore(commit => {
      if (tries++ < failures) throw unavailable()
      return commit()
    })
    return processLambdaBatch(messages, { tokenizeMessages, store, log, remainingMilliseconds })
  }
  t.same(await handle(5, 60_000), [], 'stored at the sixth try')
  await t.rejects(handle(5, 9_000), { code: 'store_unavailable' }, 'with little time left there are four')
  await t.rejects(handle(5), { code: 'store_unavailable' })
})

t.test('a start that fails is tried again by the next event', async t => {
  const { vault, environment } = await start(t)
  const lines: string[] = []
  const lambda = createLambdaFunction(environment, line => lines.push(line))
  t.teardown(() => lambda.close())
  const comeBack = await goAway(t, vault)
  const event = { Records: [record(1, loginEvent(1))] }
  await t.rejects(lambda.handler(event), { code: 'store_unavailable' })
  t.match(JSON.parse(lines.at(-1)!), { store_failures: 1, store_unavailable: 1, batch_failures: 1 })
  // It asks how much time is left before it waits.
  let back: Promise<unknown> | undefined
  const getRemainingTimeInMillis = () => {
    back ??= comeBack()
    return 60_000
  }
  t.same(await lambda.handler(event, { getRemainingTimeInMillis }), { batchItemFailures: [] }, 'it came back in time')
  t.ok(JSON.parse(lines.at(-1)!).store_unavailable >= 1)
  await back
})

t.test('what is missing in the configuration is told at once', async t => {
  const lambda = createLambdaFunction({}, () => {})
  await t.rejects(lambda.handler({ Records: [] }), {
    code: 'config_invalid',
    message: /DATABASE_URL is not set[\s\S]*KEK_FILE/,
  })
})

t.test('what is no SQS event is refused, and quotes nothing', async t => {
  const { lambda, users } = await start(t)
  const events: unknown[] = [
    {},
    null,
    'canary',
    { Records: 'canary' },
    { Records: [null] },
    { Records: [{ messageId: 'canary' }] },
    { Records: [{ EventSource: 'aws:sns', Sns: { Message: 'canary' } }] },
    { Records: [record(1, loginEvent(1)), record(2, loginEvent(2), { SentTimestamp: 'canary' })] },
    { Records: [record(2, loginEvent(2), { SentTimestamp: '9e15' })] },
  ]
  for (const event of events) {
    const error: unknown = await lambda.handler(event as SqsEvent).catch((error: unknown) => error)
    t.match(error, { code: 'event_invalid' }, JSON.stringify(event))
    t.notMatch(String(error), /canary/)
  }
  t.same(await users(), [])
})

t.test('a message that was redriven from the dead-letter queue takes effect under its first identity', async t => {
  const { lambda, users, vault } = await start(t)
  const first = record(1, loginEvent(1))
  await lambda.handler({ Records: [first] })
  const seal = createFirstIdentitySeal(vault.keys)
  const firstIdentity = { messageId: first.messageId, sentAtMs: Number(first.attributes.SentTimestamp) }
  const again = (mark: string, n: number) => ({
    ...record(n, loginEvent(1)),
    messageAttributes: {
      'tokenvault-origin': { stringValue: mark, stringListValues: [], binaryListValues: [], dataType: 'String' },
    },
  })
  await lambda.handler({ Records: [again(seal.seal(firstIdentity, first.body), 2)] })
  t.equal((await users()).length, 1, 'sent twice, stored once')
  await lambda.handler({ Records: [again('v1_forged', 3)] })
  t.equal((await users()).length, 2, 'a mark that is not genuine suppresses nothing')
})

t.test('the handler that is deployed, in a process of its own, logs no value', async t => {
  const { users, environment } = await start(t)
  const entry = fileURLToPath(new URL('../deploy/lambda.mjs', import.meta.url))
  // Lambda switches these off.
  const flags = ['--no-experimental-require-module', '--no-experimental-detect-module']
  const script = `
    const { handler } = await import(process.argv[1])
    const event = JSON.parse(await new Response(process.stdin).text())
    process.stdout.write(JSON.stringify([await handler(event), await handler(event)]))
    process.exit()`
  const child = spawn(process.execPath, [...flags, '--input-type=module', '--eval', script, entry], {
    env: { ...environment, LOG_LEVEL: 'debug' },
  })
  t.teardown(() => child.kill('SIGKILL'))
  const good = record(1, loginEvent(1))
  const bad = record(2, loginEvent(2), tooOld)
  child.stdin.end(JSON.stringify({ Records: [good, bad, ...poison.map(({ body }, n) => record(100 + n, body))] }))
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  const failures = { batchItemFailures: [{ itemIdentifier: bad.messageId }] }
  const lines = out.split('\n')
  t.same(JSON.parse(lines.pop()!), [failures, failures], err)
  t.match(
    lines.map(line => JSON.parse(line)),
    [
      { rows_stored: 1, quarantined: poison.length },
      { rows_stored: 0, quarantined: 0, duplicates: 1 + poison.length },
    ],
  )
  t.same(await users(), ['user-1'])
  t.match(err, /"event":"batch"/)
  t.notMatch(err, /canary|593-47|10\.0\.0/)
})
