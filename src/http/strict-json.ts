/**
 * Parses JSON and refuses what JSON.parse silently accepts: a name that stands twice in one object (RFC 8259
 * section 4 leaves the outcome open, so two readers may see two values), the name `__proto__`, and deep nesting.
 *
 * @param text at most a few kilobytes; the caller bounds it
 * @param maxDepth objects and arrays open at once, at most
 * @throws SyntaxError, whose message must not be shown: JSON.parse quotes what it read
 */
export function parseStrictJson(text: string, maxDepth: number): unknown {
  const value: unknown = JSON.parse(text)
  const open: (Set<string> | undefined)[] = []
  // The text is valid JSON by now, so a string before a colon is a name and every other bracket is structure.
  for (const [lexeme] of text.matchAll(/"(?:[^"\\]|\\.)*"\s*:?|[{}[\]]/g)) {
    if (lexeme === '{') open.push(new Set())
    else if (lexeme === '[') open.push(undefined)
    else if (lexeme === '}' || lexeme === ']') open.pop()
    else if (lexeme.endsWith(':')) {
      const name = String(JSON.parse(lexeme.slice(0, -1)))
      const names = open.at(-1)
      if (name === '__proto__' || names?.has(name)) throw new SyntaxError('name stands twice or is __proto__')
      names?.add(name)
    }
    if (open.length > maxDepth) throw new SyntaxError('nested too deep')
  }
  return value
}
