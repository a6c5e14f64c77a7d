import { TokenvaultError } from '../../errors.ts'

/** SQLSTATE classes that blame the data: data exception, integrity constraint violation, program limit exceeded. */
const refusedClasses = new Set(['22', '23', '54'])

/**
 * Runs statements and names their failure. Only the SQLSTATE, or the name of a network error, goes on: a driver's
 * message and detail repeat parameters.
 *
 * @throws TokenvaultError `store_refused` where the data is to blame, otherwise `store_unavailable`
 */
export async function namingFailures<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof TokenvaultError) throw error
    // A fault of ours, which trying again does not mend; drivers and the network raise errors of other kinds.
    if (error instanceof TypeError && !('code' in error)) throw error
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    const sqlState = /^[0-9A-Z]{5}$/.test(code)
    const refused = sqlState && refusedClasses.has(code.slice(0, 2))
    const label = sqlState ? `SQLSTATE ${code}` : /^E[A-Z]+$/.test(code) ? code : 'connection lost'
    throw new TokenvaultError(refused ? 'store_refused' : 'store_unavailable', `the database answered: ${label}`)
  }
}
