import { parseToken } from '../../crypto/token.ts'
import { parseTypedToken } from '../../crypto/typed-token.ts'
import type { Cell, ColumnFile } from './column-file.ts'
import { ValueSet } from './value-set.ts'
import { zip } from './zip.ts'

/** What a verification found; proven where there is no problem. */
export interface Verification {
  readonly rows: number
  readonly tokens: number
  readonly empty: number
  /** Places and what is wrong there; the first ones. Never a value. */
  readonly problems: readonly string[]
  readonly problemCount: number
}

const mostProblems = 20

/** Of the tokens of a field, as FIELDS_FILE says. */
export const tokenFormats = ['text', 'uuid', 'inet'] as const
export type TokenFormat = (typeof tokenFormats)[number]

/**
 * Compares the result of an import with its input. Proven is, for the files as they are: both have the same rows; all that is
 * not of the column is the same; every cell of the column is empty, or a token; no cell of the column that had a value has
 * it still; and no value that was replaced stands anywhere in the result as a whole cell, as another reader sees them.
 * What it cannot prove is that a token is the one of the value that stood there, and that no value is a part of a longer text.
 *
 * @param expected.field of which the tokens are
 */
export async function verifyResult(
  input: ColumnFile,
  result: ColumnFile,
  { field, tokenFormat }: { readonly field: string; readonly tokenFormat: TokenFormat },
  advance: (rows: number) => void,
): Promise<Verification> {
  const problems: string[] = []
  let problemCount = 0
  const complain = (problem: string) => {
    problemCount++
    if (problems.length < mostProblems) problems.push(problem)
  }
  const replaced = new ValueSet()
  let [rows, tokens, empty] = [0, 0, 0]
  await zip<Cell>(input.cells(0), result.cells(0), (before, after) => {
    rows++
    if (rows % 10_000 === 0) advance(rows)
    if (before === undefined || after === undefined) {
      complain(`the result has ${before === undefined ? 'more' : 'fewer'} rows`)
      return false
    }
    const problem = problemOf(before.text, after.text, field, tokenFormat)
    if (problem !== undefined) complain(`${result.placeName} ${after.place}: ${problem}`)
    if (after.text === undefined) empty++
    else tokens++
    if (before.text !== undefined && after.text !== undefined && before.text !== after.text)
      replaced.add(before.text.trim())
    return true
  })
  const difference = await input.compareRest(result)
  if (difference !== undefined) complain(difference)
  for await (const cells of result.everyCell())
    for (const { text, row, column } of cells)
      if (replaced.has(text.trim())) complain(`row ${row}: a value of the column stands in ${JSON.stringify(column)}`)
  return { rows, tokens, empty, problems, problemCount }
}

/** What is wrong with a cell, by what stood there before. */
function problemOf(before: string | undefined, after: string | undefined, field: string, form: TokenFormat) {
  if (after === undefined) return undefined
  if (before === undefined) return 'the column holds something where the input holds nothing'
  if (!hasForm(after.trim(), field, form)) return 'the column holds something that is not a token of the field'
  // Hosts have addresses of this form, too, so that one that stayed may be a value.
  return before === after && form === 'inet' ? 'the column holds what the input holds' : undefined
}

function hasForm(text: string, field: string, form: TokenFormat): boolean {
  return form === 'text' ? parseToken(text)?.field === field : parseTypedToken(text)?.format === form
}
