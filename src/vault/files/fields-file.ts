import { createFieldSchema, type Field, type FieldSchema, findFieldProblems } from '../fields/fields.ts'
import { type Complain, offsetOf, readList, readMap, readYaml, scalarOf } from './checked-yaml.ts'

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
  const file = { code: 'config_invalid', name: 'FIELDS_FILE' } as const
  return createFieldSchema(readYaml(text, file, (root, { complain }) => readFile(root, complain)))
}

function readFile(root: unknown, complain: Complain): readonly Field[] {
  const file = readMap(root, 'the file', { required: ['version', 'fields'] }, complain)
  const version = file.get('version')
  if (version !== undefined && scalarOf(version) !== fileVersion) {
    complain(offsetOf(version), `version is not ${fileVersion}`)
  }
  if (!file.has('fields')) return []
  const list = readList(file.get('fields'), 'fields', () => undefined) ?? []
  if (list.length === 0) {
    complain(offsetOf(file.get('fields')), 'fields is no list of at least one field')
    return []
  }
  const read: Readonly<Record<keyof Field, string>>[] = []
  for (const item of list) {
    const entry = readMap(item, 'a field', { required: fieldProperties }, complain)
    const [name, rule, column] = fieldProperties.map(property => readText(entry.get(property), property, complain))
    const field = { name: name ?? '', rule: rule ?? '', column: column ?? '' }
    for (const { property, problem } of findFieldProblems(field, read)) {
      const node = entry.get(property)
      // What is missing or no text has been told already.
      if (typeof scalarOf(node) === 'string') complain(offsetOf(node), problem)
    }
    read.push(field)
  }
  // Rules were looked up one by one above; where one was not found, the caller does not get this far.
  return read as readonly Field[]
}

function readText(node: unknown, property: string, complain: Complain): string | undefined {
  if (node === undefined) return undefined
  const value = scalarOf(node)
  if (typeof value === 'string') return value
  complain(offsetOf(node), `${property} is no text`)
  return undefined
}
