const lookEveryMilliseconds = 500

/**
 * Calls back once when the npm that started this process is gone: whatever killed npm alone meant all of it. The
 * scripts in package.json `exec` node, so that npm is the parent and passes signals on to it.
 */
export function onLauncherGone(callback: () => void): void {
  if (process.env['npm_lifecycle_event'] === undefined) return
  const launcher = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === launcher) return
    clearInterval(timer)
    callback()
  }, lookEveryMilliseconds)
  timer.unref()
}
