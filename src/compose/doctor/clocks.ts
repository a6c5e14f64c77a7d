import { type Finding, fail, ok, skip, warn } from './findings.ts'

/** When something was said, by the clock of who said it, and by that of this host around the question. */
export interface Dated {
  /** Milliseconds since 1970, as are the others. */
  readonly serverMs: number
  readonly sentAtMs: number
  readonly receivedAtMs: number
}

/** A Date header has whole seconds (RFC 9110 section 5.6.7): the clock may have been almost a second further. */
export const headerResolutionMilliseconds = 1000

/**
 * Compares another clock with this host's. The answer was made at some moment between question and reply, so what is
 * judged is the smallest difference that explains both.
 *
 * @param clock.resolutionMilliseconds by how much the other clock may be ahead of what was read
 * @param clock.toleranceSeconds a larger difference is a finding
 * @param clock.breaks what does not work then; without it a difference is only a warning
 */
export function judgeClock(
  dated: Dated | undefined,
  clock: {
    readonly resolutionMilliseconds: number
    readonly toleranceSeconds: number
    readonly breaks?: string | undefined
  },
): Finding {
  const { resolutionMilliseconds, toleranceSeconds, breaks } = clock
  if (dated === undefined) return skip('the reply has no readable Date header')
  const leastMs = dated.serverMs - dated.receivedAtMs
  const mostMs = dated.serverMs + resolutionMilliseconds - dated.sentAtMs
  const aheadMs = leastMs > 0 ? leastMs : mostMs < 0 ? mostMs : 0
  const seconds = Math.round(Math.abs(aheadMs) / 1000)
  const difference = `${describeDifference(seconds)} ${aheadMs > 0 ? 'ahead of' : 'behind'} that of this host`
  if (Math.abs(aheadMs) <= toleranceSeconds * 1000)
    return ok(seconds === 0 ? 'the same as that of this host, to the second' : difference)
  const remedy = 'Synchronize both by NTP; `timedatectl` or `chronyc tracking` shows which of them is wrong.'
  return breaks === undefined ? warn(difference, remedy) : fail(`${difference}: ${breaks}`, remedy)
}

function describeDifference(seconds: number): string {
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`
}
