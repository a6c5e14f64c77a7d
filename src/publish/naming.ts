import { TokenvaultError } from '../errors.ts'

/** Enough digits for every size that a number holds exactly, so that names sort as sizes do. */
const digits = 16

/** File or object that holds the checkpoint of a size: `0000000000000042.note`. */
export function checkpointName(treeSize: number): string {
  return `${String(treeSize).padStart(digits, '0')}.note`
}

/**
 * Names why a checkpoint could not be kept. Only a short identifier survives and no cause: paths, replies and SDK
 * messages may hold what is secret, such as the credentials of a URL.
 *
 * @param doing what failed, in our words
 * @returns TokenvaultError `checkpoint_unavailable`
 */
export function publishError(doing: string, error: unknown): TokenvaultError {
  if (error instanceof TokenvaultError) return error
  return new TokenvaultError('checkpoint_unavailable', `${doing}: ${identify(error)}`)
}

/** A refused connection or a file system says everything by its code, a service by the name of its exception. */
function identify(error: unknown): string {
  if (!(error instanceof Error)) return 'UnknownError'
  const code: unknown = 'code' in error ? error.code : undefined
  const name = error.name === 'Error' || error.name === 'AggregateError' ? code : error.name
  // Names come from a server's reply, so only what looks like an identifier passes.
  return typeof name === 'string' && /^[A-Za-z][A-Za-z0-9_.]{0,63}$/.test(name) ? name : 'UnknownError'
}

/**
 * A name holds one checkpoint for ever.
 *
 * @returns TokenvaultError `audit_invalid`
 */
export function conflictError(treeSize: number): TokenvaultError {
  const what = 'another history of the log, or another vault that publishes to the same place'
  return new TokenvaultError('audit_invalid', `another checkpoint of size ${treeSize} was published before: ${what}`)
}
