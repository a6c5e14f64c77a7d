import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'

const folder = join(import.meta.dirname, '../../golden')

/** One file of test/golden, parsed. */
export function readGolden<T>(name: string): T {
  return JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as T
}

/**
 * Compares with `<name>.json`, order of members included, because the order stands in bytes that are hashed. After a change
 * that is meant, `UPDATE_GOLDEN=1` writes the file anew; its difference is what a review reads.
 */
export function matchGolden(t: Test, name: string, actual: unknown): void {
  const text = `${layOut(actual, '')}\n`
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(join(folder, `${name}.json`), text)
  t.equal(text, `${layOut(readGolden(name), '')}\n`, `${name}.json`)
}

/** JSON with what fits on a line on one line, so that a difference names a thing and not a bracket. */
function layOut(value: unknown, indent: string): string {
  const isList = Array.isArray(value)
  if (!isList && (typeof value !== 'object' || value === null)) return JSON.stringify(value)
  const inner = `${indent}  `
  const parts = isList
    ? value.map(item => ['', item])
    : Object.entries(value).map(([name, item]) => [`${JSON.stringify(name)}: `, item])
  const [open, close] = isList ? ['[', ']'] : ['{', '}']
  if (parts.length === 0) return open + close
  const flat = parts.map(([name, item]) => `${name}${layOut(item, '')}`).join(', ')
  const line = isList ? `[${flat}]` : `{ ${flat} }`
  // The names before it in its line are short.
  if (!line.includes('\n') && indent !== '' && indent.length + line.length < 92) return line
  const lines = parts.map(([name, item]) => `${inner}${name}${layOut(item, inner)}`)
  return `${open}\n${lines.join(',\n')}\n${indent}${close}`
}
