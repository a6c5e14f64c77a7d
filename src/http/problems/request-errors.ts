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

/**
 * Names any error by one of our codes. Text of fastify, ajv or a driver is dropped here, because it may quote what
 * the caller sent; the original stays reachable as `cause` for the log, which keeps only its type and frames.
 */
export function nameError(error: unknown): TokenvaultError {
  if (error instanceof TokenvaultError) return error
  if (!(error instanceof Error)) return new TokenvaultError('internal')
  if ('validation' in error && Array.isArray(error.validation)) return nameSchemaError(error.validation[0])
  const code = 'code' in error ? codeOfFastifyError.get(String(error.code)) : undefined
  if (code !== undefined) return new TokenvaultError(code)
  const status = 'statusCode' in error ? Number(error.statusCode) : 500
  return new TokenvaultError(status >= 400 && status < 500 ? 'request_invalid' : 'internal', undefined, {
    cause: error,
  })
}

/** `instancePath` holds names of our schema and array indexes only: no schema admits names of the caller's. */
function nameSchemaError({ keyword, instancePath, params }: FastifySchemaValidationError): TokenvaultError {
  const place = instancePath === '' ? 'the body' : instancePath
  if (keyword === 'additionalProperties')
    return new TokenvaultError('property_unknown', `${place} has an unknown property`)
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
  return new TokenvaultError('request_invalid', `${place} breaks the rule ${keyword}`)
}
