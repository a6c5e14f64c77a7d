/** One part of a name: quoted as in SQL, or bare. */
const part = '("(?:[^"]|"")+"|[^".]+)'
const shape = new RegExp(`^(?:${part}\\.)?${part}$`, 's')

/**
 * Reads the name of a table as SQL does: bare letters are lower case, and `"Logins"` is as it stands. A bare name with
 * capitals is also looked for as it stands, since shells take quotes away.
 *
 * @param text `logins`, `app.logins`, `"App"."Logins"`
 * @returns quoted names to look for, the likeliest first; none where the text is not a name
 */
export function parseTableName(text: string): readonly string[] {
  const match = text.includes('\0') ? null : shape.exec(text)
  if (match === null) return []
  const parts = match.slice(1).filter(found => found !== undefined)
  const folded = parts.map(found => (found.startsWith('"') ? found : quoted(found.replace(/[A-Z]/g, toLower))))
  const asTyped = parts.map(found => (found.startsWith('"') ? found : quoted(found)))
  return [...new Set([folded.join('.'), asTyped.join('.')])]
}

function toLower(letters: string): string {
  return letters.toLowerCase()
}

function quoted(name: string): string {
  return `"${name}"`
}
