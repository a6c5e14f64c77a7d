import t from 'tap'
import { describeKeyEvent } from '../../../src/vault/admission/key-event.ts'
import { parseEvent } from '../../../src/vault/evidence/criteria.ts'
import { describeEvent } from '../../../src/vault/evidence/found-event.ts'

const find = (event: unknown) => describeEvent(parseEvent(Buffer.from(JSON.stringify(event))), 7, new Uint8Array(32))

t.test('whoever finds an event of keys sees which keys, and which key-encryption key', async t => {
  const done = { administrator: { login: 'carol' }, at: new Date(0), requestId: 'r', kekId: 'local:0123456789abcdef' }
  const event = describeKeyEvent('key_rewrap', [{ purpose: 'data', field: 'ip', version: 2 }], done)
  t.match(find(event), {
    ...{ type: 'key_rewrap', subject: 'carol', channel: 'cli', requested: 1, granted: 1, sequence: 7 },
    ...{ keys: ['data/ip/v2'], kek: 'local:0123456789abcdef' },
  })
  t.notHas(find({ ...event, keys: ['data/ip/v2', 3], kek: {} }), { keys: [] }, 'what is of another type is left out')
  t.notHas(find({ ...event, kek: {} }), { kek: {} })
})
