import { onLauncherGone } from './launcher.ts'

/**
 * An abort signal that fires at the first SIGINT, SIGTERM or SIGHUP. The second one ends the process at once, for
 * those who do not want to wait: everything it does is safe to be killed in.
 */
export function stopSignal(): AbortSignal {
  const controller = new AbortController()
  onLauncherGone(() => controller.abort())
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(130)
      controller.abort()
    })
  }
  return controller.signal
}

/** Resolves when the signal fires, or after the time limit where one is given. */
export function stopped(signal: AbortSignal, limitMilliseconds?: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  if (signal.aborted) resolve()
  signal.addEventListener('abort', () => resolve(), { once: true })
  if (limitMilliseconds !== undefined) setTimeout(resolve, limitMilliseconds).unref()
  return promise
}
