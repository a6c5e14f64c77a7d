import { chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** A temporary directory of mode 0700, owned by the user if one is given, removed when the test ends. */
export function temporaryDirectory(t: Pick<Test, 'teardown'>, uid?: number): string {
  const directory = mkdtempSync(join(tmpdir(), 'tokenvault-test-'))
  if (uid !== undefined) chownSync(directory, uid, uid)
  t.teardown(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }))
  return directory
}
