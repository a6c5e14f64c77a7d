/** Commands that stay, and make much garbage. */
const commands: ReadonlySet<string> = new Set(['worker', 'api'])

/**
 * Limits V8's young generation, which it lets grow to three times 32 MB. With 8 MB a worker needs 100 MB less for a few per
 * cent of CPU, and an API, where all requests wait while it is cleared, answers the slowest hundredth a quarter sooner at the
 * same rate (measured: docs/performance.md). Only a flag at start can do it.
 *
 * @returns no flag for other commands, and where whoever started us chose one
 */
export function youngGenerationFlags(command: string): string[] {
  const chosen = [...process.execArgv, process.env['NODE_OPTIONS'] ?? ''].join(' ')
  return !commands.has(command) || /semi[-_]space/.test(chosen) ? [] : ['--max-semi-space-size=8']
}

/** Replaces this process by the same command with these flags, where the platform can (same pid, no child). */
export function restartWithFlagsOf(command: string): void {
  const flags = youngGenerationFlags(command)
  if (flags.length === 0 || process.execve === undefined || process.platform === 'win32') return
  process.execve(process.execPath, [process.execPath, ...process.execArgv, ...flags, ...process.argv.slice(1)])
}
