import type { TokenvaultError } from '../../errors.ts'

/** One run of a worker, or of a Lambda function: how long it goes on, and what ends it before its time. */
export interface Run {
  /** Aborted once the run is to end. */
  readonly stop: AbortSignal
  /** Tries in a row before a queue or a store that is away is given up. */
  readonly maxAttempts: number
  /** Until when more tries than these are made, on the clock of performance.now(); absent where none are. */
  readonly patientUntilMs?: number | undefined
  /** Ends the run with this error: going on would only spend the messages' receive counts. */
  fail(error: TokenvaultError): void
  /** @throws the first error that the run was ended with */
  end(): void
}

/** @param options.signal ends the run without an error */
export function startRun(
  maxAttempts: number,
  { signal, patientUntilMs }: { readonly signal?: AbortSignal; readonly patientUntilMs?: number | undefined } = {},
): Run {
  const failing = new AbortController()
  let failure: TokenvaultError | undefined
  return {
    stop: signal === undefined ? failing.signal : AbortSignal.any([signal, failing.signal]),
    maxAttempts,
    patientUntilMs,
    fail(error) {
      failure ??= error
      failing.abort()
    },
    end() {
      if (failure !== undefined) throw failure
    },
  }
}
