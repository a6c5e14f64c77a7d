import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import { describeError } from '../../log.ts'

/** Failures that the person at the command line can mend there. */
const mendableCodes = new Set<ErrorCode>([
  'config_invalid',
  'field_changed',
  'policy_invalid',
  'kek_unavailable',
  'kek_mismatch',
  'port_unavailable',
  'already_running',
  'input_invalid',
  'table_unsuitable',
  'import_file_invalid',
  'import_refused',
  'import_running',
  'import_changed',
  'usage',
])

/**
 * Says what failed and what to do next: one line, or a line for each problem of a configuration.
 *
 * @returns the exit code: 2 for usage, configuration and input, 1 for everything else
 */
export function reportFailure(error: unknown, write: (text: string) => void): number {
  if (!(error instanceof TokenvaultError)) {
    // A fault of ours. Its message may repeat what came in, so only its kind and place are told.
    write(
      `tokenvault: internal: an unexpected fault. Please report it with this line: ${JSON.stringify(describeError(error))}\n`,
    )
    return 1
  }
  const isList = error.message.includes('\n')
  const separator = isList ? '\n' : /[.!?]$/.test(error.message) ? ' ' : '. '
  // The catalogue's remedy is for callers of the API, who have a request id.
  const remedy = error.code === 'internal' ? 'Please report it with the last lines of the log.' : error.remedy
  write(`tokenvault: ${error.code}: ${error.message}${separator}${remedy}\n`)
  return mendableCodes.has(error.code) ? 2 : 1
}

const unreadable = new Map([
  ['ENOENT', 'does not exist'],
  ['EACCES', 'may not be read by this user'],
  ['EISDIR', 'is a directory'],
  ['ERR_ENCODING_INVALID_ENCODED_DATA', 'is not UTF-8'],
])

/** Why a file cannot be read, to stand behind what it is called: `does not exist (ENOENT)`. Never quotes what it holds. */
export function describeUnreadable(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
  return `${unreadable.get(code) ?? 'cannot be read'} (${code})`
}
