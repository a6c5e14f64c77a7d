import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { bodyOf, readInputBodies } from '../../../src/cli/local/input-events.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { startQueue } from '../../helpers/queue/server.ts'

t.test('a message body is what the queue takes, and holds the event unchanged', async t => {
  const { queue, count } = await startQueue(t)
  const events = [{ 'naïve 例 🛰': 'é\ufffe\uffff\u0000\u001b\u007f\u2028 \ud800' }, 'plain', null]
  t.same(
    events.map(event => JSON.parse(bodyOf(event))),
    events,
  )
  t.equal(bodyOf('é例'), '"é例"', 'what the queue takes is not made longer')
  await queue.send(events.map(bodyOf))
  t.equal(count(), events.length)
})

t.test('a file with a byte order mark is read', async t => {
  const path = join(temporaryDirectory(t), 'input.json')
  writeFileSync(path, '\ufeff[{"user_id":"é"}]')
  t.same(await readInputBodies(path), ['{"user_id":"é"}'])
})

t.test('the largest message is taken, one byte more is not', async t => {
  const path = join(temporaryDirectory(t), 'input.json')
  const { queue } = await startQueue(t)
  writeFileSync(path, JSON.stringify(['x'.repeat(1024 * 1024 - 2)]))
  await queue.send(await readInputBodies(path))
  writeFileSync(path, JSON.stringify(['x'.repeat(1024 * 1024 - 1)]))
  await t.rejects(readInputBodies(path), { code: 'input_invalid', message: /element 0 / })
})
