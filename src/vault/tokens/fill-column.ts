import { parseToken } from '../../crypto/token.ts'
import { parseTypedToken } from '../../crypto/typed-token.ts'
import { TokenvaultError } from '../../errors.ts'
import type { Field } from '../fields/fields.ts'

/** The texts of a row's key columns, in the order of the key. */
export type RowKey = readonly string[]

/** One row of a table that has a column of clear values and one of their tokens. */
export interface ColumnRow {
  readonly key: RowKey
  /** Another one after every change of the row. */
  readonly version: string
  /** Null where the value is longer than any rule accepts; it is not read then. */
  readonly value: string | null
  /** Null in rows that lack one. */
  readonly token: string | null
}

/** A row and the token that it gets. */
export interface TokenizedRow {
  readonly key: RowKey
  readonly version: string
  readonly token: string
}

/** The rows of one column, by key. */
export interface ColumnRows {
  /**
   * @param which rows with a value and no token, or with both
   * @param after the last key that was read; from the first row on where it is absent
   * @returns at most so many, in the order of keys; none at the end
   * @throws `store_unavailable`, `store_misconfigured`
   */
  read(which: 'open' | 'filled', after: RowKey | undefined, limit: number): Promise<readonly ColumnRow[]>
  /**
   * Gives rows their tokens, all in one transaction; rows that were changed since, or have one, stay as they are.
   * @returns how many got one @throws as read
   */
  write(rows: readonly TokenizedRow[]): Promise<number>
  /** Of this moment. @throws as read */
  count(): Promise<{ readonly total: number; readonly filled: number; readonly open: number }>
}

/** The answer for one value: its token, or why it has none. */
export type ValueAnswer = { readonly token: string } | { readonly code: string }

/**
 * Stores values and gives their tokens, in input order. Called with different values only.
 * @throws whatever ends the run
 */
export type StoreValues = (values: readonly string[]) => Promise<readonly ValueAnswer[]>

/** How far a run is. */
export interface Filled {
  /** Rows that got a token. */
  filled: number
  /** Rows of which another one wrote while their token was made; a later pass looks at them again. */
  changed: number
  /** Rows of the last pass that hold a placeholder, and stay null. */
  placeholders: number
  /** Rows of the last pass whose value was refused, by code. */
  refused: Map<string, number>
  /** Keys of the first of these. */
  refusedKeys: RowKey[]
  /** Times that all rows were looked through. */
  passes: number
  /** Whether the last pass found no row left to fill. */
  isDone: boolean
}

export interface FillOptions {
  readonly rows: ColumnRows
  readonly storeValues: StoreValues
  readonly field: Field
  /** Rows of one batch. */
  readonly batchRows: number
  readonly signal: AbortSignal
  /** Called after each batch. */
  readonly onProgress: (now: Filled) => void
  /** Waits before the next batch, where there is a limit of rows a second. */
  readonly pace: (rows: number) => Promise<void>
}

/** Passes of one run, at most: where rows without a token come faster than that, it would never end. */
const mostPasses = 10

/** Keys of refused rows that are kept to be shown. */
const keysKept = 10

/**
 * Gives a column of tokens to a column of clear values, in batches by key. What a batch did is committed before the next
 * begins, and only rows without a token are read, so that a run which ended anywhere is continued by another one. Passes
 * go on until one has filled nothing: then rows that were added or changed meanwhile have their tokens, too.
 *
 * @returns what was done; `isDone` is false where the signal ended it, or rows come faster than they are filled
 * @throws TokenvaultError whatever rows and storeValues throw; `api_unavailable` where an answer is not a token of the field
 */
export async function fillColumn(options: FillOptions): Promise<Filled> {
  const { rows, batchRows, signal, onProgress, pace } = options
  const state = startState()
  while (!signal.aborted && !state.isDone && state.passes < mostPasses) {
    const before = { filled: state.filled, changed: state.changed }
    state.passes++
    state.placeholders = 0
    state.refused = new Map()
    state.refusedKeys = []
    let after: RowKey | undefined
    while (!signal.aborted) {
      const batch = await rows.read('open', after, batchRows)
      if (batch.length === 0) {
        state.isDone = state.filled === before.filled && state.changed === before.changed
        break
      }
      await fillBatch(options, state, batch)
      after = batch.at(-1)!.key
      onProgress(state)
      await pace(batch.length)
    }
  }
  return state
}

function startState(): Filled {
  return {
    ...{ filled: 0, changed: 0, placeholders: 0, passes: 0, isDone: false },
    refused: new Map(),
    refusedKeys: [],
  }
}

async function fillBatch(options: FillOptions, state: Filled, batch: readonly ColumnRow[]): Promise<void> {
  const answers = await answerRows(options, batch)
  const tokenized: TokenizedRow[] = []
  for (const [index, { key, version }] of batch.entries()) {
    const answer = answers[index]!
    if ('token' in answer) tokenized.push({ key, version, token: answer.token })
    else if (answer.code === 'value_is_placeholder') state.placeholders++
    else {
      state.refused.set(answer.code, (state.refused.get(answer.code) ?? 0) + 1)
      if (state.refusedKeys.length < keysKept) state.refusedKeys.push(key)
    }
  }
  const written = tokenized.length === 0 ? 0 : await options.rows.write(tokenized)
  state.filled += written
  state.changed += tokenized.length - written
}

/** How tokens compare with the values that stand beside them. */
export interface Compared {
  equal: number
  /** Rows whose token is not that of their value: it was changed after the token was made, or is of another key version. */
  different: number
  differentKeys: RowKey[]
}

/**
 * Proves that each token is that of the value which stands beside it, and that the vault holds the original: values are stored
 * once more, which changes nothing where they are.
 *
 * @returns undefined where the signal ended it
 * @throws as fillColumn
 */
export async function compareColumn(
  options: Omit<FillOptions, 'onProgress'> & { readonly onProgress: (now: Compared) => void },
): Promise<Compared | undefined> {
  const { rows, batchRows, signal, onProgress, pace } = options
  const state: Compared = { equal: 0, different: 0, differentKeys: [] }
  let after: RowKey | undefined
  for (;;) {
    if (signal.aborted) return undefined
    const batch = await rows.read('filled', after, batchRows)
    if (batch.length === 0) return state
    const answers = await answerRows(options, batch)
    for (const [index, { key, token }] of batch.entries()) {
      const answer = answers[index]!
      if ('token' in answer && answer.token === token) state.equal++
      else {
        state.different++
        if (state.differentKeys.length < keysKept) state.differentKeys.push(key)
      }
    }
    after = batch.at(-1)!.key
    onProgress(state)
    await pace(batch.length)
  }
}

/** One answer a row; equal values are asked for once. */
async function answerRows(
  { storeValues, field }: Pick<FillOptions, 'storeValues' | 'field'>,
  batch: readonly ColumnRow[],
): Promise<readonly ValueAnswer[]> {
  const values = [...new Set(batch.flatMap(({ value }) => (value === null ? [] : [value])))]
  const given = values.length === 0 ? [] : await storeValues(values)
  if (given.length !== values.length) throw new TokenvaultError('api_unavailable', 'the API did not answer every value')
  const answers = new Map(values.map((value, index) => [value, given[index]!]))
  // What is not a token may be anything, such as the value itself, and would go into the table.
  for (const [value, answer] of answers)
    if ('token' in answer && (answer.token === value || !isTokenOf(answer.token, field)))
      throw new TokenvaultError('api_unavailable', `the API answered something that is not a token of ${field.name}`)
  return batch.map(({ value }) => (value === null ? { code: 'value_too_long' } : answers.get(value)!))
}

function isTokenOf(text: string, { name, format, inetPrefix }: Field): boolean {
  if (format === 'text') return parseToken(text)?.field === name
  const token = parseTypedToken(text)
  return token?.format === format && (format === 'uuid' || token.inetPrefix === inetPrefix)
}
