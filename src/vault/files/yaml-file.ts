import type { Static, TSchema } from 'typebox'
import { Settings } from 'typebox/system'
import { Value } from 'typebox/value'
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, type ParsedNode, parseDocument } from 'yaml'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'

/** Where something stands in a file: names of properties and indexes of entries, from the top. */
export type Path = readonly (string | number)[]

/** Tells what is wrong at a value, or at the key of a property. It quotes nothing of the text: it may be that of another file, given by mistake. */
export type Complain = (path: Path, problem: string, part?: 'key' | 'value') => void

/** What is read of a schema to say what it refuses. */
interface Described {
  /** A noun, for what has no name of its own: `a role`. */
  readonly title?: string
  /** What is said of a text, or of a key of a mapping, behind its name: `is not a purpose`. Editors show it, too. */
  readonly errorMessage?: string
  readonly type?: string
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly minimum?: number
  readonly maximum?: number
  readonly properties?: object
  readonly additionalProperties?: unknown
}

/** A file that its schema describes. */
export interface YamlFile<Content> {
  readonly content: Content
  /** Line of a value, or of the key of a property, from 1. */
  lineOf(path: Path, part?: 'key' | 'value'): number
}

/** Most problems of one file that are told. */
const maxProblems = 1000

/**
 * Reads YAML 1.2 or JSON, and tells everything that is wrong with it at once. Aliases, keys that are not text and values of
 * other types than those of JSON are refused.
 *
 * @param options.name by which the file is called in complaints
 * @param options.check complains of what the schema cannot say; it is called with what was read, whatever its shape
 * @throws TokenvaultError of the code, with every problem by line and column
 */
export function readYamlFile<Schema extends TSchema>(
  text: string,
  options: {
    readonly schema: Schema
    readonly code: ErrorCode
    readonly name: string
    check(content: unknown, complain: Complain): void
  },
): YamlFile<Static<Schema>> {
  const { schema, code, name, check } = options
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const root = document.contents
  // Only the first problem of a place is reported: the others follow from it.
  const problems = new Map<unknown, { offset: number; problem: string }>()
  const complainAt = (node: unknown, problem: string) => {
    if (!problems.has(node)) problems.set(node, { offset: offsetOf(node), problem })
  }
  for (const error of [...document.errors, ...document.warnings])
    problems.set(error, { offset: error.pos[0], problem: `is not valid YAML (${describeCode(error.code)})` })
  let content: unknown
  if (problems.size === 0) {
    content = toData(root, complainAt)
    const complain: Complain = (path, problem, part) => complainAt(findNode(root, path, part), problem)
    complainOfSchema(schema, content, complain)
    check(content, complain)
  }
  if (problems.size > 0) throw new TokenvaultError(code, tellProblems([...problems.values()], name, lines))
  return {
    content: content as Static<Schema>,
    lineOf: (path, part) => lines.linePos(offsetOf(findNode(root, path, part))).line,
  }
}

/** The members of a mapping, whatever the value is. */
export function membersOf(value: unknown): readonly (readonly [string, unknown])[] {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : []
}

/** The entries of a list, whatever the value is. */
export function entriesOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function describeCode(code: string): string {
  return code.toLowerCase().replaceAll('_', ' ')
}

function tellProblems(
  problems: readonly { readonly offset: number; readonly problem: string }[],
  name: string,
  lines: LineCounter,
): string {
  const told = problems
    .toSorted((a, b) => a.offset - b.offset)
    .map(({ offset, problem }) => {
      const { line, col } = lines.linePos(offset)
      return `${name} line ${line}, column ${col}: ${problem}`
    })
  return told.length === 1 ? told[0]! : [`${told.length} problems:`, ...told].join('\n  ')
}

/** Mappings have no prototype, so that no name in the file is one of JavaScript's. */
function toData(node: unknown, complainAt: (node: unknown, problem: string) => void): unknown {
  if (isSeq(node)) return node.items.map(item => toData(item, complainAt))
  if (isMap(node)) {
    const data: Record<string, unknown> = Object.create(null)
    for (const { key, value } of node.items) {
      if (!isScalar(key) || typeof key.value !== 'string') complainAt(key, 'this key is not text')
      data[nameOfKey(key)] = toData(value, complainAt)
    }
    return data
  }
  if (isAlias(node)) complainAt(node, 'is an alias; write out what it stands for')
  else if (isScalar(node) && !isJson(node.value)) complainAt(node, 'is of a type that JSON does not have')
  return isScalar(node) && isJson(node.value) ? node.value : null
}

function nameOfKey(key: unknown): string {
  return isScalar(key) ? String(key.value) : ''
}

function isJson(value: unknown): boolean {
  return value === null || ['string', 'number', 'boolean'].includes(typeof value)
}

function findNode(root: ParsedNode | null, path: Path, part: 'key' | 'value' = 'value'): unknown {
  let [key, node]: [unknown, unknown] = [root, root]
  for (const step of path) {
    if (isSeq(node)) {
      node = node.items[Number(step)]
      key = node
    } else if (isMap(node)) {
      const pair = node.items.find(each => nameOfKey(each.key) === step)
      key = pair?.key
      // A value that is left out has no place of its own.
      node = pair?.value ?? key
    }
  }
  return part === 'key' ? key : node
}

/** Where a node begins; an empty document has none, and begins at its start. */
function offsetOf(node: unknown): number {
  return isMap(node) || isSeq(node) || isScalar(node) || isAlias(node) ? ((node as Node).range?.[0] ?? 0) : 0
}

function complainOfSchema(schema: TSchema, content: unknown, complain: Complain): void {
  const { maxErrors } = Settings.Get()
  // The setting is of the whole process, and without it only the first eight errors are told.
  Settings.Set({ maxErrors: maxProblems })
  try {
    for (const error of Value.Errors(schema, content)) {
      const path = stepsOf(error.instancePath)
      const pointer = error.schemaPath.slice('#'.length)
      const part = Value.Pointer.Get(schema, pointer) as Described
      const what = nameOf(schema, pointer)
      // These stand beside the errors about the keys and values themselves.
      if (['boolean', 'propertyNames', 'if', 'not'].includes(error.keyword)) continue
      if (error.keyword === 'additionalProperties') {
        if (part.additionalProperties !== false) continue
        const problem = `this key of ${what} is unknown; there are ${propertiesOf(part)}`
        for (const key of error.params.additionalProperties) complain([...path, key], problem, 'key')
      } else if (error.keyword === 'uniqueItems') {
        for (const index of error.params.duplicateItems)
          complain([...path, index], `this entry of ${what} stands twice`)
      } else complain(path, `${what} ${describeError(error, part)}`, pointer.endsWith(keyPointer) ? 'key' : 'value')
    }
  } finally {
    Settings.Set({ maxErrors })
  }
}

/** Where a schema describes the keys of a mapping. */
const keyPointer = '/propertyNames'

/** What a part of the file is called: never by a name that stands in the file alone. */
function nameOf(schema: TSchema, pointer: string): string {
  if (pointer === '') return 'the file'
  const steps = stepsOf(pointer)
  if (steps.at(-2) === 'properties') return steps.at(-1)!
  const { title } = Value.Pointer.Get(schema, pointer) as Described
  if (title !== undefined) return title
  const of = nameOf(schema, pointer.slice(0, pointer.lastIndexOf('/')))
  return pointer.endsWith(keyPointer) ? `this key of ${of}` : `this entry of ${of}`
}

function describeError(error: ReturnType<typeof Value.Errors>[number], part: Described): string {
  const properties = propertiesOf(part)
  if (error.keyword === 'required') return `has no ${error.params.requiredProperties.join(', ')}`
  if (error.keyword === 'minItems') return 'is empty'
  if (error.keyword === 'minProperties') return `is empty${properties && `; there are ${properties}`}`
  if (part.const !== undefined) return `is not ${part.const}`
  if (part.enum !== undefined) return `is not one of ${part.enum.join(', ')}`
  if (part.type === 'object') return `is not a mapping${properties && ` with the keys ${properties}`}`
  if (part.type === 'array') return 'is not a list'
  if (part.type === 'boolean') return 'is neither true nor false'
  if (part.type === 'integer') return `is not a whole number from ${part.minimum} to ${part.maximum}`
  return error.keyword === 'type' ? 'is not text' : (part.errorMessage ?? error.message)
}

function propertiesOf({ properties = {} }: Described): string {
  return Object.keys(properties).join(', ')
}

function stepsOf(pointer: string): string[] {
  const steps = pointer.split('/').slice(1)
  return steps.map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'))
}
