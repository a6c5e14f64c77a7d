import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { type AddressScope, describeAddress, scopeBlocks } from '../../../src/vault/fields/address-scope.ts'
import { ipV1 } from '../../../src/vault/fields/rules/ip-v1.ts'
import { checkProperty } from '../../helpers/crypto/property.ts'

/** First and last addresses of blocks of the registries, and their neighbours. */
const examples: Readonly<Record<AddressScope, readonly string[]>> = {
  public: [
    ...['1.0.0.0', '8.8.8.8', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '172.15.255.255'],
    ...['172.32.0.0', '192.0.0.9', '192.0.0.10', '192.0.1.0', '192.31.196.1', '192.52.193.1', '192.175.48.1'],
    ...['198.17.255.255', '198.20.0.0', '223.255.255.255', '::ffff:8.8.8.8'],
    ...[
      '2000::',
      '2001:1::1',
      '2001:1::2',
      '2001:1::3',
      '2001:3::1',
      '2001:4:112::1',
      '2001:20::1',
      '2001:3f:ffff::1',
      '2001:200::1',
    ],
    ...['2001:db7:ffff::', '2001:db9::', '2003::1', '2606:4700::1111', '2620:4f:8000::1', '3ffe:ffff::', '3fff:1000::'],
  ],
  private: ['10.0.0.0', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.0.1', '::ffff:192.168.0.1'],
  unique_local: ['fc00::', 'fd12:3456:789a::1', 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  shared: ['100.64.0.0', '100.127.255.255'],
  loopback: ['127.0.0.1', '127.255.255.255', '::1'],
  link_local: ['169.254.0.1', '169.254.255.255', 'fe80::1', 'febf::1'],
  multicast: ['224.0.0.1', '239.255.255.255', 'ff00::', 'ff02::1'],
  documentation: ['192.0.2.1', '198.51.100.1', '203.0.113.7', '2001:db8::1', '3fff::1', '3fff:fff::1'],
  benchmarking: ['198.18.0.1', '198.19.255.255', '2001:2::1', '2001:2:0:ffff::'],
  transition: ['64:ff9b::8.8.8.8', '64:ff9b:1::1', '2001::1', '2001:0:ffff::', '2002:c000:204::1'],
  reserved: [
    ...['0.0.0.0', '0.1.2.3', '192.0.0.0', '192.0.0.8', '192.0.0.170', '192.88.99.1', '240.0.0.0', '255.255.255.255'],
    ...['::', '::2', '::1.2.3.4', '64:ff9b:2::', '100::1', '100:0:0:1::1', '2001:1::4', '2001:2:1::', '2001:10::1'],
    ...['2001:1ff::1', '4000::', '5f00::1', 'fbff::', 'fe00::', 'fec0::1'],
  ],
}

t.test('addresses of the IANA registries have their scope, and their neighbours have another', async t => {
  for (const [scope, addresses] of Object.entries(examples))
    for (const address of addresses)
      t.strictSame(describeAddress(address), { family: ipV1.normalize(address)!.includes(':') ? 6 : 4, scope }, address)
  t.same(new Set(scopeBlocks.map(([, scope]) => scope)), new Set(Object.keys(examples)), 'no scope is without a block')
})

t.test('every address has one scope, and what is no address has none', async t => {
  const address = fc.oneof(fc.ipV4(), fc.ipV6())
  await checkProperty(
    t,
    'each address',
    fc.property(address, text => {
      const normalized = ipV1.normalize(text)!
      const facts = describeAddress(text)!
      return facts.family === (normalized.includes(':') ? 6 : 4) && Object.hasOwn(examples, facts.scope)
    }),
    500,
  )
  for (const text of ['', 'unknown', '010.0.0.1', '1.2.3', '0x7f.1', '203.0.113.0/24', 'fe80::1%eth0'])
    t.equal(describeAddress(text), undefined, text)
})

t.test('docs/normalization.md lists every block with its scope and source', async t => {
  const page = readFileSync(new URL('../../../docs/normalization.md', import.meta.url), 'utf8')
  const rows = [...page.matchAll(/^\| ([0-9a-f.:]+\/\d+) \| ([a-z_]+) \| (.+) \|$/gm)].map(([, ...cells]) => cells)
  t.strictSame(rows, scopeBlocks)
})
