import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { openCheckpointSink } from '../../src/publish/open-sink.ts'
import { createS3Sink } from '../../src/publish/s3-sink.ts'
import { createFileSink, createStdoutSink } from '../../src/publish/sinks.ts'
import type { CheckpointSink } from '../../src/vault/evidence/ports.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { startS3 } from '../helpers/evidence/s3-server.ts'

const note = (size: number, root = 'root') => `tokenvault/default\n${size}\n${root}\n\n— tokenvault/default c2ln\n`
const checkpoint = (treeSize: number, root?: string) => ({ treeSize, note: note(treeSize, root) })
const credentials = { accessKeyId: 'AKIASECRET', secretAccessKey: 'secret-canary' }

/** The same promises, whoever keeps the checkpoints. */
async function testWriteOnce(t: Test, sinks: readonly CheckpointSink[], read: (name: string) => unknown) {
  const [first, second] = sinks as [CheckpointSink, CheckpointSink]
  await first.publish(checkpoint(42))
  t.equal(await read('0000000000000042.note'), note(42), 'byte for byte')
  await first.publish(checkpoint(42))
  await second.publish(checkpoint(42))
  await t.rejects(second.publish(checkpoint(42, 'another')), { code: 'audit_invalid', message: /size 42/ })
  t.equal(await read('0000000000000042.note'), note(42), 'never overwritten')
  await Promise.all(Array.from({ length: 20 }, (_, n) => sinks[n % 2]!.publish(checkpoint(Number.MAX_SAFE_INTEGER))))
  t.equal(await read('9007199254740991.note'), note(Number.MAX_SAFE_INTEGER), 'many at once write one')
  const results = await Promise.allSettled(
    Array.from({ length: 10 }, (_, n) => sinks[n % 2]!.publish(checkpoint(43, `root-${n % 2}`))),
  )
  t.equal(results.filter(({ status }) => status === 'fulfilled').length, 5, 'of two histories one is kept')
  for (const result of results) if (result.status === 'rejected') t.match(result.reason, { code: 'audit_invalid' })
}

t.test('files: written once, whole, readable, and nothing is left beside them', async t => {
  const directory = temporaryDirectory(t)
  await testWriteOnce(t, [createFileSink(directory), createFileSink(directory)], name =>
    readFileSync(join(directory, name), 'utf8'),
  )
  const names = readdirSync(directory).toSorted()
  t.strictSame(names, ['0000000000000042.note', '0000000000000043.note', '9007199254740991.note'])
  if (process.platform !== 'win32') {
    for (const name of names) t.equal(statSync(join(directory, name)).mode & 0o777, 0o644)
    const before = process.umask(0o077)
    try {
      await createFileSink(directory).publish(checkpoint(44))
    } finally {
      process.umask(before)
    }
    t.equal(statSync(join(directory, '0000000000000044.note')).mode & 0o777, 0o644, 'whatever the umask')
  }
})

t.test('files: what stood half-written under the name before is no checkpoint of ours, and stays', async t => {
  const directory = temporaryDirectory(t)
  const path = join(directory, '0000000000000042.note')
  writeFileSync(path, note(42).slice(0, 20))
  await t.rejects(createFileSink(directory).publish(checkpoint(42)), { code: 'audit_invalid' })
  t.equal(readFileSync(path, 'utf8'), note(42).slice(0, 20))
})

t.test('files: a directory that is missing, a file, or read-only is refused without its path', async t => {
  const directory = temporaryDirectory(t)
  writeFileSync(join(directory, 'plain-file'), '')
  for (const [place, code] of [
    ['missing-canary', 'ENOENT'],
    ['missing-canary/deeper', 'ENOENT'],
    ['plain-file', 'ENOTDIR'],
  ] as const) {
    const failure = createFileSink(join(directory, place)).publish(checkpoint(1))
    await t.rejects(failure, {
      code: 'checkpoint_unavailable',
      message: `the checkpoint file cannot be written: ${code}`,
    })
  }
  t.strictSame(readdirSync(directory), ['plain-file'], 'no directory is made in place of a volume')
  // root writes everywhere.
  if (process.getuid?.() !== 0 && process.platform !== 'win32') {
    const readOnly = join(directory, 'read-only')
    mkdirSync(readOnly)
    chmodSync(readOnly, 0o500)
    await t.rejects(createFileSink(readOnly).publish(checkpoint(1)), { message: /EACCES/ })
  }
  if (process.platform === 'linux')
    await t.rejects(createFileSink('/proc').publish(checkpoint(1)), { message: /: E[A-Z]+$/ }, 'not even root may')
  const path = join(directory, '0000000000000007.note')
  mkdirSync(path)
  await t.rejects(createFileSink(directory).publish(checkpoint(7)), { code: 'checkpoint_unavailable' })
})

t.test('S3: put once, compared where it is there, by real calls', async t => {
  const s3 = await startS3(t, ['evidence'])
  const options = { bucket: 'evidence', prefix: 'vault/a', region: 'eu-central-1', endpoint: s3.endpoint, credentials }
  const sinks = [createS3Sink(options), createS3Sink(options)]
  t.teardown(() => {
    for (const sink of sinks) sink.close()
  })
  await testWriteOnce(t, sinks, name => s3.read('evidence', `vault/a/${name}`))
})

t.test('S3: what is missing, denied, hanging or gone is named without a secret', async t => {
  const s3 = await startS3(t, ['evidence'])
  const open = (bucket: string, endpoint = s3.endpoint) => {
    const sink = createS3Sink({ bucket, prefix: '', region: 'x', endpoint, credentials, callTimeoutMilliseconds: 300 })
    t.teardown(() => sink.close())
    return sink
  }
  const fails = async (sink: CheckpointSink, message: RegExp) => {
    const error = await sink.publish(checkpoint(1)).then(
      () => undefined,
      (error: unknown) => error,
    )
    t.match(error, { code: 'checkpoint_unavailable', message })
    t.notMatch(`${(error as Error).stack} ${JSON.stringify(error)}`, /secret|canary|AKIA|127\.0\.0\.1/)
    t.equal((error as Error).cause, undefined)
  }
  await fails(open('no-such-bucket'), /^PutObject: NoSuchBucket$/)
  await fails(open('evidence', 'http://127.0.0.1:1'), /^PutObject: ECONNREFUSED$/)
  s3.behave('deny')
  await fails(open('evidence'), /^PutObject: AccessDenied$/)
  s3.behave('hang')
  await fails(open('evidence'), /^PutObject: TimeoutError$/)
})

t.test('standard output: a JSON line a checkpoint; a reader that is gone ends nothing', async t => {
  const stream = new PassThrough()
  await createStdoutSink(stream).publish(checkpoint(42))
  t.strictSame(JSON.parse(stream.read().toString()), { event: 'checkpoint', treeSize: 42, note: note(42) })
  const broken = new Writable({
    write(_chunk, _encoding, done) {
      done(Object.assign(new Error('canary'), { code: 'EPIPE' }))
    },
  })
  const sink = createStdoutSink(broken)
  for (let attempt = 0; attempt < 2; attempt++)
    await t.rejects(sink.publish(checkpoint(42)), { code: 'checkpoint_unavailable', message: /^standard output: E/ })
})

t.test('a CHECKPOINT_URL opens the sink that it names', async t => {
  const directory = join(temporaryDirectory(t), 'with space')
  mkdirSync(directory)
  const s3 = await startS3(t, ['evidence'])
  const stdout = new PassThrough()
  const open = (url: string) => {
    const sink = openCheckpointSink(url, { stdout, s3: { region: 'x', endpoint: s3.endpoint, credentials } })
    t.teardown(() => sink.close())
    return sink
  }
  for (const url of ['stdout:', `${pathToFileURL(directory)}/`, 's3://evidence', 's3://evidence/a/b%20c/'])
    await open(url).publish(checkpoint(1))
  t.match(stdout.read().toString(), /"treeSize":1/)
  t.equal(readFileSync(join(directory, '0000000000000001.note'), 'utf8'), note(1))
  t.equal(await s3.read('evidence', '0000000000000001.note'), note(1))
  t.equal(await s3.read('evidence', 'a/b%20c/0000000000000001.note'), note(1))
  t.throws(() => open('https://evidence/'), { code: 'config_invalid' })
})

t.test('the newest that is published is read back from where it is kept, and nothing else that lies there', async t => {
  const directory = temporaryDirectory(t)
  const s3 = await startS3(t, ['evidence'])
  const open = (url: string) => {
    const sink = openCheckpointSink(url, {
      stdout: new PassThrough(),
      s3: { region: 'x', endpoint: s3.endpoint, credentials },
    })
    t.teardown(() => sink.close())
    return sink
  }
  t.equal(open('stdout:').published, undefined)
  const outside = open('s3://evidence/')
  for (const url of [`${pathToFileURL(directory)}/`, 's3://evidence/a/b', 's3://evidence']) {
    const sink = open(url)
    const isOutside = url === 's3://evidence'
    if (!isOutside) t.equal(await sink.published!.findNewest(0), undefined, 'none')
    for (const size of [9, 10, 1_000]) await sink.publish(checkpoint(size))
    // Names of another place sort between those of this one.
    if (url.endsWith('b')) await outside.publish(checkpoint(2_000))
    for (const from of [0, 10, 1_000])
      t.strictSame(await sink.published!.findNewest(from), checkpoint(isOutside ? 2_000 : 1_000))
    t.equal(await sink.published!.findNewest(2_001), undefined)
  }
  writeFileSync(join(directory, '.0000000000009999.note.draft'), 'half')
  writeFileSync(join(directory, 'notes.txt'), 'x')
  t.strictSame(await open(`${pathToFileURL(directory)}/`).published!.findNewest(0), checkpoint(1_000))
  s3.behave('deny')
  await t.rejects(outside.published!.findNewest(0), {
    code: 'checkpoint_unavailable',
    message: /^ListObjectsV2: AccessDenied$/,
  })
  await t.rejects(open('file:///nowhere/').published!.findNewest(0), {
    code: 'checkpoint_unavailable',
    message: /: ENOENT$/,
  })
})
