import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, type Pair, parseDocument } from 'yaml'
import { TokenvaultError } from '../errors.ts'
import { createFieldSchema, type Field, type FieldSchema, findFieldProblems } from './fields.ts'

/** The only version of the file's shape so far. */
const fileVersion = 1

const fieldProperties = ['name', 'rule', 'column'] as const

/**
 * Reads the fields to tokenize from YAML 1.2 or JSON:
 *
 * ```yaml
 * version: 1
 * fields:
 *   - { name: ip, rule: ip.v1, column: masked_ip }
 * ```
 *
 * Their order is that of the tokens of a row. Nothing is guessed: unknown keys, aliases and numbers for texts are refused.
 *
 * @throws TokenvaultError `config_invalid` with every problem by line and column. It quotes nothing of the text, which may be that of
 *   another file, given by mistake.
 */
export function parseFieldsFile(text: string): FieldSchema {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const problems: { offset: number; problem: string }[] = []
  const complain = (offset: number, problem: string) => void problems.push({ offset, problem })

  for (const { pos, code } of document.errors)
    complain(pos[0], `is no YAML (${code.toLowerCase().replaceAll('_', ' ')})`)
  const fields = problems.length === 0 ? readFile(document.contents, complain) : []
  if (problems.length > 0) {
    const told = problems
      .sort((a, b) => a.offset - b.offset)
      .map(({ offset, problem }) => {
        const { line, col } = lines.linePos(offset)
        return `FIELDS_FILE line ${line}, column ${col}: ${problem}`
      })
    throw new TokenvaultError(
      'config_invalid',
      told.length === 1 ? told[0] : [`${told.length} problems:`, ...told].join('\n  '),
    )
  }
  return createFieldSchema(fields)
}

type Complain = (offset: number, problem: string) => void

function readFile(root: unknown, complain: Complain): readonly Field[] {
  const file = readMap(root, 'the file', ['version', 'fields'], complain)
  const version = file.get('version')
  if (version !== undefined && (!isScalar(version) || version.value !== fileVersion)) {
    complain(offsetOf(version), `version is not ${fileVersion}`)
  }
  const list = file.get('fields')
  if (list === undefined) return []
  if (!isSeq(list) || list.items.length === 0) {
    complain(offsetOf(list), 'fields is no list of at least one field')
    return []
  }
  const read: Readonly<Record<keyof Field, string>>[] = []
  for (const item of list.items) {
    const entry = readMap(item, 'a field', fieldProperties, complain)
    const [name, rule, column] = fieldProperties.map(property => readText(entry.get(property), property, complain))
    const field = { name: name ?? '', rule: rule ?? '', column: column ?? '' }
    for (const { property, problem } of findFieldProblems(field, read)) {
      const node = entry.get(property)
      // What is missing or no text has been told already.
      if (isScalar(node) && typeof node.value === 'string') complain(offsetOf(node), problem)
    }
    read.push(field)
  }
  // Rules were looked up one by one above; where one was not found, the caller does not get this far.
  return read as readonly Field[]
}

/** The values of a mapping by key, of the keys that it may and must have. */
function readMap(
  node: unknown,
  what: string,
  keys: readonly string[],
  complain: Complain,
): ReadonlyMap<string, unknown> {
  const values = new Map<string, unknown>()
  if (!isMap(node)) {
    complain(offsetOf(node), `${what} is no mapping with the keys ${keys.join(', ')}`)
    return values
  }
  for (const { key, value } of node.items as Pair<unknown, unknown>[]) {
    const name = isScalar(key) ? key.value : undefined
    if (typeof name === 'string' && keys.includes(name)) values.set(name, value)
    else complain(offsetOf(key), `this key of ${what} is unknown; there are ${keys.join(', ')}`)
  }
  for (const key of keys) if (!values.has(key)) complain(offsetOf(node), `${what} has no ${key}`)
  return values
}

function readText(node: unknown, property: string, complain: Complain): string | undefined {
  if (node === undefined) return undefined
  if (isScalar(node) && typeof node.value === 'string') return node.value
  complain(offsetOf(node), `${property} is no text`)
  return undefined
}

/** Where a node begins; an empty document has none, and begins at its start. */
function offsetOf(node: unknown): number {
  return isMap(node) || isSeq(node) || isScalar(node) || isAlias(node) ? ((node as Node).range?.[0] ?? 0) : 0
}
