import { randomInt, randomUUID } from 'node:crypto'
import { TokenvaultError } from '../../errors.ts'
import { describeAddress } from '../fields/address-scope.ts'
import type { Field } from '../fields/fields.ts'

/** Fewer letters and digits than this make too few values to invent one that nobody has. */
const leastVaried = 6

/**
 * Invents a value that looks like one of the field.
 *
 * @param like a value to take the form of: digits become other digits, letters other letters of their case, hexadecimal ones
 *   where there is no other letter, and the rest stays. Without it the form is that which the rule of the field suggests.
 * @throws TokenvaultError `request_invalid` where it has fewer than six digits and letters of ASCII
 */
export function inventValue({ rule }: Pick<Field, 'rule'>, like?: string): string {
  if (rule === 'ip.v1') return inventAddress(like?.includes(':') === true)
  if (like !== undefined) {
    if ((like.match(/[a-z0-9]/gi) ?? []).length >= leastVaried) return varyText(like)
    throw new TokenvaultError('request_invalid', `like has fewer than ${leastVaried} digits and letters to vary`)
  }
  if (rule !== 'email.v1') return randomUUID()
  return `${varyText('x'.repeat(5 + randomInt(5)))}.${varyText('x'.repeat(4 + randomInt(6)))}@gmail.com`
}

/** A public address: one of another scope would stand out. */
function inventAddress(isIpv6: boolean): string {
  for (;;) {
    const hex = () => randomInt(0x10000).toString(16)
    const address = isIpv6
      ? `2a0${randomInt(10)}:${hex()}:${hex()}:${hex()}:${hex()}:${hex()}:${hex()}:${hex()}`
      : Array.from({ length: 4 }, () => randomInt(1, 255)).join('.')
    if (describeAddress(address)?.scope === 'public') return address
  }
}

function varyText(like: string): string {
  const letters = like.replace(/[^a-z]/gi, '')
  const isHex = /\d/.test(like) && /^[a-f]+$/i.test(letters)
  const pick = (characters: string) => characters[randomInt(characters.length)]!
  return Array.from(like, character => {
    if (isHex && /[0-9a-f]/.test(character)) return pick('0123456789abcdef')
    if (isHex && /[0-9A-F]/.test(character)) return pick('0123456789ABCDEF')
    if (/[0-9]/.test(character)) return pick('0123456789')
    if (/[a-z]/.test(character)) return pick('abcdefghijklmnopqrstuvwxyz')
    return /[A-Z]/.test(character) ? pick('ABCDEFGHIJKLMNOPQRSTUVWXYZ') : character
  }).join('')
}
