import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, type Pair, parseDocument } from 'yaml'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'

/** Tells what is wrong at an offset of the text. It quotes nothing of it: it may be that of another file, given by mistake. */
export type Complain = (offset: number, problem: string) => void

/** Where the reader of a file stands. */
export interface Reading {
  readonly complain: Complain
  /** Line of a node, from 1. */
  lineOf(node: unknown): number
}

/**
 * Reads YAML 1.2 or JSON, and tells everything that is wrong with it at once.
 *
 * @param name by which the file is called in complaints
 * @param read walks the root and complains; its result counts only if nobody complained
 * @throws TokenvaultError of the code, with every problem by line and column
 */
export function readYaml<T>(
  text: string,
  { code, name }: { readonly code: ErrorCode; readonly name: string },
  read: (root: unknown, reading: Reading) => T,
): T {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const problems: { offset: number; problem: string }[] = []
  const complain: Complain = (offset, problem) => void problems.push({ offset, problem })
  for (const { pos, code: reason } of [...document.errors, ...document.warnings])
    complain(pos[0], `is no YAML (${reason.toLowerCase().replaceAll('_', ' ')})`)
  const result =
    problems.length === 0
      ? read(document.contents, { complain, lineOf: node => lines.linePos(offsetOf(node)).line })
      : undefined
  if (problems.length === 0) return result as T
  const told = problems
    .sort((a, b) => a.offset - b.offset)
    .map(({ offset, problem }) => {
      const { line, col } = lines.linePos(offset)
      return `${name} line ${line}, column ${col}: ${problem}`
    })
  throw new TokenvaultError(code, told.length === 1 ? told[0] : [`${told.length} problems:`, ...told].join('\n  '))
}

/** The pairs of a mapping whose keys are texts; undefined, and told, where the node is none. */
export function readPairs(
  node: unknown,
  what: string,
  complain: Complain,
  least = 0,
): readonly { readonly key: unknown; readonly name: string; readonly value: unknown }[] | undefined {
  if (!isMap(node)) {
    complain(offsetOf(node), `${what} is no mapping`)
    return undefined
  }
  if (node.items.length < least) complain(offsetOf(node), `${what} is empty`)
  return (node.items as Pair<unknown, unknown>[]).flatMap(({ key, value }) => {
    if (isScalar(key) && typeof key.value === 'string') return [{ key, name: key.value, value }]
    complain(offsetOf(key), `this key of ${what} is no text`)
    return []
  })
}

/** The values of a mapping by key, of the keys that it may and those that it must have. */
export function readMap(
  node: unknown,
  what: string,
  keys: { readonly required: readonly string[]; readonly optional?: readonly string[] },
  complain: Complain,
): ReadonlyMap<string, unknown> {
  const { required, optional = [] } = keys
  const known = [...required, ...optional]
  const values = new Map<string, unknown>()
  if (!isMap(node)) {
    complain(offsetOf(node), `${what} is no mapping with the keys ${known.join(', ')}`)
    return values
  }
  for (const { key, value } of node.items as Pair<unknown, unknown>[]) {
    const name = isScalar(key) ? key.value : undefined
    if (typeof name === 'string' && known.includes(name)) values.set(name, value)
    else complain(offsetOf(key), `this key of ${what} is unknown; there are ${known.join(', ')}`)
  }
  for (const key of required) if (!values.has(key)) complain(offsetOf(node), `${what} has no ${key}`)
  return values
}

/** The value of a scalar, of whatever type it is; undefined for any other node. */
export function scalarOf(node: unknown): unknown {
  return isScalar(node) ? node.value : undefined
}

/** @returns undefined, and told, where the node is no list */
export function readList(node: unknown, what: string, complain: Complain): readonly unknown[] | undefined {
  if (isSeq(node)) return node.items
  complain(offsetOf(node), `${what} is no list`)
  return undefined
}

/** Where a node begins; an empty document has none, and begins at its start. */
export function offsetOf(node: unknown): number {
  return isMap(node) || isSeq(node) || isScalar(node) || isAlias(node) ? ((node as Node).range?.[0] ?? 0) : 0
}
