import { backoffMilliseconds, pause } from '../concurrency/waiting.ts'
import { type ErrorCode, TokenvaultError } from '../errors.ts'
import { type ApiCall, type ApiOptions, ApiRefused, callApi } from './api-client.ts'

/**
 * As callApi, but tries again while the API is away, busy, or says that a budget of a minute is used up: as soon as its
 * Retry-After says, or after waits that double. Only for calls that may be repeated.
 *
 * @param patience.seconds for how long
 * @param patience.tell is told once why it waits
 * @param patience.over code of the failure when the time is over, `import_interrupted` where absent
 * @param patience.signal ends the waiting
 * @throws TokenvaultError with that code when the time is over; what callApi throws where waiting does not help
 */
export async function callPatiently<T>(
  options: ApiOptions,
  call: ApiCall,
  patience: {
    readonly seconds: number
    readonly tell: (text: string) => void
    readonly over?: ErrorCode
    readonly signal?: AbortSignal
  },
): Promise<T> {
  const until = performance.now() + patience.seconds * 1000
  for (let attempt = 1; ; attempt++) {
    try {
      return await callApi<T>(options, call)
    } catch (error) {
      if (!(error instanceof TokenvaultError) || !mayHelpToWait(error)) throw error
      const asked = error instanceof ApiRefused ? error.retryAfterSeconds : undefined
      const milliseconds = asked === undefined ? backoffMilliseconds(attempt) : asked * 1000
      if (performance.now() + milliseconds > until || patience.signal?.aborted === true)
        throw new TokenvaultError(
          patience.over ?? 'import_interrupted',
          `${error.message}; tried for ${patience.seconds} seconds`,
          {
            cause: error,
          },
        )
      if (attempt === 1) patience.tell(`${error.message}; trying again for up to ${patience.seconds} seconds`)
      await pause(milliseconds, patience.signal)
    }
  }
}

/** With a status of 5xx, and there until an operator does something. */
const operatorCodes = new Set(['storing_off', 'store_misconfigured'])

/** A budget of a day is no matter of waiting: a call beyond it suspends its caller. */
function mayHelpToWait(error: TokenvaultError): boolean {
  if (!(error instanceof ApiRefused)) return error.code === 'api_unavailable'
  if (operatorCodes.has(String(error.problem.code))) return false
  return error.status >= 500 || (error.status === 429 && error.problem.window !== 'day')
}
