import { isIPv4 } from 'node:net'
import { expandIpv6, ipV1 } from './ip-v1.ts'

/** Bits of a network. */
const prefixLength = { ipv4: 24, ipv6: 48 } as const

/** Bits of an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) in front of its IPv4 address. */
const mappedBits = 96

const withLength = /^(.*?)\/(\d{1,3})$/s

/** The network of an address: the /24 of IPv4, the /48 of IPv6. Its part is the /16, or the /32, around it. */
export const networkV1 = {
  /**
   * CIDR text (RFC 4632, 3.1; RFC 5952) of the network that an address lies in, or of a network of that length, whatever stands in
   * the bits behind it. Addresses are read as ip.v1 reads them, so an IPv4-mapped one is an IPv4 address. Networks of
   * other lengths are refused.
   */
  normalize(value: string): string | undefined {
    const text = value.trim()
    const [, written = text, length] = withLength.exec(text) ?? []
    // ip.v1 removes white space around an address, and before a slash it is inside.
    if (written.trim() !== written) return undefined
    const address = ipV1.normalize(written)
    if (address === undefined) return undefined
    if (length !== undefined && length !== String(lengthOf(address, written))) return undefined
    return ipV1.revealPart(address)
  },

  /** CIDR text of the network around the network: the /16 of IPv4, the /32 of IPv6. */
  revealPart(network: string): string {
    const address = network.slice(0, network.indexOf('/'))
    if (isIPv4(address)) return `${address.split('.').slice(0, 2).join('.')}.0.0/16`
    const groups = expandIpv6(address)
      .slice(0, 2)
      .map(group => group.toString(16))
    while (groups.at(-1) === '0') groups.pop()
    return `${groups.join(':')}::/32`
  },
}

function lengthOf(address: string, written: string): number {
  if (!isIPv4(address)) return prefixLength.ipv6
  return written.includes(':') ? mappedBits + prefixLength.ipv4 : prefixLength.ipv4
}
