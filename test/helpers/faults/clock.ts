import { spawnSync } from 'node:child_process'
import { chmodSync, closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { ServerChanges } from '../../../src/embedded/postgres-process.ts'
import { temporaryDirectory } from '../embedded/embedded-directory.ts'

const source = fileURLToPath(new URL('clock.c', import.meta.url))

/** Why the clock of a server cannot be set here; false where it can. */
export const noClock: string | false =
  process.platform !== 'linux'
    ? 'the clock is a library that is preloaded, as Linux does it'
    : spawnSync('cc', ['-fsyntax-only', source]).status !== 0 &&
      'the clock is a library of C, and there is no cc, or no header for it'

export interface FaultClock {
  /** Makes a server read this clock. */
  readonly changes: ServerChanges
  /** From now on it is off by so many days; its other properties stay as they are. */
  setDays(days: number): void
}

/**
 * A clock that a server reads instead of the machine's, in all that it asks of it: `now()`, `current_date`, timers, files. The
 * file times that the kernel writes stay true.
 */
export function makeClock(t: Test): FaultClock {
  const directory = temporaryDirectory(t)
  // As root, Postgres is another user.
  chmodSync(directory, 0o755)
  const library = join(directory, 'clock.so')
  const { status, stderr } = spawnSync('cc', ['-shared', '-fPIC', '-O2', '-o', library, source], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  const path = join(directory, 'offset')
  const file = openSync(path, 'w+', 0o644)
  t.teardown(() => closeSync(file))
  const setDays = (days: number) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(BigInt(days * 24 * 3600))
    writeSync(file, bytes, 0, 8, 0)
  }
  setDays(0)
  return { changes: { environment: { LD_PRELOAD: library, CLOCK_OFFSET_FILE: path } }, setDays }
}
