import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const asked = process.env['TOKENVAULT_SHARED']

/** Where the real input and the published vectors are, if they are on this machine; undefined where they are hidden. */
export const sharedFolder = asked === 'none' ? undefined : (asked ?? join(import.meta.dirname, '../../../../shared'))

const folder = sharedFolder === undefined ? undefined : join(sharedFolder, 'vectors')
const isThere = folder !== undefined && existsSync(folder)

/**
 * Option of a test that needs published vectors: says why it is skipped where the folder is not there. The vectors of the
 * RFCs and the comparison with @noble/ciphers run everywhere.
 */
export const needsSharedVectors: { skip: string | false } = {
  skip: isThere ? false : 'the published vectors are not here: no ../shared/vectors, or TOKENVAULT_SHARED=none',
}

// Whoever names a folder wants its vectors run: a wrong name must not turn into a skipped test.
if (asked !== undefined && asked !== 'none' && !isThere) throw new Error('TOKENVAULT_SHARED: no vectors in it')

/** One file of the folder, parsed. */
export function readSharedVectors<T>(name: string): T {
  return JSON.parse(readFileSync(join(folder!, name), 'utf8')) as T
}

/** The part of a Wycheproof file that all of its schemas share. */
export interface WycheproofFile<Group> {
  readonly numberOfTests: number
  readonly testGroups: readonly Group[]
}
