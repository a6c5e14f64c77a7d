import { BlockList, isIPv4 } from 'node:net'
import { expandIpv6, ipV1 } from '../../vault/fields/rules/ip-v1.ts'

/** Tells whether an address, as `parseAddress` gives it, is in one of the networks. */
export type IsTrusted = (address: string) => boolean

/** @param networks addresses and CIDRs, IPv4 or IPv6 */
export function trustNetworks(networks: readonly string[]): IsTrusted {
  const list = new BlockList()
  for (const network of networks) {
    const [address = '', prefix] = network.split('/')
    const family = isIPv4(address) ? 'ipv4' : 'ipv6'
    if (prefix === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(prefix), family)
  }
  return address => list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')
}

/**
 * Which client a request counts for: the IPv4 address, or the /64 of the IPv6 address, since whoever has one address of that
 * network has all of them. It is read from X-Forwarded-For from the right as far as trusted proxies wrote it. What a proxy wrote
 * that is not an address counts for that proxy, so that no text of a client's makes a new client.
 *
 * @param remote address at the other end of the connection
 * @param forwardedFor the header X-Forwarded-For, all lines of it joined by commas
 */
export function clientKey(remote: string, forwardedFor: string, isTrusted: IsTrusted): string {
  let client = parseAddress(remote)
  if (client === undefined) return 'unknown'
  const hops = forwardedFor === '' ? [] : forwardedFor.split(',')
  while (isTrusted(client)) {
    const next = parseAddress(hops.pop() ?? '')
    if (next === undefined) break
    client = next
  }
  return isIPv4(client) ? client : networkOf(client)
}

/**
 * Reads an address as proxies write it: perhaps with a port, in brackets, in quotation marks (RFC 7239 section 6), with a zone,
 * as an IPv4-mapped IPv6 address.
 *
 * @returns dotted decimals, or RFC 5952 text without a zone; nothing where it is no address
 */
export function parseAddress(text: string): string | undefined {
  const unquoted = text.trim().replace(/^"(.*)"$/, '$1')
  const [, bracketed] = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(unquoted) ?? []
  const [, before] = /^([\d.]+):\d{1,5}$/.exec(unquoted) ?? []
  return ipV1.normalize((bracketed ?? before ?? unquoted).replace(/%[\w.~-]+$/, ''))
}

function networkOf(address: string): string {
  const groups = expandIpv6(address).slice(0, 4)
  return `${groups.map(group => group.toString(16)).join(':')}::/64`
}
