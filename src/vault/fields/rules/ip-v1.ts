import { isIPv4, isIPv6 } from 'node:net'

/** An IPv4 or IPv6 address. Its part is its network. */
export const ipV1 = {
  /**
   * RFC 5952 text without surrounding white space; an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) becomes its IPv4
   * address. Zones, ports, prefixes and octets with leading zeros are refused.
   */
  normalize(value: string): string | undefined {
    const text = value.trim()
    if (isIPv4(text)) return text
    // isIPv6 takes zones (fe80::1%eth0), which mean something on one host only.
    if (!isIPv6(text) || text.includes('%')) return undefined
    const groups = expandIpv6(text)
    if (groups.slice(0, 5).every(group => group === 0) && groups[5] === 0xffff) {
      return groups
        .slice(6)
        .flatMap(group => [group >> 8, group & 0xff])
        .join('.')
    }
    return compressIpv6(groups)
  },

  /** CIDR text (RFC 4632, 3.1; RFC 5952): the /24 of an IPv4 address, the /48 of an IPv6 one. */
  revealPart(address: string): string {
    if (isIPv4(address)) return `${address.slice(0, address.lastIndexOf('.'))}.0/24`
    const network = expandIpv6(address)
      .slice(0, 3)
      .map(group => group.toString(16))
    while (network.at(-1) === '0') network.pop()
    return `${network.join(':')}::/48`
  },
}

/** @param text an IPv6 address without a zone @returns its eight groups of 16 bits */
export function expandIpv6(text: string): number[] {
  const [head = '', tail] = text.split('::')
  const left = parseGroups(head)
  if (tail === undefined) return left
  const right = parseGroups(tail)
  return [...left, ...new Array<number>(8 - left.length - right.length).fill(0), ...right]
}

function parseGroups(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap(group => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)]
    const [a, b, c, d] = group.split('.').map(Number) as [number, number, number, number]
    return [(a << 8) | b, (c << 8) | d]
  })
}

/** RFC 5952, 4: lower case, no leading zeros, `::` for the first longest run of two zero groups or more. */
function compressIpv6(groups: readonly number[]): string {
  let runStart = 0
  let runLength = 0
  for (let start = 0; start < groups.length; start++) {
    let end = start
    while (groups[end] === 0) end++
    if (end - start > runLength) {
      runStart = start
      runLength = end - start
    }
  }
  const hex = groups.map(group => group.toString(16))
  if (runLength < 2) return hex.join(':')
  return `${hex.slice(0, runStart).join(':')}::${hex.slice(runStart + runLength).join(':')}`
}
