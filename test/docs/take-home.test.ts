import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Client } from 'pg'
import t from 'tap'
import { readInputBodies } from '../../src/cli/local/input-events.ts'
import { runCommand } from '../helpers/cli/cli.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { createTestDatabase } from '../helpers/postgres/embedded-postgres.ts'
import { connectTo } from '../helpers/postgres/vault-database.ts'
import { startQueryOnlySqs } from '../helpers/queue/query-only-sqs.ts'
import { startQueue } from '../helpers/queue/server.ts'
import { realInput, sampleInput } from '../helpers/vault/login-input.ts'

/** docs/production.md, "With the images of a take-home exercise": an old LocalStack with a filled queue, and a Postgres of theirs. */
t.test('the documented lines for take-home images, against a queue that speaks Query only', async t => {
  const { adminUrl } = await createTestDatabase(t)
  const { server } = await startQueue(t)
  server.createQueue('login-queue')
  const { endpoint, close } = await startQueryOnlySqs(`http://127.0.0.1:${server.port}`)
  t.teardown(close)
  const directory = temporaryDirectory(t)
  const environment = {
    DATABASE_URL: adminUrl,
    KEK_FILE: join(directory, 'kek'),
    AWS_ENDPOINT_URL_SQS: endpoint,
    SQS_QUEUE_URL: `${endpoint}/000000000000/login-queue`,
    SQS_PROTOCOL: 'query',
  }

  const page = readFileSync(new URL('../../docs/production.md', import.meta.url), 'utf8')
  const lines = /## With the images of a take-home exercise\n.*?```sh\n(.*?)```/s.exec(page)![1]!
  const named = [...lines.matchAll(/^export ([A-Z_]+)=/gm)].map(([, name]) => name!)
  t.strictSame(
    named.toSorted(),
    Object.keys(environment).toSorted(),
    'the page sets what the commands take, and no more',
  )
  const commands = [...lines.matchAll(/^npx tokenvault (.*?) *#/gm)].map(([, args]) => args!.split(' '))
  t.strictSame(commands, [['key', 'new', 'kek'], ['migrate'], ['worker', '--drain']])

  const [keyNew, migrate, worker] = commands.map(args => args.map(arg => (arg === 'kek' ? environment.KEK_FILE : arg)))
  t.match(await runCommand(t, keyNew!), { code: 0, stderr: '' })
  const migrated = await runCommand(t, migrate!, environment)
  t.equal(migrated.code, 0, migrated.stderr)

  const client = await connectTo(t, adminUrl)
  for (const { name, path, logins, skip } of [sampleInput(directory), realInput()]) {
    await t.test(name, { skip }, async t => {
      const bodies = await readInputBodies(path)
      for (const body of bodies) server.sendMessage('login-queue', body)
      const before = await countLogins(client)
      const { code, stdout, stderr } = await runCommand(t, [...worker!, '--json'], environment)
      t.equal(code, 0, stderr)
      t.match(JSON.parse(stdout.trim().split('\n').at(-1)!), {
        received: bodies.length,
        stored: logins.length,
        quarantined: bodies.length - logins.length,
        duplicates: 0,
      })
      t.equal((await countLogins(client)) - before, logins.length)
    })
  }
  const { rows } = await client.query('SELECT * FROM user_logins LIMIT 1')
  t.same(Object.keys(rows[0]), [
    'user_id',
    'device_type',
    'masked_ip',
    'masked_device_id',
    'locale',
    'app_version',
    'create_date',
  ])
})

async function countLogins(client: Client): Promise<number> {
  const { rows } = await client.query('SELECT count(*)::int AS logins FROM user_logins')
  return rows[0].logins
}
