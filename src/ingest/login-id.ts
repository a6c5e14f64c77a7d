import { hash } from 'node:crypto'

/**
 * The id of a login: the same on every delivery of its message, and another for every other login. A UUID of version 8 (RFC 9562,
 * 5.8) made of the SHA-256 of `tokenvault/login/v1`, the message id and the place of the event, with a zero byte after
 * each of the first two.
 *
 * @param messageId first identity of the message; for what an operator had redriven, the id of the quarantine entry
 * @param eventIndex place of the event in the body
 * @returns hyphenated, in lower case
 */
export function loginId(messageId: string, eventIndex: number): string {
  const digest = hash('sha256', `tokenvault/login/v1\0${messageId}\0${eventIndex}`, 'buffer').subarray(0, 16)
  digest[6] = (digest[6]! & 0x0f) | 0x80
  digest[8] = (digest[8]! & 0x3f) | 0x80
  const hex = digest.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
