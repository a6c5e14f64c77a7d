/**
 * Limits V8's young generation. The SDK makes some 20 KB of garbage for a message, and V8 lets the space for it grow to
 * three times 32 MB; 8 MB save 100 MB for a few per cent of CPU (measured: docs/performance.md). Only a flag at start can do it.
 *
 * @returns no flag where whoever started us chose one
 */
export function workerHeapFlags(): string[] {
  const chosen = [...process.execArgv, process.env['NODE_OPTIONS'] ?? ''].join(' ')
  return /semi-space/.test(chosen) ? [] : ['--max-semi-space-size=8']
}

/** Replaces this process by the same command with these flags, where the platform can (same pid, no child). */
export function restartWithWorkerHeap(): void {
  const flags = workerHeapFlags()
  if (flags.length === 0 || process.execve === undefined || process.platform === 'win32') return
  process.execve(process.execPath, [process.execPath, ...process.execArgv, ...flags, ...process.argv.slice(1)])
}
