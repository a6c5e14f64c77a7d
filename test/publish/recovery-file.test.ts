import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createFileRecovery, type RecoveryPlace } from '../../src/publish/recovery-file.ts'
import { createS3Sink } from '../../src/publish/s3-sink.ts'
import { publishRecoveries } from '../../src/publish/schedules.ts'
import type { StoredKeyRecovery } from '../../src/vault/keys/ports.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { startS3 } from '../helpers/evidence/s3-server.ts'
import { until } from '../helpers/faults/plan.ts'
import { createTestLog } from '../helpers/queue/server.ts'

const credentials = { accessKeyId: 'AKIASECRET', secretAccessKey: 'secret-canary' }

/** The newest alone, and none once there is none: whoever keeps it. */
async function testPlace(t: Test, place: RecoveryPlace, read: () => Promise<string | undefined>) {
  await place.removeRecovery()
  await place.writeRecovery('one')
  await place.writeRecovery('two')
  t.equal(await read(), 'two')
  await place.removeRecovery()
  t.equal(await read(), undefined)
}

t.test('a directory holds the newest recovery alone', async t => {
  const directory = temporaryDirectory(t)
  const path = join(directory, 'recovery.age')
  await testPlace(t, createFileRecovery(directory), async () =>
    existsSync(path) ? readFileSync(path, 'utf8') : undefined,
  )
  const missing = createFileRecovery(join(directory, 'not-mounted'))
  await t.rejects(missing.writeRecovery('x'), { code: 'checkpoint_unavailable' })
})

t.test('a bucket holds the newest recovery alone, and tells the checkpoint that a backup reaches', async t => {
  const s3 = await startS3(t, ['evidence'])
  const place = { bucket: 'evidence', prefix: 'vault', region: 'eu-central-1', endpoint: s3.endpoint, credentials }
  const sink = createS3Sink(place)
  t.teardown(() => sink.close())
  await testPlace(t, sink, () => s3.read('evidence', 'vault/recovery.age'))
  for (const treeSize of [3, 70, 500]) await sink.publish({ treeSize, note: `note ${treeSize}` })
  await sink.writeRecovery('sealed')
  t.strictSame(await sink.findAtMost(499), { treeSize: 70, note: 'note 70' })
  t.strictSame(await sink.findAtMost(500), { treeSize: 500, note: 'note 500' })
  t.equal(await sink.findAtMost(2), undefined)
  t.match(await sink.findNewest(0), { treeSize: 500 })
})

t.test('what is published follows the database, and stays as it is while the log is another one', async t => {
  const recovery = (sealed: string): StoredKeyRecovery => ({
    sealed,
    recipients: [],
    keysetDigest: '',
    madeAt: new Date(),
  })
  const done: string[] = []
  let stored: StoredKeyRecovery | undefined = recovery('first')
  let isLogHeld = false
  let looks = 0
  const stop = publishRecoveries({
    store: {
      async readRecovery() {
        looks++
        return stored
      },
    },
    place: {
      writeRecovery: async sealed => void done.push(sealed),
      removeRecovery: async () => void done.push('removed'),
    },
    isLogHeld: () => {
      looks++
      return isLogHeld
    },
    intervalMilliseconds: 1,
    log: createTestLog().log,
  })
  t.teardown(stop)
  const lookTwice = (from = looks) => until('two looks', () => looks > from + 5)
  await lookTwice()
  t.strictSame(done, [], 'a restored backup publishes nothing')
  isLogHeld = true
  await lookTwice()
  stored = recovery('second')
  await lookTwice()
  stored = undefined
  await lookTwice()
  t.strictSame(done, ['first', 'second', 'removed'], 'each once')
})
