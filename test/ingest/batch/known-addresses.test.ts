import t from 'tap'
import { createKnownAddresses, rememberAddresses } from '../../../src/ingest/batch/known-addresses.ts'
import type { TokenizedMessage } from '../../../src/ingest/ports.ts'
import { unavailable } from '../../helpers/queue/worker.ts'

t.test('as many addresses are remembered as may be, and each for a limited time', async t => {
  let nowMs = 0
  const known = createKnownAddresses({ most: 4, lifetimeMilliseconds: 100, now: () => nowMs })
  known.add(['a', 'b', 'c'])
  t.same(
    ['a', 'b', 'c'].map(address => known.has(address)),
    [true, true, true],
  )
  known.add(['d', 'e'])
  t.same(
    ['a', 'b', 'c', 'd', 'e'].map(address => known.has(address)),
    [false, false, true, true, true],
  )
  nowMs = 100
  t.ok(known.has('e'))
  nowMs = 200
  t.notOk(known.has('e'), 'what a failover may have taken is stored again')
  known.add(['f'])
  known.forget()
  t.notOk(known.has('f'))
})

t.test('an address is remembered once its network is committed, and no sooner', async t => {
  const known = createKnownAddresses()
  const message = (messageId: string, address: string): TokenizedMessage =>
    ({ messageId, sentOn: '2026-01-01', quarantined: [], rows: [{ networks: [{ address }] }, {}] }) as never
  const nothing = { rows: 0, quarantined: 0, duplicates: 0 }
  let repeated = new Set<string>()
  let fails = false
  const store = rememberAddresses(
    {
      async storeMessages() {
        if (fails) throw unavailable()
        return { ...nothing, repeated }
      },
    },
    known,
  )
  repeated = new Set(['m-2'])
  await store.storeMessages([message('m-1', 'a'), message('m-2', 'b')])
  t.ok(known.has('a'))
  t.notOk(known.has('b'), 'a duplicate wrote nothing')
  fails = true
  await t.rejects(store.storeMessages([message('m-3', 'c')]), { code: 'store_unavailable' })
  t.notOk(known.has('c'))
  t.notOk(known.has('a'), 'who knows what else is gone')
})
