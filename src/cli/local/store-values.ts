import { type ErrorCode, errorCatalogue, TokenvaultError } from '../../errors.ts'
import type { StoreValues, ValueAnswer } from '../../vault/tokens/fill-column.ts'
import type { ApiOptions } from '../api-client.ts'
import { callPatiently } from '../call-patiently.ts'
import { printable } from '../terminal/print.ts'

/** What the API answers for one value; see openapi/openapi.json. */
interface Item {
  readonly token?: string
  readonly error?: { readonly code: string }
}

/** Values of one call: what the API takes, and what fits its largest body in whatever letters they are. */
const mostValues = 10_000
const mostBytes = 2 * 1024 * 1024

/** Of a body, what a value takes beside itself. */
const bytesBesides = 100

/** How long one call is tried, while the API is away or busy, or a budget of a minute is used up. */
const patienceSeconds = 70

/**
 * Stores values of one field through the API, in as many calls as it takes. A call that failed is repeated, since storing a value
 * twice stores it once: an API that is away or busy is waited for, and so is the budget of a minute.
 *
 * @returns `storeValues` throws TokenvaultError `usage`, `api_unavailable`; `api_refused` where waiting changes nothing, such as for
 *   the budget of a day, a suspension or a role
 */
export function createStoreValues(
  options: ApiOptions,
  call: { readonly field: string; readonly purpose: string; readonly ticket?: string | undefined },
  signal: AbortSignal,
): StoreValues {
  const { field, purpose, ticket } = call
  return async values => {
    const answers: ValueAnswer[] = []
    for (const part of split(values)) {
      const { results } = await callPatiently<{ results: readonly Item[] }>(
        options,
        {
          method: 'POST',
          path: '/v1/tokenize',
          body: { purpose, values: part.map(value => ({ field, value })), store: true, ticket },
          roles: ['storing_service'],
        },
        { seconds: patienceSeconds, tell, over: 'api_unavailable', signal },
      )
      for (const { token, error } of results) answers.push(token === undefined ? refused(error?.code) : { token })
    }
    return answers
  }
}

/** A refusal of the value is about its row; any other one, such as of a role, is about all of them. */
function refused(code = 'internal'): ValueAnswer {
  if (/^value_/.test(code)) return { code }
  const known = Object.hasOwn(errorCatalogue, code) ? errorCatalogue[code as ErrorCode] : undefined
  throw new TokenvaultError('api_refused', printable(`${code}: ${known?.meaning ?? 'the API refuses the values'}`))
}

function tell(text: string): void {
  process.stderr.write(`tokenvault: ${printable(text)}\n`)
}

function* split(values: readonly string[]): Generator<readonly string[]> {
  let part: string[] = []
  let bytes = 0
  for (const value of values) {
    const size = Buffer.byteLength(JSON.stringify(value)) + bytesBesides
    if (part.length === mostValues || (part.length > 0 && bytes + size > mostBytes)) {
      yield part
      part = []
      bytes = 0
    }
    part.push(value)
    bytes += size
  }
  if (part.length > 0) yield part
}
