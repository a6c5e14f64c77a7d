import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import {
  ChangeMessageVisibilityCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs'
import t, { type Test } from 'tap'
import { startSqs } from '../../src/embedded/sqs.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { startProcess } from '../helpers/embedded/embedded-process.ts'
import { until } from '../helpers/faults/plan.ts'

function connect(t: Test, { endpoint, queueUrl }: { endpoint: string; queueUrl: string }, region = 'us-east-1') {
  const credentials = { accessKeyId: 'any', secretAccessKey: 'any' }
  const client = new SQSClient({ endpoint, region, credentials, maxAttempts: 1 })
  t.teardown(() => client.destroy())
  const QueueUrl = queueUrl
  return {
    client,
    send: (MessageBody: string) => client.send(new SendMessageCommand({ QueueUrl, MessageBody })),
    receive: async (url = QueueUrl) =>
      (await client.send(new ReceiveMessageCommand({ QueueUrl: url, MaxNumberOfMessages: 10 }))).Messages ?? [],
    remove: (ReceiptHandle?: string) => client.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle })),
    show: (ReceiptHandle?: string) =>
      client.send(new ChangeMessageVisibilityCommand({ QueueUrl, ReceiptHandle, VisibilityTimeout: 0 })),
  }
}

async function start(t: Test, dataDir?: string) {
  const sqs = await startSqs({ port: 0, ...(dataDir === undefined ? {} : { dataDir }) })
  t.teardown(sqs.stop)
  return { ...sqs, ...connect(t, sqs) }
}

const bodies = (messages: { Body?: string | undefined }[]) => messages.map(message => message.Body).sort()

function holds(directory: string, text: string): string[] {
  return readdirSync(directory).filter(name => readFileSync(join(directory, name)).includes(text))
}

t.test('serves a queue with its dead-letter queue to the AWS SDK, in any region', async t => {
  const sqs = await start(t)
  const { Attributes } = await sqs.client.send(
    new GetQueueAttributesCommand({ QueueUrl: sqs.queueUrl, AttributeNames: ['All'] }),
  )
  t.match(Attributes, { MessageRetentionPeriod: '1209600', VisibilityTimeout: '60' })
  t.match(JSON.parse(Attributes?.['RedrivePolicy'] ?? ''), {
    deadLetterTargetArn: /:login-events-dlq$/,
    maxReceiveCount: 5,
  })
  const elsewhere = connect(t, sqs, 'eu-central-1')
  await elsewhere.send('one')
  const messages = await elsewhere.receive()
  t.strictSame(bodies(messages), ['one'])
  await elsewhere.remove(messages[0]?.ReceiptHandle)
})

t.test('the sixth receive moves a message to the dead-letter queue', async t => {
  const sqs = await start(t, temporaryDirectory(t))
  await sqs.send('poison')
  for (let receive = 1; receive <= 5; receive++) {
    const [message] = await sqs.receive()
    t.equal(message?.Body, 'poison', 'a visibility timeout of 0 gives it back at once')
    await sqs.show(message?.ReceiptHandle)
  }
  t.strictSame(await sqs.receive(), [])
  t.strictSame(bodies(await sqs.receive(sqs.deadLetterQueueUrl)), ['poison'])
})

t.test('queued and in-flight messages survive a restart on another port', async t => {
  const dataDir = temporaryDirectory(t)
  const first = await start(t, dataDir)
  await first.send('in flight')
  await first.receive()
  await first.send('queued')
  await first.stop()
  const second = await start(t, dataDir)
  const { QueueUrl } = await second.client.send(new GetQueueUrlCommand({ QueueName: 'login-events' }))
  t.equal(QueueUrl, second.queueUrl)
  t.strictSame(bodies(await second.receive()), ['in flight', 'queued'])
})

t.test('queued and in-flight messages survive kill -9', async t => {
  const dataDir = temporaryDirectory(t)
  const child = startProcess(t, 'sqs', dataDir)
  const first = connect(t, (await child.report) as { endpoint: string; queueUrl: string })
  await first.send('in flight')
  await first.receive()
  await first.send('queued')
  await child.end('SIGKILL')
  const second = await start(t, dataDir)
  t.strictSame(bodies(await second.receive()), ['in flight', 'queued'])
})

/** How a text may stand in a file. */
function formsOf(text: string): Buffer[] {
  const utf8 = Buffer.from(text)
  const utf16 = Buffer.from(text, 'utf16le')
  // Base64 has three forms, by where in a group of three bytes the text begins; whole groups of it are always the same.
  const base64 = [0, 1, 2].map(skip => Buffer.from(utf8.subarray(skip).toString('base64').slice(0, -4)))
  return [utf8, utf16, Buffer.from(utf16).swap16(), Buffer.from(utf8.toString('hex')), ...base64]
}

t.test('a body leaves the files of a running queue when it is deleted; its neighbours stay', async t => {
  const dataDir = temporaryDirectory(t)
  const sqs = await start(t, dataDir)
  const held = (word: string) => {
    const contents = readdirSync(join(dataDir, 'sqs')).map(name => readFileSync(join(dataDir, 'sqs', name)))
    return formsOf(word).some(form => contents.some(content => content.includes(form)))
  }
  // Short ones, and ones that fill many pages, next to each other.
  const sent = Array.from(
    { length: 40 },
    (_, n) => `${n % 2 ? 'canary' : 'sparrow'}-${'bird'.repeat((n % 5) * 700)}-${n}`,
  )
  for (const body of sent) await sqs.send(body)
  t.ok(held('canary') && held('sparrow'), 'they were there')
  const received: { Body?: string | undefined; ReceiptHandle?: string | undefined }[] = []
  for (let batch = await sqs.receive(); batch.length > 0; batch = await sqs.receive()) received.push(...batch)
  t.equal(received.length, 40)
  for (const { Body, ReceiptHandle } of received) if (Body?.startsWith('canary')) await sqs.remove(ReceiptHandle)
  await until('the deleted ones are gone', async () => !held('canary'))
  t.ok(held('sparrow'))
  for (const { Body, ReceiptHandle } of received) if (Body?.startsWith('sparrow')) await sqs.remove(ReceiptHandle)
  await until('and the others', async () => !held('sparrow') && !held('birdbird'))
})

t.test('no deleted body stays in its files after a stop', async t => {
  const dataDir = temporaryDirectory(t)
  const sqs = await start(t, dataDir)
  const large = `canary-${'x'.repeat(20_000)}-yranac`
  await sqs.send('canary-small')
  await sqs.send(large)
  t.not(holds(join(dataDir, 'sqs'), 'canary').length, 0, 'they were there')
  for (const { ReceiptHandle } of await sqs.receive()) await sqs.remove(ReceiptHandle)
  await sqs.stop()
  t.strictSame(holds(join(dataDir, 'sqs'), 'canary'), [])
  t.strictSame(holds(join(dataDir, 'sqs'), 'yranac'), [])
  t.strictSame(holds(join(dataDir, 'sqs'), 'xxxx'), [])
})

t.test('no deleted body stays in its files after kill -9 and a start', async t => {
  const dataDir = temporaryDirectory(t)
  const child = startProcess(t, 'sqs', dataDir)
  const sqs = connect(t, (await child.report) as { endpoint: string; queueUrl: string })
  await sqs.send('canary')
  for (const { ReceiptHandle } of await sqs.receive()) await sqs.remove(ReceiptHandle)
  await child.end('SIGKILL')
  await start(t, dataDir)
  t.strictSame(holds(join(dataDir, 'sqs'), 'canary'), [])
})

t.test('a long poll does not hold up the stop', async t => {
  const sqs = await start(t, temporaryDirectory(t))
  const poll = sqs.client
    .send(new ReceiveMessageCommand({ QueueUrl: sqs.queueUrl, WaitTimeSeconds: 20 }))
    .catch(() => ({}))
  await sqs.client.send(new GetQueueAttributesCommand({ QueueUrl: sqs.queueUrl }))
  await sqs.stop()
  t.strictSame(Object.hasOwn(await poll, 'Messages'), false)
})

t.test('its files are private', async t => {
  const dataDir = temporaryDirectory(t)
  await start(t, dataDir)
  t.equal(statSync(join(dataDir, 'sqs')).mode & 0o777, 0o700)
})

t.test('a web page reads no message: neither by inspection nor by DNS rebinding', async t => {
  const sqs = await start(t)
  await sqs.send('canary')
  for (const path of ['/_fauxqs/queues/login-events', '/login-events', '/']) {
    const response = await fetch(new URL(path, sqs.endpoint))
    t.equal(response.status, 404)
    t.notMatch(await response.text(), 'canary')
  }
  const receive = (headers: Record<string, string>) =>
    sqs.client.config.requestHandler.handle(
      Object.assign(Object.create(null), {
        protocol: 'http:',
        hostname: '127.0.0.1',
        port: sqs.port,
        method: 'POST',
        path: '/',
        query: {},
        headers: { 'x-amz-target': 'AmazonSQS.ReceiveMessage', ...headers },
        body: JSON.stringify({ QueueUrl: sqs.queueUrl }),
      }),
    )
  const json = 'application/x-amz-json-1.0'
  t.equal((await receive({ host: 'rebound.example', 'content-type': json })).response.statusCode, 404)
  t.equal((await receive({ host: '127.0.0.1', 'content-type': 'text/plain' })).response.statusCode, 404)
  t.equal((await receive({ host: '127.0.0.1', 'content-type': json })).response.statusCode, 200)
})

t.test('a taken port is named', async t => {
  const { port } = await start(t)
  await t.rejects(startSqs({ port, dataDir: temporaryDirectory(t) }), { code: 'port_unavailable' })
})
