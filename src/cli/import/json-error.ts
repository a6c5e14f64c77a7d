const token =
  /[{}[\],:]|"(?:[ !#-[\]-\u{10ffff}]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])|(?:true|false|null)(?!\w)/uy
const space = /[ \t\r\n]*/y

/** What may come next: a value, the name of a member, a colon, a comma or the end of what is open. */
type Expected = 'value' | 'value or end' | 'name' | 'name or end' | 'colon' | 'comma or end' | 'nothing'

/**
 * Where a text stops to be JSON (RFC 8259). V8 tells the place of some errors only, and quotes the text with it.
 *
 * @param text one that JSON.parse refuses
 * @returns an index of the text, or its length where more is missing
 */
export function findJsonError(text: string): number {
  const open: ('{' | '[')[] = []
  let expected: Expected = 'value'
  let at = 0
  for (;;) {
    space.lastIndex = at
    at += space.exec(text)![0].length
    token.lastIndex = at
    const found = token.exec(text)?.[0]
    if (found === undefined) return at
    const next = step(found, expected, open)
    if (next === undefined) return at
    expected = next
    at += found.length
  }
}

/** @returns what may follow; undefined where the token may not stand here */
function step(found: string, expected: Expected, open: ('{' | '[')[]): Expected | undefined {
  const closed = (): Expected => (open.length === 0 ? 'nothing' : 'comma or end')
  if (found === '}' || found === ']') {
    const isInside = found === '}' ? open.at(-1) === '{' : open.at(-1) === '['
    const mayEnd = expected === 'comma or end' || expected === (found === '}' ? 'name or end' : 'value or end')
    if (!isInside || !mayEnd) return undefined
    open.pop()
    return closed()
  }
  if (found === ',') return expected === 'comma or end' ? (open.at(-1) === '{' ? 'name' : 'value') : undefined
  if (found === ':') return expected === 'colon' ? 'value' : undefined
  if (expected === 'name' || expected === 'name or end') return found.startsWith('"') ? 'colon' : undefined
  if (expected !== 'value' && expected !== 'value or end') return undefined
  if (found !== '{' && found !== '[') return closed()
  open.push(found)
  return found === '{' ? 'name or end' : 'value or end'
}
