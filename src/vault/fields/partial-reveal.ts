import { isIPv4 } from 'node:net'
import type { NormalizationRule } from './rules.ts'

/** Stands for what is left out. */
const ellipsis = '…'

/**
 * What a partial reveal gives of a normalized value: an IP address's network; the last four characters of a device id or of text,
 * and nothing but `…` where it has no more than eight; the domain of an email address.
 *
 * @param rule by which the value was normalized
 */
export function revealPartially(rule: NormalizationRule, value: string): string {
  switch (rule) {
    case 'ip.v1':
      return networkOf(value)
    case 'device_id.v1':
    case 'text.v1':
      return endOf(value)
    case 'email.v1':
      return `${ellipsis}${value.slice(value.indexOf('@'))}`
  }
}

/** CIDR text (RFC 4632, 3.1; RFC 5952): the /24 of an IPv4 address, the /48 of an IPv6 one. */
function networkOf(address: string): string {
  if (isIPv4(address)) return `${address.slice(0, address.lastIndexOf('.'))}.0/24`
  const [head = '', tail] = address.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? [] : new Array<string>(8 - left.length - right.length).fill('0')
  const network = [...left, ...zeros, ...right].slice(0, 3)
  while (network.at(-1) === '0') network.pop()
  return `${network.join(':')}::/48`
}

/** Characters are code points, so that no half of one is shown. */
function endOf(value: string): string {
  const characters = Array.from(value)
  return characters.length <= 8 ? ellipsis : ellipsis + characters.slice(-4).join('')
}
