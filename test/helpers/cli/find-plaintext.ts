import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Looks for values in every file below a directory, in UTF-8 and as hexadecimal digits of it.
 *
 * @returns the files that hold one, without the value
 */
export function findPlaintext(directory: string, values: readonly string[]): string[] {
  const found: string[] = []
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const content = readFileSync(path)
    if (holdsAny(content, values)) found.push(path.slice(directory.length + 1))
  }
  return found
}

/** Whether the bytes hold one of the values, in UTF-8 or as hexadecimal digits of it. */
export function holdsAny(content: Buffer, values: readonly string[]): boolean {
  return values.some(value => {
    const bytes = Buffer.from(value, 'utf8')
    return content.includes(bytes) || content.includes(bytes.toString('hex'))
  })
}
