import t from 'tap'
import { createQuarantineStore } from '../../../src/store/quarantine.ts'
import { runCommand, startCommand } from '../../helpers/cli/cli.ts'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'
import { loginBodies } from '../../helpers/queue/events.ts'
import { startQueue } from '../../helpers/queue/server.ts'
import { quarantine, readState } from '../../helpers/vault/quarantine.ts'

t.test('an operator’s first look at what is no event, from the shell', { timeout: 150_000 }, async t => {
  const dataDir = temporaryDirectory(t)
  const up = startCommand(t, ['up', '--port', '0', '--data-dir', dataDir])
  await up.printed(/see this again/)
  const run = (...args: string[]) => runInProcess(['quarantine', ...args, '--data-dir', dataDir])

  const listed = await run('list', '--json')
  t.strictSame([listed.code, listed.stderr], [0, ''])
  const { entries } = JSON.parse(listed.stdout)
  t.match(entries, [{ reason: 'user_id_missing', state: 'quarantined' }])
  const { id } = entries[0]
  const table = await run('list')
  t.match(table.stdout, /^id +reason +sent on +message +event +bytes +redrives +quarantined at\n-/)
  t.match(table.stdout, `\n${id}  user_id_missing  `)

  const shown = await run('show', id)
  t.match(shown.stdout, /body is JSON +object\n {2}user_id +missing\n(.|\n)* {2}other properties +1\n$/)
  t.notMatch(shown.stdout, /hello/)
  t.match(await run('show', id, '--open'), { code: 2, stderr: /--open needs --purpose/ })
  t.match(await run('show', id, '--open', '--purpose', 'producer_fault'), {
    code: 0,
    stdout: '{"hello":"no login event"}\n',
  })

  t.match(await run('redrive', id), { code: 0, stdout: /^1 requested/ })
  for (let redrives = 0; redrives === 0; ) ({ redrives } = JSON.parse((await run('show', id, '--json')).stdout))
  t.match(JSON.parse((await run('show', id, '--json')).stdout), { state: 'quarantined', reason: 'user_id_missing' })
  t.match(await run('redrive', '--all', '--reason', 'ip_invalid', '--json'), { stdout: '{"requested":0}\n' })

  t.match(await run('discard', id), { code: 0, stdout: /discarded; its body is erased/ })
  t.match(await run('list'), { code: 0, stdout: 'no entry is quarantined\n' })
  t.match(await run('discard', id), { code: 1, stderr: /api_refused: 409 quarantine_settled/ })
  const status = await runInProcess(['dlq', 'status', '--json', '--data-dir', dataDir])
  t.match(JSON.parse(status.stdout), { queue: 'login-events', deadLetterDepth: { visible: 0 } })
  t.match(await runCommand(t, ['dlq', 'redrive', '--data-dir', dataDir]), { code: 0, stdout: '0 moved, 0 left\n' })
  for (const args of [
    ['show', 'x'],
    ['redrive', id, '--all'],
  ])
    t.equal((await run(...args)).code, 2, args.join(' '))
})

t.test('two workers redrive at once and one is killed: every event is stored once', { timeout: 150_000 }, async t => {
  const vault = await createVaultDatabase(t)
  const { server, queueUrl } = await startQueue(t)
  const count = 3000
  const store = createQuarantineStore(vault.database('tokenvault_api', 1))
  await store.requestRedrive(await quarantine(vault, loginBodies(count)))
  const environment = {
    DATABASE_URL: vault.urlFor('tokenvault_worker'),
    KEK_FILE: vault.kekFile,
    SQS_QUEUE_URL: queueUrl,
    AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${server.port}`,
  }
  const [doomed] = [startCommand(t, ['worker'], environment), startCommand(t, ['worker'], environment)]
  const admin = await vault.connect()
  const stored = async () => (await admin.query('SELECT count(*)::int AS rows FROM user_logins')).rows[0].rows
  while ((await stored()) === 0);
  doomed!.process.kill('SIGKILL')
  await doomed!.ended
  while ((await stored()) < count);
  const { users, states } = await readState(t, vault)
  t.equal(new Set(users).size, count)
  t.equal(users.length, count)
  t.ok(states.every(({ state, redrives }) => state === 'redriven' && redrives === 1))
})

t.test('a drain sums up its redrives, in one process and in several', { timeout: 150_000 }, async t => {
  const vault = await createVaultDatabase(t)
  const { server, queueUrl } = await startQueue(t)
  const store = createQuarantineStore(vault.database('tokenvault_api', 1))
  const environment = {
    DATABASE_URL: vault.urlFor('tokenvault_worker'),
    KEK_FILE: vault.kekFile,
    SQS_QUEUE_URL: queueUrl,
    AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${server.port}`,
  }
  const [event, none] = [loginBodies(1)[0]!, '{"no":"event"}']
  server.sendMessage('logins', event)
  await store.requestRedrive(await quarantine(vault, [...loginBodies(3), none]))
  t.match(await runCommand(t, ['worker', '--drain', '--json'], environment), {
    code: 0,
    stdout:
      '{"received":1,"stored":4,"quarantined":0,"placeholders":0,"duplicates":0,"released":0,"unstorable":0,"heldBack":0,' +
      '"undeleted":0,"redriven":3,"returned":1}\n',
  })
  await store.requestRedrive(await quarantine(vault, [`[${event},${none}]`], { prefix: 'again' }))
  t.match(await runCommand(t, ['worker', '--drain', '--processes', '2'], environment), {
    code: 0,
    stdout: '0 received, 1 stored, 1 quarantined, 0 duplicates, 1 redriven\n',
  })
})
