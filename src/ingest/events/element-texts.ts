const quote = 0x22
const comma = 0x2c
const backslash = 0x5c

/**
 * The source text of each element of a JSON array, exactly as it was sent. JSON.stringify of the parsed element would
 * lose digits of large numbers and repeated keys, and overflows the stack on deep nesting.
 *
 * @param body valid JSON whose outermost value is an array with at least one element; of an object, the members are given with their names
 */
export function elementTexts(body: string): string[] {
  const texts: string[] = []
  let depth = 0
  let start = 0
  let inString = false
  for (let index = 0; index < body.length; index++) {
    const unit = body.charCodeAt(index)
    if (inString) {
      if (unit === backslash) index++
      else if (unit === quote) inString = false
    } else if (unit === quote) inString = true
    else if (isOpening(unit)) {
      depth++
      if (depth === 1) start = index + 1
    } else if (isClosing(unit)) {
      depth--
      if (depth === 0) texts.push(body.slice(start, index).trim())
    } else if (unit === comma && depth === 1) {
      texts.push(body.slice(start, index).trim())
      start = index + 1
    }
  }
  return texts
}

/** `[` or `{`. */
function isOpening(unit: number): boolean {
  return unit === 0x5b || unit === 0x7b
}

/** `]` or `}`. */
function isClosing(unit: number): boolean {
  return unit === 0x5d || unit === 0x7d
}
