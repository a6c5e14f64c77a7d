import { TokenvaultError } from '../errors.ts'

/**
 * Translates whatever the SDK threw. Only a short identifier survives: SDK messages quote the reply, and a reply that
 * does not parse is quoted with message bodies in it. No `cause` is kept for the same reason.
 *
 * @param operation name of the SQS action, e.g. `ReceiveMessage`
 * @returns TokenvaultError `queue_unavailable`, detail `<operation>: <error code or name>`
 */
export function queueError(operation: string, error: unknown): TokenvaultError {
  if (error instanceof TokenvaultError) return error
  return new TokenvaultError('queue_unavailable', `${operation}: ${identify(error)}`)
}

/** The identifier of an error, as SQS or Node names it; never its text. */
export function identify(error: unknown): string {
  if (!(error instanceof Error)) return 'UnknownError'
  const code: unknown = 'code' in error ? error.code : undefined
  // A refused connection is a plain Error whose code says everything; a service exception carries its name.
  return asIdentifier(error.name === 'Error' || error.name === 'AggregateError' ? code : error.name) ?? 'UnknownError'
}

/** Names come from the server's reply, so only what looks like an identifier passes. */
export function asIdentifier(name: unknown): string | undefined {
  return typeof name === 'string' && /^[A-Za-z][A-Za-z0-9_.]{0,63}$/.test(name) ? name : undefined
}
