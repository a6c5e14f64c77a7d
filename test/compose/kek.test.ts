import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openKek } from '../../src/compose/kek.ts'
import { loadConfig } from '../../src/config/load.ts'
import { openLocalKek } from '../../src/kms/local.ts'

const database = 'postgres://migrator@db.test/vault'

t.test('the KEK is that of the provider that the configuration names', async t => {
  const path = join(t.testdir({}), 'kek')
  writeFileSync(path, new Uint8Array(32).fill(1), { mode: 0o600 })
  const named = loadConfig('migrate', { DATABASE_URL: database, KEK_FILE: path, KEK_PROVIDER: 'local' })
  const unnamed = loadConfig('worker', { DATABASE_URL: database, KEK_FILE: path, SQS_QUEUE_URL: 'http://queue.test/q' })
  t.equal(openKek(named).id, openLocalKek(path).id)
  t.equal(openKek(unnamed).id, openLocalKek(path).id, 'local where nothing is named')
})

t.test('a KEK that cannot be opened is refused before anything is done with it', async t => {
  const config = loadConfig('migrate', { DATABASE_URL: database, KEK_FILE: join(t.testdir({}), 'missing') })
  t.throws(() => openKek(config), { code: 'kek_unavailable', message: /ENOENT/ })
})
