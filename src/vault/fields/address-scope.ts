import ipaddr from 'ipaddr.js'
import { ipV1 } from './rules/ip-v1.ts'

/** What kind of network an address belongs to; docs/normalization.md says what each means. Closed: analysts filter by it. */
export type AddressScope =
  | 'public'
  | 'private'
  | 'unique_local'
  | 'shared'
  | 'loopback'
  | 'link_local'
  | 'multicast'
  | 'documentation'
  | 'benchmarking'
  | 'transition'
  | 'reserved'

/** What is told of an address beside its tokens. */
export interface AddressFacts {
  /** Version of IP. */
  readonly family: 4 | 6
  readonly scope: AddressScope
}

/**
 * The IANA special-purpose address registries (RFC 6890) and address space registries, of 2026; of two blocks that hold an
 * address the smaller one decides. Special-purpose blocks that are globally reachable are public.
 */
export const scopeBlocks: readonly (readonly [block: string, scope: AddressScope, source: string])[] = [
  ['0.0.0.0/0', 'public', 'RFC 791'],
  ['0.0.0.0/8', 'reserved', 'RFC 791, 3.2: this network'],
  ['10.0.0.0/8', 'private', 'RFC 1918'],
  ['100.64.0.0/10', 'shared', 'RFC 6598: carrier-grade NAT'],
  ['127.0.0.0/8', 'loopback', 'RFC 1122, 3.2.1.3'],
  ['169.254.0.0/16', 'link_local', 'RFC 3927'],
  ['172.16.0.0/12', 'private', 'RFC 1918'],
  ['192.0.0.0/24', 'reserved', 'RFC 6890, 2.1: IETF protocol assignments'],
  ['192.0.0.9/32', 'public', 'RFC 7723: Port Control Protocol anycast'],
  ['192.0.0.10/32', 'public', 'RFC 8155: TURN anycast'],
  ['192.0.2.0/24', 'documentation', 'RFC 5737'],
  ['192.88.99.0/24', 'reserved', 'RFC 7526: 6to4 relay anycast, deprecated'],
  ['192.168.0.0/16', 'private', 'RFC 1918'],
  ['198.18.0.0/15', 'benchmarking', 'RFC 2544'],
  ['198.51.100.0/24', 'documentation', 'RFC 5737'],
  ['203.0.113.0/24', 'documentation', 'RFC 5737'],
  ['224.0.0.0/4', 'multicast', 'RFC 5771'],
  ['240.0.0.0/4', 'reserved', 'RFC 1112, 4; 255.255.255.255 is the limited broadcast of RFC 919'],
  ['::/0', 'reserved', 'RFC 4291, 2.4: not allocated, or for protocols'],
  ['2000::/3', 'public', 'RFC 4291, 2.5.4: global unicast'],
  ['::1/128', 'loopback', 'RFC 4291, 2.5.3'],
  ['64:ff9b::/96', 'transition', 'RFC 6052: NAT64'],
  ['64:ff9b:1::/48', 'transition', 'RFC 8215: NAT64 in one network'],
  ['2001::/23', 'reserved', 'RFC 2928: IETF protocol assignments'],
  ['2001::/32', 'transition', 'RFC 4380: Teredo'],
  ['2001:1::1/128', 'public', 'RFC 7723: Port Control Protocol anycast'],
  ['2001:1::2/128', 'public', 'RFC 8155: TURN anycast'],
  ['2001:1::3/128', 'public', 'RFC 9665: DNS-SD Service Registration anycast'],
  ['2001:2::/48', 'benchmarking', 'RFC 5180'],
  ['2001:3::/32', 'public', 'RFC 7450: Automatic Multicast Tunneling'],
  ['2001:4:112::/48', 'public', 'RFC 7535: AS112'],
  ['2001:20::/28', 'public', 'RFC 7343: ORCHIDv2'],
  ['2001:30::/28', 'public', 'RFC 9374: DRIP entity tags'],
  ['2001:db8::/32', 'documentation', 'RFC 3849'],
  ['2002::/16', 'transition', 'RFC 3056: 6to4'],
  ['3fff::/20', 'documentation', 'RFC 9637'],
  ['fc00::/7', 'unique_local', 'RFC 4193'],
  ['fe80::/10', 'link_local', 'RFC 4291, 2.5.6'],
  ['ff00::/8', 'multicast', 'RFC 4291, 2.7'],
]

/** Smallest blocks first. */
const blocks = scopeBlocks
  .map(([block, scope]) => ({ range: ipaddr.parseCIDR(block), scope }))
  .sort((a, b) => b.range[1] - a.range[1])
const blocksOf = Map.groupBy(blocks, ({ range }) => range[0].kind())

/**
 * What kind of address it is.
 *
 * @param value an address, in any spelling that ip.v1 accepts
 * @returns undefined where it is not an address
 */
export function describeAddress(value: string): AddressFacts | undefined {
  const address = ipV1.normalize(value)
  if (address === undefined) return undefined
  const parsed = ipaddr.parse(address)
  const kind = parsed.kind()
  const { scope } = blocksOf.get(kind)!.find(({ range }) => parsed.match(range))!
  return { family: kind === 'ipv4' ? 4 : 6, scope }
}
