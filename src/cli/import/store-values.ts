import { parseToken } from '../../crypto/token.ts'
import { parseTypedToken } from '../../crypto/typed-token.ts'
import { type ErrorCode, errorCatalogue, TokenvaultError } from '../../errors.ts'
import { type ApiOptions, ApiRefused } from '../api-client.ts'
import { callPatiently } from '../call-patiently.ts'
import type { Cell } from './column-file.ts'
import type { Outcome } from './progress.ts'

export interface StoreOptions extends ApiOptions {
  readonly field: string
  readonly purpose: string
  readonly ticket?: string
  readonly retrySeconds: number
}

interface Item {
  readonly token?: string
  readonly error?: { readonly code: string }
}

/** No value is so long, and the body of a call has an end. */
export const longestValueBytes = 16 * 1024

/** About a value and not about the caller or the field. */
const valueCodes = new Set<string>(['value_invalid', 'value_too_long', 'value_is_token', 'value_is_placeholder'])

/** Refusals of a whole call that are about what is imported and by whom, and not about the moment. */
const lastingStatuses = new Set([400, 401, 403, 404, 409, 413, 422, 501])

/**
 * Stores the values of some cells in one call and tells what became of each.
 *
 * @param isFirst whether nothing was stored before
 * @throws TokenvaultError `import_refused` where the API refuses the first; what callPatiently throws
 */
export async function storeCells(
  cells: readonly Cell[],
  options: StoreOptions,
  isFirst: boolean,
  tell: (text: string) => void,
): Promise<Outcome[]> {
  const values = [...new Set(cells.flatMap(({ text }) => (text === undefined || isTooLong(text) ? [] : [text])))]
  const items = values.length === 0 ? [] : await askApi(values, options, isFirst, tell)
  const byValue = new Map(values.map((value, index) => [value, items[index]!]))
  return cells.map(({ text, place }): Outcome => {
    if (text === undefined) return { kept: 'empty' }
    const item = byValue.get(text)
    if (item === undefined) return { invalid: 'value_too_long', place }
    if (item.token !== undefined) return { token: item.token }
    const code = item.error?.code ?? 'internal'
    if (code === 'value_is_placeholder') return { none: 'placeholder' }
    if (code === 'value_is_token' && isTokenOf(text.trim(), options.field)) return { kept: 'token' }
    return { invalid: code, place }
  })
}

/** Of what the API takes for a token: one of another field would stand in the result and mean something else. */
function isTokenOf(text: string, field: string): boolean {
  return parseToken(text)?.field === field || parseTypedToken(text)?.format === 'uuid'
}

function isTooLong(text: string): boolean {
  return Buffer.byteLength(text) > longestValueBytes
}

async function askApi(
  values: readonly string[],
  options: StoreOptions,
  isFirst: boolean,
  tell: (text: string) => void,
): Promise<readonly Item[]> {
  const { field, purpose, ticket, retrySeconds } = options
  const call = {
    method: 'POST',
    path: '/v1/tokenize',
    body: { purpose, values: values.map(value => ({ field, value })), ticket, store: true },
    roles: ['storing_service'],
  } as const
  let answer: { readonly results?: readonly Item[]; readonly stored?: boolean }
  try {
    answer = await callPatiently(options, call, { seconds: retrySeconds, tell })
  } catch (error) {
    if (!isFirst || !(error instanceof ApiRefused) || !lastingStatuses.has(error.status)) throw error
    throw new TokenvaultError('import_refused', `${error.message} ${error.remedy}`, { cause: error })
  }
  const { results, stored } = answer
  if (stored !== true) throw new TokenvaultError('api_unavailable', 'the API did not say that it stored the values')
  if (results?.length !== values.length)
    throw new TokenvaultError('api_unavailable', 'the API answered something else than one result for each value')
  for (const [index, item] of results.entries()) checkItem(item, values[index]!)
  return results
}

/** What the API gives is written where values stood, so it must look like a token and not be the value. */
function checkItem({ token, error }: Item, value: string): void {
  if (token !== undefined) {
    if (!/^[A-Za-z0-9_:-]{8,128}$/.test(token) || token === value)
      throw new TokenvaultError('api_unavailable', 'the API answered something that is not a token')
  } else if (error === undefined || !valueCodes.has(error.code)) {
    const code = String(error?.code)
    const known = Object.hasOwn(errorCatalogue, code) ? errorCatalogue[code as ErrorCode] : undefined
    throw new TokenvaultError(
      'import_refused',
      known === undefined ? 'the API refused a value' : `${code}: ${known.meaning} ${known.remedy}`,
    )
  }
}
