/** What is read of JSON's source text beside its parsed value. All of it expects text that JSON.parse took. */

const quote = 0x22
const comma = 0x2c
const colon = 0x3a
const backslash = 0x5c

/** @returns undefined where the text is not JSON: what JSON.parse throws quotes it, and is dropped here */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/**
 * Whether a name stands twice in one object, anywhere. JSON.parse keeps the last of such properties, so the text then has more
 * names than the parsed value. Counting takes no set of names an object and no look at how a name is escaped, and is the fastest
 * of what was tried: most bodies repeat nothing.
 *
 * @param parsed what JSON.parse made of the text
 */
export function repeatsName(text: string, parsed: unknown): boolean {
  return countColons(text) !== countNames(parsed)
}

function countColons(text: string): number {
  let colons = 0
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit === quote) index = endOfString(text, index) - 1
    else if (unit === colon) colons++
  }
  return colons
}

/** Without recursion: an attacker decides how deep it is. */
function countNames(parsed: unknown): number {
  let names = 0
  const open = [parsed]
  while (open.length > 0) {
    const value = open.pop()
    if (typeof value !== 'object' || value === null) continue
    const inner = Array.isArray(value) ? value : Object.values(value)
    if (inner !== value) names += inner.length
    for (const element of inner) if (typeof element === 'object') open.push(element)
  }
  return names
}

/** Whether an object has a name twice itself, whatever its members hold. @param parsed what JSON.parse made of the text */
export function repeatsOwnName(text: string, parsed: object): boolean {
  const count = Object.keys(parsed).length
  return count > 0 && elementTexts(text).length !== count
}

/** The source text of a member; of the last of that name, as JSON.parse takes it. */
export function memberText(object: string, name: string): string {
  let found = object
  for (const member of elementTexts(object)) {
    const end = endOfString(member, 0)
    if (JSON.parse(member.slice(0, end)) === name) found = member.slice(member.indexOf(':', end) + 1).trim()
  }
  return found
}

/**
 * The source text of each element of a JSON array, exactly as it was sent. JSON.stringify of the parsed element would
 * lose digits of large numbers and repeated keys, and overflows the stack on deep nesting.
 *
 * @param text an array with at least one element; of an object, the members are given with their names
 */
export function elementTexts(text: string): string[] {
  const texts: string[] = []
  let depth = 0
  let start = 0
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit === quote) index = endOfString(text, index) - 1
    else if (isOpening(unit)) {
      depth++
      if (depth === 1) start = index + 1
    } else if (isClosing(unit)) {
      depth--
      if (depth === 0) texts.push(text.slice(start, index).trim())
    } else if (unit === comma && depth === 1) {
      texts.push(text.slice(start, index).trim())
      start = index + 1
    }
  }
  return texts
}

/** The place behind the JSON string whose opening quote stands at `start`. */
function endOfString(text: string, start: number): number {
  // Most strings hold no backslash, and the native search finds their end in half the time of the loop.
  const found = text.indexOf('"', start + 1)
  if (text.charCodeAt(found - 1) !== backslash) return found + 1
  let index = start + 1
  for (let unit = text.charCodeAt(index); unit !== quote; unit = text.charCodeAt(index)) {
    index += unit === backslash ? 2 : 1
  }
  return index + 1
}

/** `[` or `{`. */
function isOpening(unit: number): boolean {
  return unit === 0x5b || unit === 0x7b
}

/** `]` or `}`. */
function isClosing(unit: number): boolean {
  return unit === 0x5d || unit === 0x7d
}
