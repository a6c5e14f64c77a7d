/**
 * Parses JSON and refuses what JSON.parse silently accepts: a name that stands twice in one object (RFC 8259
 * section 4 leaves the outcome open, so two readers may see two values), the name `__proto__`, and deep nesting.
 *
 * One pass over the text looks for these before the parser builds anything, so that the time is that of a second
 * JSON.parse whatever an attacker writes: 4 MB take tens of milliseconds.
 *
 * @param text of any length; the caller bounds it
 * @param maxDepth objects and arrays open at once, at most
 * @throws SyntaxError, whose message must not be shown: JSON.parse quotes what it read
 */
export function parseStrictJson(text: string, maxDepth: number): unknown {
  checkStructure(text, maxDepth)
  return JSON.parse(text)
}

const quote = 0x22
const backslash = 0x5c
const comma = 0x2c

/** In text that is not JSON the scan may misread; JSON.parse refuses such text afterwards. */
function checkStructure(text: string, maxDepth: number): void {
  // One entry for each open bracket: the names so far of an object, nothing for an array.
  const open: (Set<string> | undefined)[] = []
  let nameComes = false
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case quote: {
        const end = findQuote(text, at + 1)
        if (nameComes) addName(open.at(-1), text.slice(at, end + 1))
        nameComes = false
        at = end
        break
      }
      case 0x7b: // {
        open.push(new Set())
        nameComes = true
        break
      case 0x5b: // [
        open.push(undefined)
        nameComes = false
        break
      case 0x7d: // }
      case 0x5d: // ]
        open.pop()
        nameComes = false
        break
      case comma:
        nameComes = open.at(-1) !== undefined
    }
    if (open.length > maxDepth) throw new SyntaxError('nested too deep')
  }
}

/** @returns where the string ends that begins before `from`; the end of the text when it never does */
function findQuote(text: string, from: number): number {
  let at = from
  while (at < text.length && text.charCodeAt(at) !== quote) at += text.charCodeAt(at) === backslash ? 2 : 1
  return at
}

function addName(names: Set<string> | undefined, quoted: string): void {
  const name = quoted.includes('\\') ? String(JSON.parse(quoted)) : quoted.slice(1, -1)
  if (name === '__proto__' || names?.has(name)) throw new SyntaxError('name stands twice or is __proto__')
  names?.add(name)
}
