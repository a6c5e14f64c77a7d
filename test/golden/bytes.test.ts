import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { matchGolden, readGolden } from '../helpers/golden/golden.ts'
import {
  createFirstIdentitySeal,
  createNoteSigner,
  createNoteVerifier,
  openReceipt,
  runInProcess,
  signReceipt,
  startCommand,
  startQueue,
  temporaryDirectory,
} from '../helpers/golden/seams.ts'
import { createGoldenDatabase, goldenKeys, loggedPort, materialOf, startGoldenApi } from '../helpers/golden/world.ts'

t.test('tokens, sealed originals, rows and metrics of a worker', { timeout: 100_000 }, async t => {
  const { vault, admin } = await createGoldenDatabase(t)
  const { queueUrl, server, send, count } = await startQueue(t)
  const { bodies } = readGolden<{ bodies: readonly unknown[] }>('messages')
  send(bodies.map(body => (typeof body === 'string' ? body : JSON.stringify(body))))
  const worker = startCommand(t, ['worker', '--processes', '1'], {
    DATABASE_URL: vault.urlFor('tokenvault_worker'),
    KEK_FILE: vault.kekFile,
    SQS_QUEUE_URL: queueUrl,
    AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${server.port}`,
    METRICS_PORT: '0',
  })
  const port = await loggedPort(worker, 'metrics_listening')
  const scrape = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  let metrics = ''
  // A settled batch and the depth of the queue are what a worker tells last.
  const told = [new RegExp(`^tokenvault_ingest_batch_messages_sum.* ${bodies.length}$`, 'm'), /state="delayed"/]
  while (!told.every(pattern => pattern.test(metrics))) {
    metrics = await scrape()
    if (worker.process.exitCode !== null) throw new Error(worker.stderr())
  }
  t.equal(count(), 0)
  worker.process.kill('SIGTERM')
  t.match(await worker.ended, { code: 0 })

  const { rows: logins } = await admin.query(
    `SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version FROM user_logins ORDER BY user_id`,
  )
  const { rows: originals } = await admin.query(
    `SELECT replace(token_id::text, '-', '') AS id, field, token_key_version AS "tokenKey", data_key_version AS "dataKey",
       encode(sealed, 'base64') AS sealed FROM pii_vault.originals ORDER BY token_id`,
  )
  const { rows: quarantined } = await admin.query(
    `SELECT reason, event_index AS event, octet_length(sealed) AS bytes FROM pii_vault.quarantine ORDER BY reason, bytes`,
  )
  matchGolden(t, 'worker', { logins, originals, quarantined })
  matchGolden(t, 'metrics', describeMetrics(metrics))
})

/** Names, kinds, helps and labels, without values: what dashboards and alarms are written against. */
function describeMetrics(text: string): Record<string, object> {
  const described = new Map<string, { help: string; type: string; buckets: string[]; labels: string[] }>()
  for (const line of text.trimEnd().split('\n')) {
    const [, name = '', help = ''] = /^# HELP (\S+) (.*)$/.exec(line) ?? []
    if (name !== '') described.set(name, { help, type: '', buckets: [], labels: [] })
    const [, typed = '', type = ''] = /^# TYPE (\S+) (.*)$/.exec(line) ?? []
    if (typed !== '') described.get(typed)!.type = type
    if (line.startsWith('#') || line === '') continue
    const series = line.slice(0, line.lastIndexOf(' '))
    const [owner, metric] = [...described].findLast(([known]) => series.startsWith(known))!
    const [, bucket] = /^_bucket\{le="([^"]+)"/.exec(series.slice(owner.length)) ?? []
    if (bucket === undefined) metric.labels.push(series.slice(owner.length).replaceAll('"', "'"))
    else metric.buckets.push(bucket)
  }
  const sorted = [...described].sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(
    sorted.map(([name, { buckets, labels, ...rest }]) => {
      return [name, { ...rest, ...(buckets.length > 0 && { buckets: buckets.join(' ') }), labels: labels.sort() }]
    }),
  )
}

t.test('first identities of redriven messages, under the quarantine key', async t => {
  const seal = createFirstIdentitySeal(goldenKeys())
  const sentAtMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678)
  const mark = seal.seal({ messageId: '01234567-89ab-4cde-8f01-23456789abcd', sentAtMs }, '{"user_id":"anna"}')
  matchGolden(t, 'first-identity', { mark })
})

t.test('receipts', async t => {
  const signer = createNoteSigner('tokenvault/default', materialOf('signing', ''))
  const { verifierKey, receipts } = readGolden<{
    verifierKey: string
    receipts: { sequence: number; leafHash: string }[]
  }>('receipts')
  const places = receipts.map(({ sequence, leafHash }) => ({ sequence, leafHash: Buffer.from(leafHash, 'base64') }))
  matchGolden(t, 'receipts', {
    verifierKey: signer.verifierKey,
    receipts: places.map(place => signReceipt(signer, place)),
  })
  for (const [index, receipt] of receipts.entries()) {
    const { sequence, leafHash } = openReceipt(receipt, createNoteVerifier(verifierKey))
    t.strictSame({ sequence, leafHash: Buffer.from(leafHash) }, places[index])
  }
})

t.test('the tree of events, its signed checkpoint and its proofs', { timeout: 100_000 }, async t => {
  const { vault, admin } = await createGoldenDatabase(t)
  const { events } = readGolden<{ events: readonly string[] }>('tree')
  for (const event of events) await admin.query('SELECT pii_vault.append_audit(ARRAY[$1::bytea])', [Buffer.from(event)])
  const { rows: leaves } = await admin.query(
    `SELECT encode(leaf_hash, 'base64') AS hash FROM pii_vault.audit_log ORDER BY sequence`,
  )
  const published = temporaryDirectory(t)
  const { api } = await startGoldenApi(t, vault, { CHECKPOINT_URL: `file://${published}/` })
  // Whatever was recorded is in a checkpoint when a process ends.
  api.process.kill('SIGTERM')
  t.match(await api.ended, { code: 0 })
  const { rows: checkpoints } = await admin.query('SELECT tree_size::int AS size, note FROM pii_vault.checkpoints')

  const environment = { DATABASE_URL: vault.urlFor('tokenvault_auditor') }
  const prove = async (sequence: number) => {
    const { code, stdout, stderr } = await runInProcess(['audit', 'prove', String(sequence)], environment)
    t.equal(code, 0, stderr)
    return JSON.parse(stdout)
  }
  const proofs = [await prove(0), await prove(events.length - 1)]
  matchGolden(t, 'tree', {
    ...{ events, leaves: leaves.map(({ hash }) => hash), checkpoints },
    proofs: proofs.map(({ event: _, checkpoint: __, ...proof }) => proof),
  })
  t.strictSame(
    proofs.map(({ event, checkpoint }) => [event, checkpoint]),
    [0, events.length - 1].map(place => [events[place], checkpoints[0].note]),
  )

  const { verifierKey } = readGolden<{ verifierKey: string }>('receipts')
  const file = join(published, 'proof.json')
  writeFileSync(file, JSON.stringify(proofs[0]))
  t.match(await runInProcess(['audit', 'check', file, '--key', verifierKey], environment), { code: 0 })
  const verified = await runInProcess(
    ['audit', 'verify', '--key', verifierKey, '--checkpoint', published, '--json'],
    environment,
  )
  t.match(verified, { code: 0 }, verified.stderr)
  const printed = await runInProcess(['audit', 'key'], { DATABASE_URL: vault.adminUrl, KEK_FILE: vault.kekFile })
  t.match(printed, { code: 0, stdout: `${verifierKey}\n` }, printed.stderr)
})
