import { TokenvaultError } from '../../errors.ts'

/**
 * - `ok`: as it must be.
 * - `warn`: it works, and a promise of the product does not hold, or will not once something else fails.
 * - `fail`: a process that is started like this does not do its work.
 * - `skip`: it could not be looked at; `says` tells why.
 */
export type FindingStatus = 'ok' | 'warn' | 'fail' | 'skip'

/** What one look found. Both texts are one line of ours, without any value. */
export interface Finding {
  readonly status: FindingStatus
  readonly says: string
  /** What to do about it; absent where nothing has to be done. */
  readonly remedy?: string | undefined
}

export function ok(says: string): Finding {
  return { status: 'ok', says }
}

export function warn(says: string, remedy: string): Finding {
  return { status: 'warn', says, remedy }
}

export function fail(says: string, remedy: string): Finding {
  return { status: 'fail', says, remedy }
}

export function skip(says: string): Finding {
  return { status: 'skip', says }
}

/** One finding for each line that a failure of ours has; whatever else is thrown is a fault of ours. */
export function failed(error: unknown): Finding[] {
  if (!(error instanceof TokenvaultError)) return [fail('the check itself failed', 'Please report it.')]
  const [first = '', ...rest] = error.message.split('\n').map(line => line.trim())
  // "3 problems:" announces a list.
  const lines = rest.length > 0 && first.endsWith(':') ? rest : [first, ...rest]
  return lines.map(says => fail(says, error.remedy))
}

/** One thing that is looked at, on its own. */
export interface Check {
  /** Words of two levels, by which scripts know it: `queue redrive policy`. */
  readonly name: string
  /** Where an earlier check of the same name has the same text here, this one would find the same, and is left out. */
  readonly same?: string
  /** @param signal aborted when the check has taken too long, and is given up */
  run(signal: AbortSignal): Promise<readonly Finding[]>
}

/** A finding, of which check, for whom. */
export interface Examined extends Finding {
  /** For whom it was checked: `worker`, `api` … */
  readonly subject: string
  readonly check: string
}

/**
 * Runs checks beside one another. What one throws is its own finding, and so is that it takes too long; the others go on.
 *
 * @param tell told every finding in the order of the checks, as soon as those before it are known
 */
export async function runChecks(
  checks: readonly { readonly subject: string; readonly check: Check }[],
  options: { readonly longestMilliseconds: number; readonly tell: (finding: Examined) => void },
): Promise<readonly Examined[]> {
  const { longestMilliseconds, tell } = options
  const seen = new Set<string>()
  const distinct = checks.filter(({ check: { name, same } }) => {
    if (same === undefined) return true
    const key = `${name}\0${same}`
    return !seen.has(key) && seen.add(key)
  })
  const running = distinct.map(({ check }) => runBounded(check, longestMilliseconds))
  const told: Examined[] = []
  for (const [place, { subject, check }] of distinct.entries()) {
    for (const finding of await running[place]!) {
      const examined = { subject, check: check.name, ...finding }
      told.push(examined)
      tell(examined)
    }
  }
  return told
}

async function runBounded(check: Check, longestMilliseconds: number): Promise<readonly Finding[]> {
  const controller = new AbortController()
  const { promise: late, resolve } = Promise.withResolvers<readonly Finding[]>()
  const timer = setTimeout(() => {
    resolve([
      fail(
        `no answer within ${longestMilliseconds / 1000} s`,
        'Check the network and the server between here and there.',
      ),
    ])
    controller.abort()
  }, longestMilliseconds)
  try {
    return await Promise.race([check.run(controller.signal), late])
  } catch (error) {
    return failed(error)
  } finally {
    clearTimeout(timer)
  }
}
