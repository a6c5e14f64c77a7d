import t from 'tap'
import { runCommand } from '../../helpers/cli/cli.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'
import { loginEvent } from '../../helpers/queue/events.ts'
import { startQueue } from '../../helpers/queue/server.ts'

t.test('a drain that gave messages back says how many and why, and fails', { timeout: 150_000 }, async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  for (const processes of [[], ['--processes', '2']]) {
    await admin.query(`ALTER TABLE user_logins ADD CONSTRAINT nobody CHECK (user_id <> 'refused')`)
    const { server, queueUrl, send, count } = await startQueue(t)
    const environment = {
      DATABASE_URL: vault.urlFor('tokenvault_worker'),
      KEK_FILE: vault.kekFile,
      SQS_QUEUE_URL: queueUrl,
      AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${server.port}`,
    }
    send([loginEvent(1), loginEvent(2, { user_id: 'refused' }), loginEvent(3)].map(event => JSON.stringify(event)))
    const drain = ['worker', '--drain', ...processes]
    const failed = await runCommand(t, drain, environment)
    t.match(failed, { code: 1, stdout: /, 2 stored, 0 quarantined, 0 duplicates, 0 redriven, \d+ released\n$/ })
    t.match(
      failed.stderr,
      /^tokenvault: released: \d+ deliver(y was|ies were) given back to the queue and not stored: \d+ that the database refuses even alone \(store_refused; the log says why\)\. They come again\.$/m,
    )
    t.match(failed.stderr, /"event":"messages_unstorable".*23514/)
    t.notMatch(failed.stderr, /user-|refused'|10\.0\.0/)
    t.equal(count(), 1)

    await admin.query('ALTER TABLE user_logins DROP CONSTRAINT nobody')
    const again = await startQueue(t)
    again.send([JSON.stringify(loginEvent(4))])
    const done = await runCommand(t, drain, {
      ...environment,
      SQS_QUEUE_URL: again.queueUrl,
      AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${again.server.port}`,
    })
    t.match(done, { code: 0, stdout: '1 received, 1 stored, 0 quarantined, 0 duplicates, 0 redriven\n' })
    t.notMatch(done.stderr, 'tokenvault: released')
  }
})
