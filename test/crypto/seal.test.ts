import fc from 'fast-check'
import t from 'tap'
import { createAesSiv } from '../../src/crypto/aes-siv.ts'
import type { Binding } from '../../src/crypto/associated-data.ts'
import { packBytes, packText, unpackText } from '../../src/crypto/byte-column.ts'
import { originalLabel, quarantineLabel, Sealer } from '../../src/crypto/seal.ts'
import { everyBitFlipped } from '../helpers/crypto/bytes.ts'
import { checkProperty, unicodeText } from '../helpers/crypto/property.ts'

const key = new Uint8Array(64).fill(5)
const binding: Binding = { label: originalLabel, tenant: 'default', field: 'ip', keyVersion: 1 }
const sealer = new Sealer(createAesSiv(key), binding)
const idA = 'a'.repeat(32)
const idB = 'b'.repeat(32)

const rowId = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(bytes => Buffer.from(bytes).toString('hex'))

t.test('sealed values', async t => {
  await checkProperty(
    t,
    'open in the row they were sealed for, a batch as one by one',
    fc.property(fc.array(fc.tuple(unicodeText(60), rowId), { maxLength: 10 }), rows => {
      const texts = rows.map(([text]) => text)
      const ids = rows.map(([, id]) => id)
      const sealed = sealer.seal(packText(texts), ids)
      const { plaintexts, authentic } = sealer.open(sealed, ids)
      const single = rows.map(([text, id]) => Buffer.from(sealer.seal(packText([text]), [id]).bytes))
      return (
        authentic.every(bit => bit === 1) &&
        JSON.stringify(unpackText(plaintexts)) === JSON.stringify(texts) &&
        Buffer.concat(single).equals(sealed.bytes)
      )
    }),
  )
  await checkProperty(
    t,
    'with any single bit flipped do not open',
    fc.property(unicodeText(20), rowId, (text, id) => {
      const forged = everyBitFlipped(sealer.seal(packText([text]), [id]).bytes)
      const { authentic, plaintexts } = sealer.open(
        packBytes(forged),
        forged.map(() => id),
      )
      return authentic.every(bit => bit === 0) && plaintexts.bytes.every(byte => byte === 0)
    }),
    20,
  )
})

t.test('a sealed value that was moved does not open', async t => {
  const values = packText(['203.0.113.7', '203.0.113.7'])
  const sealed = sealer.seal(values, [idA, idB])
  t.same([...sealer.open(sealed, [idA, idB]).authentic], [1, 1])
  t.same([...sealer.open(sealed, [idB, idA]).authentic], [0, 0], 'rows exchanged')
  const moves: Record<string, Partial<Binding>> = {
    'another label': { label: quarantineLabel },
    'another tenant': { tenant: 'other' },
    'another field': { field: 'device_id' },
    'another key version': { keyVersion: 2 },
  }
  for (const [title, changed] of Object.entries(moves)) {
    const there = new Sealer(createAesSiv(key), { ...binding, ...changed })
    t.same([...there.open(sealed, [idA, idB]).authentic], [0, 0], title)
  }
  const otherKey = new Sealer(createAesSiv(new Uint8Array(64).fill(6)), binding)
  t.same([...otherKey.open(sealed, [idA, idB]).authentic], [0, 0], 'another key')
})

t.test('a row shorter than a SIV is not authentic and throws nothing', async t => {
  t.same([...sealer.open(packBytes([new Uint8Array(), new Uint8Array(15)]), [idA, idB]).authentic], [0, 0])
})
