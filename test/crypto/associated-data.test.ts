import fc from 'fast-check'
import t from 'tap'
import { type Binding, encodeBinding } from '../../src/crypto/associated-data.ts'
import { toHex } from '../helpers/crypto/bytes.ts'
import { checkProperty } from '../helpers/crypto/property.ts'

const binding: Binding = { label: 'tokenvault/token/v1', tenant: 'default', field: 'ip', keyVersion: 1 }

t.test('the encoding never changes, or no stored token would open again', async t => {
  t.equal(
    toHex(encodeBinding(binding)),
    [
      `00000013${Buffer.from('tokenvault/token/v1').toString('hex')}`,
      `00000007${Buffer.from('default').toString('hex')}`,
      `00000002${Buffer.from('ip').toString('hex')}`,
      `00000001${Buffer.from('1').toString('hex')}`,
    ].join(''),
  )
})

t.test('lengths count bytes of UTF-8, not letters', async t => {
  t.match(toHex(encodeBinding({ ...binding, label: '', tenant: 'é' })), /^0000000000000002c3a9/)
})

t.test('injectivity', async t => {
  // A small alphabet, length-like bytes among it, so that pairs come near to one another.
  const part = fc.string({ unit: fc.constantFrom('a', 'b', '1', '\0', '\u0001'), maxLength: 4 })
  const any = fc.record({ label: part, tenant: part, field: part, keyVersion: fc.constantFrom(1, 2, 11, 111) })
  await checkProperty(
    t,
    'two bindings encode alike only where they are alike',
    fc.property(any, any, (one, other) => {
      const same = (Object.keys(one) as (keyof Binding)[]).every(name => one[name] === other[name])
      return (toHex(encodeBinding(one)) === toHex(encodeBinding(other))) === same
    }),
    2000,
  )
  await checkProperty(
    t,
    'and can be read back',
    fc.property(any, one => {
      const bytes = Buffer.from(encodeBinding(one))
      const parts: string[] = []
      let at = 0
      while (at < bytes.length) {
        const end = at + 4 + bytes.readUInt32BE(at)
        parts.push(bytes.toString('utf8', at + 4, end))
        at = end
      }
      return JSON.stringify(parts) === JSON.stringify([one.label, one.tenant, one.field, String(one.keyVersion)])
    }),
  )
  t.not(
    toHex(encodeBinding({ ...binding, tenant: 'ab', field: 'c' })),
    toHex(encodeBinding({ ...binding, tenant: 'a', field: 'bc' })),
  )
})
