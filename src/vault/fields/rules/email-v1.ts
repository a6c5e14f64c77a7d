import { ellipsis, textV1 } from './text.ts'

/**
 * One `@`; before it neither white space, control characters nor what only a quoted local part may hold (RFC 5322,
 * 3.2.3); behind it labels of letters, digits and hyphens joined by single dots, where letters of every script count (RFC 6531).
 */
const emailAddress = /^[^@\s\p{C}()<>[\]:;,\\"]+@[\p{L}\p{M}\p{N}-]+(?:\.[\p{L}\p{M}\p{N}-]+)*$/u

/**
 * Text of an address, its domain in lower case. The local part stays as it is: only the host that owns the domain
 * knows whether case, dots or +tags mean something there (RFC 5321, 2.4). No IDNA: its mapping changes between Unicode
 * versions. Its part is the domain.
 */
export const emailV1 = {
  normalize(value: string): string | undefined {
    const text = textV1.normalize(value)
    if (text === undefined || !emailAddress.test(text)) return undefined
    const domain = text.indexOf('@') + 1
    return text.slice(0, domain) + text.slice(domain).toLowerCase().normalize('NFC')
  },

  revealPart(value: string): string {
    return `${ellipsis}${value.slice(value.indexOf('@'))}`
  },
}
