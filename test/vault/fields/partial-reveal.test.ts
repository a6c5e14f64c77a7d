import { isIPv6 } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { normalizationRules, type RuleName } from '../../../src/vault/fields/rules/index.ts'
import { checkProperty, unicodeText } from '../../helpers/crypto/property.ts'

const revealPart = (rule: RuleName, value: string) => normalizationRules.get(rule)!.revealPart(value)

t.test('an address gives its network', async t => {
  const cases = {
    '203.0.113.7': '203.0.113.0/24',
    '0.0.0.0': '0.0.0.0/24',
    '255.255.255.255': '255.255.255.0/24',
    '2001:db8:7:1::5': '2001:db8:7::/48',
    '2001:db8::1': '2001:db8::/48',
    '2001:db8:0:1:1:1:1:1': '2001:db8::/48',
    '2001:0:7:1:1:1:1:1': '2001:0:7::/48',
    '0:0:7:8:9:a:b:c': '0:0:7::/48',
    '::7:8:9:a:b:c': '0:0:7::/48',
    '::1': '::/48',
    '::': '::/48',
    '0:5::': '0:5::/48',
    'fe80::1': 'fe80::/48',
    'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff': 'ffff:ffff:ffff::/48',
    '1::': '1::/48',
  }
  for (const [address, network] of Object.entries(cases)) t.equal(revealPart('ip.v1', address), network, address)
})

t.test('a network gives the larger one around it', async t => {
  const cases = {
    '203.0.113.0/24': '203.0.0.0/16',
    '0.0.0.0/24': '0.0.0.0/16',
    '2001:db8:7::/48': '2001:db8::/32',
    '2001:0:7::/48': '2001::/32',
    '0:5:6::/48': '0:5::/32',
    '0:0:7::/48': '::/32',
    '::/48': '::/32',
  }
  for (const [network, larger] of Object.entries(cases)) t.equal(revealPart('network.v1', network), larger, network)
})

t.test('a device id gives its last four characters, where it has more than eight', async t => {
  const cases = {
    '3f2504e0-4f89-41d3-9a0c-0305e82c3301': '…3301',
    '123456789': '…6789',
    '12345678': '…',
    '1': '…',
    'Gerät-日本語です': '…本語です',
    '💡💡💡💡💡💡💡💡': '…',
    '💡💡💡💡💡💡💡💡💡': '…💡💡💡💡',
  }
  for (const [id, end] of Object.entries(cases)) {
    t.equal(revealPart('device_id.v1', id), end, id)
    t.equal(revealPart('text.v1', id), end, id)
  }
})

t.test('an email address gives its domain', async t => {
  t.equal(revealPart('email.v1', 'Ada.Lovelace+x@example.org'), '…@example.org')
})

t.test('never more than allowed, whatever the value', async t => {
  const bytes = (count: number) => fc.uint8Array({ minLength: count, maxLength: count })
  await checkProperty(
    t,
    'of IPv4 addresses only the first 24 bits have a say',
    fc.property(bytes(4), fc.nat(255), (octets, other) => {
      const network = revealPart('ip.v1', octets.join('.'))
      const neighbour = revealPart('ip.v1', [...octets.slice(0, 3), other].join('.'))
      return network === neighbour && network === `${octets.slice(0, 3).join('.')}.0/24`
    }),
  )
  const address = (groups: readonly number[]) =>
    normalizationRules.get('ip.v1')!.normalize(groups.map(group => group.toString(16)).join(':'))!
  const group = fc.oneof(fc.constant(0), fc.nat(0xffff))
  const groups = (length: number) => fc.array(group, { minLength: length, maxLength: length })
  await checkProperty(
    t,
    'of IPv6 addresses only the first 48 bits have a say, and the network is canonical',
    fc.property(groups(3), groups(5), groups(5), (network, host, other) => {
      // An IPv4-mapped one is an IPv4 address by now.
      const [one, two] = [address([...network, ...host]), address([...network, ...other])]
      if (!isIPv6(one) || !isIPv6(two)) return true
      const shown = revealPart('ip.v1', one)
      return shown === revealPart('ip.v1', two) && shown === `${address([...network, 0, 0, 0, 0, 0])}/48`
    }),
  )
  for (const rule of ['device_id.v1', 'text.v1'] as const) {
    await checkProperty(
      t,
      `of ${rule} at most four of more than eight characters`,
      fc.property(unicodeText(40), text => {
        const value = normalizationRules.get(rule)!.normalize(text)
        if (value === undefined) return true
        const shown = Array.from(revealPart(rule, value))
        const allowed = Array.from(value).length > 8 ? Array.from(value).slice(-4) : []
        return shown.join('') === `…${allowed.join('')}`
      }),
    )
  }
  await checkProperty(
    t,
    'of an email address nothing before the @',
    fc.property(fc.emailAddress(), text => {
      const value = normalizationRules.get('email.v1')!.normalize(text)
      return value === undefined || revealPart('email.v1', value) === `…@${value.split('@')[1]}`
    }),
  )
})
