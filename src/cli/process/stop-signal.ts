import { pause, repeat } from '../../concurrency/waiting.ts'

/** One Ctrl-C can arrive twice: from the terminal, and passed on by npm. */
const echoMilliseconds = 1_000

/**
 * An abort signal that fires at the first SIGINT, SIGTERM or SIGHUP. The second one ends the process at once, for
 * those who do not want to wait: everything it does is safe to be killed in.
 *
 * @param onForced called before such an end, for what would outlive the process; it cannot wait for anything
 */
export function stopSignal(onForced: () => void = () => {}): AbortSignal {
  const controller = new AbortController()
  let firstAtMs: number | undefined
  onLauncherGone(() => controller.abort())
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (firstAtMs === undefined) {
        firstAtMs = performance.now()
        controller.abort()
      } else if (performance.now() - firstAtMs > echoMilliseconds) {
        try {
          onForced()
        } finally {
          process.exit(130)
        }
      }
    })
  }
  return controller.signal
}

const launcherLookMilliseconds = 500

/**
 * Calls back once when the npm that started this process is gone: whatever killed npm alone meant all of it. The
 * scripts in package.json `exec` node, so that npm is the parent and passes signals on to it.
 */
function onLauncherGone(callback: () => void): void {
  if (process.env['npm_lifecycle_event'] === undefined) return
  const launcher = process.ppid
  const gone = new AbortController()
  const look = async () => {
    if (process.ppid !== launcher) {
      gone.abort()
      callback()
    }
    return launcherLookMilliseconds
  }
  void repeat(look, gone.signal, { firstAfterMilliseconds: launcherLookMilliseconds, ref: false })
}

/** Resolves when the signal fires, or after the time limit where one is given. */
export function stopped(signal: AbortSignal, limitMilliseconds?: number): Promise<void> {
  if (limitMilliseconds !== undefined) return pause(limitMilliseconds, signal, { ref: false })
  const { promise, resolve } = Promise.withResolvers<void>()
  if (signal.aborted) resolve()
  signal.addEventListener('abort', () => resolve(), { once: true })
  return promise
}
