import { Session } from 'node:inspector/promises'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { composeWorker } from '../../src/compose/worker.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createLog } from '../../src/log.ts'
import { openCheckpointSink } from '../../src/publish/open-sink.ts'
import { startCheckpoints } from '../../src/publish/schedules.ts'
import { createActionLog } from '../../src/store/action-log.ts'
import { createOpenAction } from '../../src/vault/admission/open-action.ts'
import { pages } from '../helpers/docs/pages.ts'
import { startEvidence } from '../helpers/evidence/evidence.ts'
import { createVaultWorld, startVaultApi } from '../helpers/http/vault-api.ts'
import { startQueue } from '../helpers/queue/server.ts'
import { investigator, worldPolicy } from '../helpers/vault/vault-world.ts'

const src = fileURLToPath(new URL('../../src/', import.meta.url))
const policy =
  'version: 1\nroles:\n  investigator: { reveal: { "*": full }, purposes: ["*"], budget: { per_day: 1000 } }\n'

/** How often a trip is made: what runs beside it, by a timer, is not in every one. */
const rounds = 4

/** The files of src in which a function was called in each round of the trip; the catalogue of codes is no step. */
async function filesOf(trip: (round: number) => Promise<unknown>): Promise<Set<string>> {
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false })
  let common: Set<string> | undefined
  // The first one also opens connections and fetches keys.
  await trip(0)
  for (let round = 1; round <= rounds; round++) {
    await session.post('Profiler.takePreciseCoverage')
    await trip(round)
    const { result } = await session.post('Profiler.takePreciseCoverage')
    const called = new Set<string>()
    for (const { url, functions } of result) {
      if (!url.startsWith('file:') || !fileURLToPath(url).startsWith(src)) continue
      const isCalled = functions.some(({ ranges: [whole] }) => whole!.startOffset > 0 && whole!.count > 0)
      if (isCalled && !url.endsWith('/src/errors.ts')) called.add(`src/${fileURLToPath(url).slice(src.length)}`)
    }
    const before: Set<string> | undefined = common
    common = before === undefined ? called : new Set([...called].filter(file => before.has(file)))
  }
  session.disconnect()
  return common!
}

/** The files that the page names for a trip, in their order, and the number of files that it states. */
function documentedFiles(title: string): { files: string[]; stated: number } {
  const section = pages
    .get('docs/architecture.md')!
    .split(/^## /m)
    .find(text => text.startsWith(title))
  if (section === undefined) throw new Error(`docs/architecture.md has no section ${title}`)
  return {
    files: [...section.matchAll(/^\| \d+ \| `(src\/[^`]+)` \|/gm)].map(([, file]) => file!),
    stated: Number(/\*\*(\d+) files\*\*/.exec(section)?.[1]),
  }
}

function compare(t: Test, title: string, called: ReadonlySet<string>): void {
  const { files, stated } = documentedFiles(title)
  t.strictSame(files.toSorted(), [...called].toSorted(), 'the page names the files that were entered')
  t.equal(stated, files.length, 'and says how many they are')
}

t.test('a message from receive to settle', async t => {
  const { vault } = await createVaultWorld(t, { policy, originals: 1 })
  const { server, queueUrl, send } = await startQueue(t)
  const config = loadConfig('worker', {
    DATABASE_URL: vault.urlFor('tokenvault_worker'),
    KEK_FILE: vault.kekFile,
    SQS_QUEUE_URL: queueUrl,
    AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${server.port}`,
    WORKER_BATCH_MILLISECONDS: '1',
  })
  let onBatchLine = () => {}
  const log = createLog('info', { write: line => void (JSON.parse(line).event === 'batch' && onBatchLine()) })
  const worker = await composeWorker(config, { log, environment: {} })
  t.teardown(() => worker.close())
  const stop = new AbortController()
  const ended = worker.run({ drain: false, signal: stop.signal })
  const called = await filesOf(async round => {
    const settled = new Promise<void>(resolve => {
      onBatchLine = resolve
    })
    const event = { user_id: 'u', app_version: '1.0', device_type: 'ios', locale: 'DE' }
    send([JSON.stringify({ ...event, ip: `198.51.100.${round}`, device_id: `device-${round}` })])
    await settled
  })
  stop.abort()
  t.match(await ended, { received: rounds + 1, stored: rounds + 1, undeleted: 0 })
  compare(t, 'A message', called)
})

t.test('a detokenize request from route to reply', async t => {
  const { call, tokens, logged } = await startVaultApi(t, { policy, originals: rounds + 1 })
  const countLines = () => logged().split('"event":"request"').length
  const called = await filesOf(async round => {
    const caller = { sub: `caller-${round}`, roles: ['investigator'] }
    const body = { purpose: 'fraud_investigation', tokens: [tokens[round]] }
    const ask = async () => {
      const lines = countLines()
      const reply = await call(caller, 'POST', '/v1/detokenize', body)
      // The line of the request is written once the reply has left.
      while (countLines() === lines) await setImmediate()
      return reply
    }
    let reply = await ask()
    // Compiling everything at once looks like overload, for as long as that is measured.
    while (reply.json['code'] === 'overloaded') reply = await ask()
    t.match(reply, { status: 200, json: { receipt: {} } })
  })
  compare(t, 'A detokenize request', called)
})

t.test('an event from decision to signed checkpoint', async t => {
  const { apiDatabase, keys, tokenizer, startMaker, directory, published } = await startEvidence(t)
  const sink = openCheckpointSink(`file://${directory}/`, { stdout: process.stdout, s3: { region: 'us-east-1' } })
  t.teardown(() => sink.close())
  const [value] = tokenizer.tokenizeValues('ip', ['198.51.100.7'])
  const token = value !== undefined && 'token' in value ? value.token : ''
  const make = startMaker({ sink })
  let made = () => {}
  const log = createLog('info', { write: () => {} })
  const openAction = createOpenAction({
    log: createActionLog(apiDatabase),
    keys,
    policy: () => worldPolicy,
  })
  const makeCheckpoint = async () => {
    const outcome = await make()
    made()
    return outcome
  }
  const schedule = startCheckpoints({ makeCheckpoint, intervalMilliseconds: 20, log })
  t.teardown(() => schedule.stop())
  const called = await filesOf(async round => {
    const action = { operation: 'detokenize', principal: investigator, requestId: `request-${round}` } as const
    const { record } = await openAction({ ...action, purpose: 'fraud_investigation', requested: 1 })
    const { sequence } = await record({ grantedTokens: [token] })
    while (!published().has(sequence + 1)) {
      await new Promise<void>(resolve => {
        made = resolve
      })
    }
  })
  t.equal(published().size, rounds + 1)
  compare(t, 'An event', called)
})
