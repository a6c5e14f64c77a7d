import type { FastifySchemaValidationError } from 'fastify'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'

const codeOfFastifyError: ReadonlyMap<string, ErrorCode> = new Map([
  ['FST_ERR_CTP_INVALID_MEDIA_TYPE', 'content_type_unsupported'],
  ['FST_ERR_CTP_BODY_TOO_LARGE', 'body_too_large'],
  ['FST_ERR_CTP_EMPTY_JSON_BODY', 'body_malformed'],
  ['FST_ERR_CTP_INVALID_JSON_BODY', 'body_malformed'],
  ['FST_ERR_CTP_INVALID_CONTENT_LENGTH', 'body_malformed'],
  ['FST_ERR_NOT_FOUND', 'route_not_found'],
  ['FST_ERR_BAD_URL', 'request_malformed'],
])

/** The parts of a request that a schema describes, as fastify calls them, and as people do. */
const parts = { body: 'the body', querystring: 'the query', params: 'the path', headers: 'the headers' } as const

type Part = keyof typeof parts

/** Schemas of the route that was asked. */
export type RouteSchemas = { readonly [Name in Part]?: unknown } | undefined

/**
 * Names any error by one of our codes. Text of fastify, ajv or a driver is dropped here, because it may quote what
 * the caller sent; the original stays reachable as `cause` for the log, which keeps only its type and frames.
 */
export function nameError(error: unknown, schemas?: RouteSchemas): TokenvaultError {
  if (error instanceof TokenvaultError) return error
  if (!(error instanceof Error)) return new TokenvaultError('internal')
  if ('validation' in error && Array.isArray(error.validation)) {
    const part = 'validationContext' in error ? (error.validationContext as Part) : 'body'
    return nameSchemaError(error.validation[0], parts[part], schemas?.[part])
  }
  const code = 'code' in error ? codeOfFastifyError.get(String(error.code)) : undefined
  if (code !== undefined) return new TokenvaultError(code)
  const status = 'statusCode' in error ? Number(error.statusCode) : 500
  return new TokenvaultError(status >= 400 && status < 500 ? 'request_invalid' : 'internal', undefined, {
    cause: error,
  })
}

/** `instancePath` holds names of our schema and array indexes only: no schema admits names of the caller's. */
function nameSchemaError(error: FastifySchemaValidationError, whole: string, schema: unknown): TokenvaultError {
  const { keyword, instancePath, params } = error
  const place = instancePath === '' ? whole : instancePath
  if (keyword === 'additionalProperties')
    return new TokenvaultError('property_unknown', describeUnknown(place, error, schema))
  if (keyword === 'required') {
    const missing = String(params['missingProperty'])
    const code = instancePath === '' && missing === 'purpose' ? 'purpose_missing' : 'request_invalid'
    return new TokenvaultError(code, `${place} lacks ${missing}`)
  }
  if (instancePath === '/purpose' && keyword === 'minLength') return new TokenvaultError('purpose_missing')
  if (instancePath === '/purpose') return new TokenvaultError('purpose_invalid')
  if (instancePath === '/ticket') return new TokenvaultError('ticket_invalid')
  if (keyword === 'minItems') return new TokenvaultError('batch_empty', `${place} is empty`)
  if (keyword === 'maxItems')
    return new TokenvaultError('batch_too_large', `${place} has more than ${params['limit']} items`)
  if (keyword === 'type') return new TokenvaultError('request_invalid', `${place} is not of type ${params['type']}`)
  if (keyword === 'enum')
    return new TokenvaultError(
      'request_invalid',
      `${place} takes one of: ${String(params['allowedValues']).replaceAll(',', ', ')}`,
    )
  const limit = 'limit' in params ? ` ${params['limit']}` : ''
  return new TokenvaultError('request_invalid', `${place} breaks the rule ${keyword}${limit}`)
}

/**
 * Says which properties there are, and which of them the caller may have meant. The name that was sent is not repeated: a
 * caller who mistakes a value for a name would find the value in logs of problems.
 */
function describeUnknown(place: string, { schemaPath, params }: FastifySchemaValidationError, schema: unknown): string {
  const allowed = Object.keys((partOf(schema, schemaPath)?.['properties'] ?? {}) as object)
  const sent = String(params['additionalProperty'])
  const meant = allowed.find(name => isNear(name, sent))
  const guess = meant === undefined ? '' : ` (did you mean ${meant}?)`
  return `${place} has an unknown property${guess}; allowed: ${allowed.length === 0 ? 'none' : allowed.join(', ')}`
}

/** @param schemaPath e.g. `#/properties/values/items/additionalProperties` @returns the schema that has the last keyword */
function partOf(schema: unknown, schemaPath: string): Record<string, unknown> | undefined {
  let part: unknown = schema
  for (const name of schemaPath.split('/').slice(1, -1)) {
    if (typeof part !== 'object' || part === null || !Object.hasOwn(part, name)) return undefined
    part = (part as Record<string, unknown>)[name]
  }
  return typeof part === 'object' && part !== null ? (part as Record<string, unknown>) : undefined
}

/** Whether one text becomes the other by another case, or by a letter or two that are added, left out, changed or swapped. */
function isNear(name: string, sent: string): boolean {
  const [a, b] = [name.toLowerCase(), sent.slice(0, 100).toLowerCase()]
  if (Math.abs(a.length - b.length) > 2 || sent.length > 100) return false
  // Edits from each beginning of a to each beginning of b (Damerau and Levenshtein), two rows back for swapped letters.
  let [before, last]: [number[], number[]] = [[], Array.from({ length: b.length + 1 }, (_, column) => column)]
  for (let row = 1; row <= a.length; row++) {
    const next = [row]
    for (let column = 1; column <= b.length; column++) {
      const isSame = a[row - 1] === b[column - 1]
      const isSwapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]
      next[column] = Math.min(
        next[column - 1]! + 1,
        last[column]! + 1,
        last[column - 1]! + (isSame ? 0 : 1),
        isSwapped ? before[column - 2]! + 1 : Number.POSITIVE_INFINITY,
      )
    }
    ;[before, last] = [last, next]
  }
  return last[b.length]! <= Math.min(2, Math.floor(a.length / 3))
}
