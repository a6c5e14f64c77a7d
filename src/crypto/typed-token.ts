import { sivBytes } from './aes-siv.ts'

/** How the tokens of a field are spelled: as text of ours, or as a value of a type that columns have. */
export const tokenFormats = ['text', 'uuid', 'inet'] as const
export type TokenFormat = (typeof tokenFormats)[number]
export type TypedFormat = Exclude<TokenFormat, 'text'>

/** The networks of unique local addresses (RFC 4193, 3.1) that tokens can be addresses of. */
export const inetPrefixes = ['fd00::/8', 'fc00::/8'] as const
export type InetPrefix = (typeof inetPrefixes)[number]

export interface TokenSpelling {
  readonly format: TokenFormat
  /** Of `inet` only. */
  readonly inetPrefix: InetPrefix
}

/** `<field>_v<keyVersion>_<22 letters>`. */
export const textSpelling: TokenSpelling = { format: 'text', inetPrefix: 'fd00::/8' }

/**
 * What keyed digests know a token by: a text token names its field and version itself, before others stands their field. No text
 * token has a space, so that no two tokens have one name.
 *
 * @param token as parsing gives its one spelling
 */
export function nameToken(
  { name, format }: { readonly name: string; readonly format: TokenFormat },
  token: string,
): string {
  return format === 'text' ? token : `${name} ${token}`
}

/** A typed token taken apart. It names neither its field nor a key version; nothing in it is authenticated yet. */
export interface ParsedTypedToken {
  readonly format: TypedFormat
  /** Its 16 bytes as 32 hexadecimal digits: the token's identity in the vault. */
  readonly id: string
  /** The one spelling by which digests know it: an address without /128. */
  readonly canonical: string
  /** Of `inet` only. */
  readonly inetPrefix?: InetPrefix
}

/** Largest number that stands for the bits of a SIV that a format writes over. */
const largestRest = { uuid: 63, inet: 255 } as const satisfies Record<TypedFormat, number>

const firstByte = { 'fd00::/8': 0xfd, 'fc00::/8': 0xfc } as const satisfies Record<InetPrefix, number>

/**
 * Makes SIVs the bytes of typed tokens, in place: a UUID of version 8 (RFC 9562, 5.8) keeps 122 bits of its SIV, an address 120.
 *
 * @returns for each the bits that stood where others stand now; the token and they are the whole SIV
 */
export function takeRests(sivs: Uint8Array, format: TypedFormat, inetPrefix: InetPrefix): number[] {
  const rests = new Array<number>(sivs.length / sivBytes)
  for (let index = 0, at = 0; index < rests.length; index++, at += sivBytes) {
    if (format === 'inet') {
      rests[index] = sivs[at]!
      sivs[at] = firstByte[inetPrefix]
      continue
    }
    const [version, variant] = [sivs[at + 6]!, sivs[at + 8]!]
    rests[index] = ((version >> 4) << 2) | (variant >> 6)
    sivs[at + 6] = 0x80 | (version & 0x0f)
    sivs[at + 8] = 0x80 | (variant & 0x3f)
  }
  return rests
}

/** The inverse of takeRests, in place. What cannot be a rest of the format changes nothing; see isRest. */
export function putRests(ids: Uint8Array, format: TypedFormat, rests: readonly (number | null | undefined)[]): void {
  for (const [index, rest] of rests.entries()) {
    if (!isRest(format, rest)) continue
    const at = index * sivBytes
    if (format === 'inet') {
      ids[at] = rest
      continue
    }
    ids[at + 6] = ((rest >> 2) << 4) | (ids[at + 6]! & 0x0f)
    ids[at + 8] = ((rest & 3) << 6) | (ids[at + 8]! & 0x3f)
  }
}

/** Whether the number can stand for what the format writes over; every SIV has one such number. */
export function isRest(format: TypedFormat, rest: number | null | undefined): rest is number {
  return Number.isInteger(rest) && rest! >= 0 && rest! <= largestRest[format]
}

/** @param ids the tokens' bytes, 16 each @returns the tokens as Postgres prints values of the type */
export function spellTyped(ids: Uint8Array, format: TypedFormat): string[] {
  const hex = Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength).toString('hex')
  const spell = format === 'uuid' ? spellUuid : spellInet
  return Array.from({ length: ids.length / sivBytes }, (_, index) => spell(hex.slice(index * 32, (index + 1) * 32)))
}

// Version 8 and the variant of RFC 9562 (4.1 and 4.2).
const uuidShape = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const inetShape = /^f([cd])[0-9a-f]{2}:[0-9a-f:]{1,34}$/
const longestText = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128'.length

/**
 * Reads what Postgres prints: a UUID in lower case with hyphens, or an IPv6 address as RFC 5952 spells it, to which its text in
 * SQL adds /128.
 *
 * @returns undefined for every other text: upper case, another version or variant, another network, another spelling
 */
export function parseTypedToken(text: string): ParsedTypedToken | undefined {
  if (text.length > longestText) return undefined
  if (uuidShape.test(text)) return { format: 'uuid', id: text.replaceAll('-', ''), canonical: text }
  const canonical = text.endsWith('/128') ? text.slice(0, -'/128'.length) : text
  const prefix = inetShape.exec(canonical)
  const id = prefix === null ? undefined : readInet(canonical)
  // One address, one spelling.
  if (id === undefined || spellInet(id) !== canonical) return undefined
  return { format: 'inet', id, canonical, inetPrefix: prefix![1] === 'd' ? 'fd00::/8' : 'fc00::/8' }
}

function spellUuid(hex: string): string {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** RFC 5952, 4: lower case, no leading zeros, `::` for the first longest run of two zero groups or more. */
function spellInet(hex: string): string {
  const groups = Array.from({ length: 8 }, (_, index) => {
    return Number.parseInt(hex.slice(index * 4, index * 4 + 4), 16).toString(16)
  })
  const full = groups.join(':')
  // The first group of ours is never zero, so that a run has a colon before it.
  const runs = full.match(/(?<=:)0(?::0)+(?=:|$)/g)
  if (runs === null) return full
  const longest = runs.reduce((best, run) => (run.length > best.length ? run : best))
  const start = full.search(new RegExp(`(?<=:)${longest}(?=:|$)`))
  return `${full.slice(0, start)}:${full.slice(start + longest.length + 1)}`
}

/** @returns 32 hexadecimal digits, or undefined where the groups are not those of an address */
function readInet(text: string): string | undefined {
  const parts = text.split('::')
  if (parts.length > 2) return undefined
  const [left = [], right = []] = parts.map(part => (part === '' ? [] : part.split(':')))
  const missing = 8 - left.length - right.length
  if (parts.length === 1 ? missing !== 0 : missing < 1) return undefined
  const groups = [...left, ...new Array<string>(missing).fill('0'), ...right]
  if (groups.some(group => group === '' || group.length > 4)) return undefined
  return groups.map(group => group.padStart(4, '0')).join('')
}
