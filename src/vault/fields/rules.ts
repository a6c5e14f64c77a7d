import { isIPv4, isIPv6 } from 'node:net'

/**
 * Versioned rules that turn a value into the one text its token is minted from. A rule never changes: equal values
 * must stay equal for ever, so a better rule gets a new version.
 */
export type NormalizationRule = 'ip.v1' | 'device_id.v1' | 'email.v1' | 'text.v1'

/** @returns the normalized text, or undefined where the value is not of the rule's shape */
export type Normalize = (value: string) => string | undefined

export const normalizationRules: ReadonlyMap<NormalizationRule, Normalize> = new Map<NormalizationRule, Normalize>([
  ['ip.v1', normalizeIp],
  ['device_id.v1', normalizeDeviceId],
  ['email.v1', normalizeEmail],
  ['text.v1', normalizeText],
])

/**
 * RFC 5952 text without surrounding white space; an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) becomes its IPv4
 * address. Zones, ports, prefixes and octets with leading zeros are refused.
 */
function normalizeIp(value: string): string | undefined {
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
}

function expandIpv6(text: string): number[] {
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

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** Text; lower case where it is a UUID, whose case means nothing (RFC 9562, 4). */
function normalizeDeviceId(value: string): string | undefined {
  const text = normalizeText(value)
  return text !== undefined && uuid.test(text) ? text.toLowerCase() : text
}

/** Unicode NFC without surrounding white space. */
function normalizeText(value: string): string | undefined {
  // A lone surrogate has no UTF-8: all of them would become U+FFFD and get one token.
  if (!value.isWellFormed()) return undefined
  return value.normalize('NFC').trim() || undefined
}

/**
 * One `@`; before it neither white space, control characters nor what only a quoted local part may hold (RFC 5322,
 * 3.2.3); behind it labels of letters, digits and hyphens joined by single dots, where letters of every script count (RFC 6531).
 */
const emailAddress = /^[^@\s\p{C}()<>[\]:;,\\"]+@[\p{L}\p{M}\p{N}-]+(?:\.[\p{L}\p{M}\p{N}-]+)*$/u

/**
 * Text of an address, its domain in lower case. The local part stays as it is: only the host that owns the domain
 * knows whether case, dots or +tags mean something there (RFC 5321, 2.4). No IDNA: its mapping changes between Unicode versions.
 */
function normalizeEmail(value: string): string | undefined {
  const text = normalizeText(value)
  if (text === undefined || !emailAddress.test(text)) return undefined
  const domain = text.indexOf('@') + 1
  return text.slice(0, domain) + text.slice(domain).toLowerCase().normalize('NFC')
}
