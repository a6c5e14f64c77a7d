import fc from 'fast-check'
import t from 'tap'
import { bytesArray, plainArray, textArray } from '../../../src/store/postgres/array-literal.ts'
import { unicodeText } from '../../helpers/crypto/property.ts'
import { createTestDatabase } from '../../helpers/postgres/embedded-postgres.ts'
import { connectTo } from '../../helpers/postgres/vault-database.ts'

t.test('Postgres reads every literal back as what it was made of', async t => {
  const client = await connectTo(t, (await createTestDatabase(t)).adminUrl)
  const text = fc.oneof(
    unicodeText(20).filter(value => !value.includes('\0')),
    fc.constantFrom('', 'NULL', 'null', '{}', '"', '\\', '\\"', 'a,b', ' a ', '\n', "'", '\\x00'),
  )
  const property = fc.asyncProperty(
    fc.array(fc.option(text), { maxLength: 20 }),
    fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 }),
    fc.array(fc.integer({ min: -2_147_483_648, max: 2_147_483_647 }), { maxLength: 20 }),
    async (texts, bytes, numbers) => {
      const { rows } = await client.query('SELECT $1::text[] AS texts, $2::bytea[] AS bytes, $3::int[] AS numbers', [
        textArray(texts),
        bytesArray(bytes),
        plainArray(numbers),
      ])
      t.strictSame(rows[0].texts, texts)
      t.strictSame(
        rows[0].bytes,
        bytes.map(value => Buffer.from(value)),
      )
      t.strictSame(rows[0].numbers, numbers)
    },
  )
  await fc.assert(property, { numRuns: 50 })
})

t.test('bytes of a pooled buffer are its own and not its neighbours’', async t => {
  const pooled = Uint8Array.of(1, 2, 3, 4).subarray(1, 3)
  t.equal(bytesArray([pooled]), '{"\\\\x0203"}')
})
