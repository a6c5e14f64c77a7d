import { startFauxqs } from 'fauxqs'
import t, { type Test } from 'tap'
import { runCommand } from '../../helpers/cli/cli.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'
import { loginBodies } from '../../helpers/queue/events.ts'
import { type Intercept, startQueueProxy } from '../../helpers/queue/proxy.ts'

/** Dead letters, and the commands that see them. */
async function build(
  t: Test,
  letters: number,
  intercept: Intercept = async ({ forward }) => ({ output: await forward() }),
) {
  const vault = await createVaultDatabase(t)
  const server = await startFauxqs({ port: 0, logger: false })
  t.teardown(() => server.stop())
  const proxy = await startQueueProxy(`http://127.0.0.1:${server.port}`, intercept)
  t.teardown(() => proxy.close())
  server.createQueue('dead')
  const policy = { deadLetterTargetArn: 'arn:aws:sqs:us-east-1:000000000000:dead', maxReceiveCount: 5 }
  const { queueUrl } = server.createQueue('logins', { attributes: { RedrivePolicy: JSON.stringify(policy) } })
  for (const body of loginBodies(letters)) server.sendMessage('dead', body)
  const environment = {
    DATABASE_URL: vault.urlFor('tokenvault_worker'),
    KEK_FILE: vault.kekFile,
    SQS_QUEUE_URL: queueUrl,
    AWS_ENDPOINT_URL_SQS: proxy.endpoint,
  }
  return (...args: string[]) => runCommand(t, args, environment)
}

t.test('the dead-letter queue from the shell', { timeout: 150_000 }, async t => {
  const run = await build(t, 12)
  const status = await run('dlq', 'status')
  t.equal(status.code, 0, status.stderr)
  t.match(status.stdout, /dead +12 +0 +0\nA message becomes a dead letter after 5 receives/)
  t.match(await run('dlq', 'redrive', '--max', '2', '--json'), {
    code: 0,
    stdout: '{"moved":2,"back":0,"notSent":0,"undeleted":0,"left":10,"stopped":false,"failed":false}\n',
    stderr: '',
  })
  t.match(await run('dlq', 'redrive'), { code: 0, stdout: '10 moved, 0 left\n', stderr: '' })
  t.match(await run('worker', '--drain', '--json'), { stdout: /"stored":12/ })
  t.match(await run('dlq', 'redrive', '--rate', '0'), { code: 2 })
})

t.test('a redrive that the queue ends in its middle says what it moved', { timeout: 150_000 }, async t => {
  let receives = 0
  const run = await build(t, 80, async ({ action, forward }) =>
    action === 'ReceiveMessage' && ++receives % 7 === 0
      ? { status: 400, body: '{"__type":"x#AccessDenied","message":"canary"}' }
      : { output: await forward() },
  )
  t.match(await run('dlq', 'redrive', '--json'), {
    code: 1,
    stdout: '{"moved":70,"back":0,"notSent":0,"undeleted":0,"left":null,"stopped":false,"failed":true}\n',
    stderr: /^tokenvault: queue_unavailable: ReceiveMessage: AccessDenied\./,
  })
  receives = 6
  t.match(await run('dlq', 'redrive'), { code: 1, stdout: 'failed: 10 moved\n' })
})
