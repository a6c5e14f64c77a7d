import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { normalizationRules, type RuleName } from '../../../src/vault/fields/rules/index.ts'
import { checkProperty, unicodeText } from '../../helpers/crypto/property.ts'

const normalizeIp = normalizationRules.get('ip.v1')!.normalize
const normalizeDeviceId = normalizationRules.get('device_id.v1')!.normalize
const normalizeEmail = normalizationRules.get('email.v1')!.normalize
const normalizeNetwork = normalizationRules.get('network.v1')!.normalize
const normalizeText = normalizationRules.get('text.v1')!.normalize

t.test('docs/normalization.md says what the rules do', async t => {
  const lines = readFileSync(new URL('../../../docs/normalization.md', import.meta.url), 'utf8')
    .split('\n')
    .filter(line => line.startsWith('| `'))
  const counts = new Map<string, number>()
  for (const line of lines) {
    const cells = /^\| `([a-z_.0-9]+)` \| `(".*?")` \| (?:`(".*?")`|\*refused\*) \| [^|]*\|$/.exec(line)
    if (cells === null) {
      t.fail(`this line cannot be read: ${line}`)
      continue
    }
    const [, rule, value, normalized] = cells as unknown as [string, RuleName, string, string | undefined]
    const expected = normalized === undefined ? undefined : JSON.parse(normalized)
    const { normalize, revealPart } = normalizationRules.get(rule)!
    t.equal(normalize(JSON.parse(value)), expected, `${rule} ${value}`)
    if (expected !== undefined) t.not(revealPart(expected), expected, `the part of ${rule} ${value} is not the whole`)
    counts.set(rule, (counts.get(rule) ?? 0) + 1)
  }
  for (const rule of normalizationRules.keys()) {
    t.ok((counts.get(rule) ?? 0) > 20, `${rule} has vectors: ${counts.get(rule)}`)
  }
})

t.test('device ids', async t => {
  const padded = fc
    .tuple(
      fc.constantFrom('', ' ', '\t', '\u00a0', '\ufeff', '\u2000'),
      unicodeText(20),
      fc.constantFrom('', '\n', '\u3000'),
    )
    .map(parts => parts.join(''))
  await checkProperty(
    t,
    'normalized twice is normalized once',
    fc.property(padded, text => {
      const once = normalizeDeviceId(text)
      return once === undefined || normalizeDeviceId(once) === once
    }),
    1000,
  )
  await checkProperty(
    t,
    'canonically equivalent texts become one text',
    fc.property(unicodeText(20), text => normalizeDeviceId(text.normalize('NFD')) === normalizeDeviceId(text)),
    500,
  )
  await checkProperty(
    t,
    'UUIDs of any case become one text, and it is lower case',
    fc.property(fc.uuid(), fc.infiniteStream(fc.boolean()), (id, choices) => {
      return normalizeDeviceId(inRandomCase(id, choices)) === id
    }),
  )
  await checkProperty(
    t,
    'text with half a surrogate pair anywhere is refused',
    fc.property(unicodeText(10), fc.integer({ min: 0xd800, max: 0xdfff }), unicodeText(10), (before, half, after) => {
      return normalizeDeviceId(`${before}x${String.fromCharCode(half)}x${after}`) === undefined
    }),
  )
})

t.test('e-mail addresses', async t => {
  const loose = fc.string({ unit: fc.constantFrom(...'aBé\u0301İς.@@ -+"<>\t'), maxLength: 12 })
  await checkProperty(
    t,
    'whatever the text, nothing is thrown, and what is taken normalizes to itself',
    fc.property(fc.oneof(fc.emailAddress(), loose, unicodeText(30)), text => {
      const once = normalizeEmail(text)
      return once === undefined || normalizeEmail(once) === once
    }),
    2000,
  )
  await checkProperty(
    t,
    'the case of the domain means nothing, that of the local part everything',
    fc.property(fc.emailAddress(), fc.infiniteStream(fc.boolean()), (address, choices) => {
      const [local, domain] = address.split('@') as [string, string]
      const once = normalizeEmail(address)
      if (normalizeEmail(`${local}@${inRandomCase(domain, choices)}`) !== once) return false
      const shouted = `${local.toUpperCase()}@${domain}`
      return once === undefined || (normalizeEmail(shouted) === once) === (shouted === address)
    }),
    500,
  )
})

t.test('other text is what device ids are, but for UUIDs', async t => {
  await checkProperty(
    t,
    'one text by either rule',
    fc.property(fc.oneof(unicodeText(20), fc.string({ unit: 'grapheme', maxLength: 20 })), text => {
      return normalizeText(text) === normalizeDeviceId(text)
    }),
    500,
  )
  await checkProperty(
    t,
    'a UUID keeps its case',
    fc.property(fc.uuid(), fc.infiniteStream(fc.boolean()), (id, choices) => {
      const text = inRandomCase(id, choices)
      return normalizeText(text) === text
    }),
  )
})

t.test('ip addresses', async t => {
  const octet = fc.nat(255)
  await checkProperty(
    t,
    'an IPv4 address and every spelling of the IPv6 address mapped to it become one text',
    fc.property(fc.tuple(octet, octet, octet, octet), spelling(), (octets, spell) => {
      const text = octets.join('.')
      const [a, b, c, d] = octets
      const mapped = [0, 0, 0, 0, 0, 0xffff, (a << 8) | b, (c << 8) | d]
      return normalizeIp(text) === text && normalizeIp(spell(mapped)) === text
    }),
    300,
  )
  await checkProperty(
    t,
    'every spelling of an IPv6 address becomes the text that the URL standard gives it',
    fc.property(ipv6Groups(), spelling(), spelling(), (groups, spell, spellAgain) => {
      fc.pre(!(groups.slice(0, 5).every(group => group === 0) && groups[5] === 0xffff))
      // WHATWG's host serializer follows RFC 5952 too, and was written by others.
      const expected = new URL(`http://[${groups.map(group => group.toString(16)).join(':')}]/`).hostname.slice(1, -1)
      const normalized = normalizeIp(spell(groups))
      return (
        normalized === expected && normalizeIp(spellAgain(groups)) === expected && normalizeIp(expected) === expected
      )
    }),
    1000,
  )
  await checkProperty(
    t,
    'the network of an address is what a partial reveal gives of it, and is its own network',
    fc.property(
      fc.oneof(
        fc.ipV4(),
        ipv6Groups().chain(groups => spelling().map(spell => spell(groups))),
      ),
      text => {
        const network = normalizeNetwork(text)
        return (
          network === normalizationRules.get('ip.v1')!.revealPart(normalizeIp(text)!) &&
          normalizeNetwork(network!) === network
        )
      },
    ),
    500,
  )
  await checkProperty(
    t,
    'whatever the text, a network normalizes to itself',
    fc.property(fc.string({ unit: fc.constantFrom(...'0123456789abcf:./ '), maxLength: 24 }), text => {
      const once = normalizeNetwork(text)
      return once === undefined || normalizeNetwork(once) === once
    }),
    2000,
  )
  await checkProperty(
    t,
    'different addresses stay different',
    fc.property(ipv6Groups(), ipv6Groups(), spelling(), (one, other, spell) => {
      return (normalizeIp(spell(one)) === normalizeIp(spell(other))) === (one.join() === other.join())
    }),
    500,
  )
  await checkProperty(
    t,
    'whatever the text, nothing is thrown, and what is taken normalizes to itself',
    fc.property(fc.oneof(unicodeText(30), fc.string({ unit: fc.constantFrom(...'0123456789abcfF:.% ') })), text => {
      const once = normalizeIp(text)
      return once === undefined || normalizeIp(once) === once
    }),
    2000,
  )
})

/** Eight groups, many of them zero, so that runs of zeros of all lengths occur. */
function ipv6Groups(): fc.Arbitrary<number[]> {
  const group = fc.oneof(
    { weight: 3, arbitrary: fc.constant(0) },
    fc.constantFrom(1, 0xf, 0x10, 0xffff),
    fc.nat(0xffff),
  )
  return fc.array(group, { minLength: 8, maxLength: 8 })
}

/** One of the ways to write eight groups: leading zeros, case, `::` for any run of zeros, and a dotted tail. */
function spelling(): fc.Arbitrary<(groups: readonly number[]) => string> {
  return fc
    .tuple(fc.nat(3), fc.nat(28), fc.boolean(), fc.infiniteStream(fc.boolean()))
    .map(([width, run, dotted, choices]) => {
      return groups => {
        const texts = groups.map(group => inRandomCase(group.toString(16).padStart(width + 1, '0'), choices))
        if (dotted) {
          const [high, low] = groups.slice(6) as [number, number]
          texts.splice(6, 2, [high >> 8, high & 255, low >> 8, low & 255].join('.'))
        }
        const runs: [number, number][] = []
        for (let start = 0; start < texts.length; start++) {
          for (let end = start + 1; end <= texts.length && /^0+$/.test(texts[end - 1]!); end++) runs.push([start, end])
        }
        const [start, end] = runs[run % (runs.length + 1)] ?? [0, 0]
        if (end === 0) return texts.join(':')
        return `${texts.slice(0, start).join(':')}::${texts.slice(end).join(':')}`
      }
    })
}

function inRandomCase(text: string, choices: fc.Stream<boolean>): string {
  return [...text].map(letter => (choices.next().value ? letter.toUpperCase() : letter)).join('')
}
