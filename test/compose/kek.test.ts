import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openKek } from '../../src/compose/kek.ts'
import { loadConfig } from '../../src/config/load.ts'
import { openLocalKek } from '../../src/kms/local.ts'
import { keyArn, startKms } from '../helpers/kms/kms-server.ts'

const database = { DATABASE_URL: 'postgres://migrator@db.test/vault' }

t.test('the KEK is that of the provider that the configuration names', async t => {
  const path = join(t.testdir({}), 'kek')
  writeFileSync(path, new Uint8Array(32).fill(1), { mode: 0o600 })
  const named = loadConfig('migrate', { ...database, KEK_FILE: path, KEK_PROVIDER: 'local' })
  const unnamed = loadConfig('worker', { ...database, KEK_FILE: path, SQS_QUEUE_URL: 'http://queue.test/q' })
  const { id } = openLocalKek(path)
  t.equal((await openKek(named, {})).id, id)
  t.equal((await openKek(unnamed, {})).id, id, 'local where nothing is named')

  const printed = loadConfig('lambda', { ...database, KEK_PROVIDER: 'command', KEK_COMMAND: 'cat "$KEK"' })
  t.equal(
    (await openKek(printed, { ...process.env, KEK: path })).id,
    id,
    'a command, with the environment of the process',
  )
})

t.test('a key in KMS is asked in its own region, whatever region the process works in', async t => {
  const kms = await startKms(t)
  const credentials = { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret' }
  const environment = { ...database, ...credentials, AWS_REGION: 'us-west-2', AWS_ENDPOINT_URL_KMS: kms.endpoint }
  const config = loadConfig('migrate', { ...environment, KEK_PROVIDER: 'aws-kms', KMS_KEY_ARN: keyArn, TENANT: 'acme' })
  const kek = await openKek(config, environment)
  const wrapped = await kek.wrap(new Uint8Array(64), Buffer.from('place'))
  t.same(Buffer.from(await kek.unwrap(wrapped, Buffer.from('place'))), Buffer.alloc(64))
  t.same(kms.faults, [])
})

t.test('a KEK that cannot be opened is refused before anything is done with it', async t => {
  const config = loadConfig('migrate', { ...database, KEK_FILE: join(t.testdir({}), 'missing') })
  await t.rejects(openKek(config, {}), { code: 'kek_unavailable', message: /ENOENT/ })
})

t.test('what a provider needs must be there, and what another one needs must not', async t => {
  const wrong: [Record<string, string>, RegExp][] = [
    [{}, /KEK_FILE is not set/],
    [{ KEK_PROVIDER: 'aws-kms' }, /KMS_KEY_ARN is not set/],
    [{ KEK_PROVIDER: 'command' }, /KEK_COMMAND is not set/],
    [{ KEK_FILE: '/kek', KMS_KEY_ARN: keyArn }, /KMS_KEY_ARN is set and KEK_PROVIDER is local; leave it out, or set/],
    [{ KEK_PROVIDER: 'aws-kms', KMS_KEY_ARN: keyArn, KEK_FILE: '/kek' }, /KEK_FILE is set and KEK_PROVIDER is aws-kms/],
    [{ KEK_PROVIDER: 'command', KEK_COMMAND: 'x', KEK_IDENTITY_FILE: '/id' }, /KEK_IDENTITY_FILE is set/],
    [{ KEK_PROVIDER: 'aws-kms', KMS_KEY_ARN: 'arn:aws:kms:eu-central-1:111122223333:alias/tokenvault' }, /KMS_KEY_ARN/],
    [{ KEK_PROVIDER: 'aws-kms', KMS_KEY_ARN: '1234abcd-12ab-34cd-56ef-1234567890ab' }, /KMS_KEY_ARN/],
    [{ KEK_PROVIDER: 'hsm', KEK_FILE: '/kek' }, /KEK_PROVIDER/],
  ]
  for (const [variables, says] of wrong)
    t.throws(() => loadConfig('migrate', { ...database, ...variables }), { code: 'config_invalid', message: says })
})
