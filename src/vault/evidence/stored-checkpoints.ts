import { TokenvaultError } from '../../errors.ts'
import { type Checkpoint, openCheckpoint } from '../../tlog/checkpoint.ts'
import type { NoteVerifier } from '../../tlog/signed-note.ts'
import type { AuditReader, StoredCheckpoint } from './ports.ts'

/** What is stored from a size on, or from the newest checkpoint on that this vault signed. */
export interface StoredCheckpoints {
  /** Signed by this vault for the size that they are stored under, largest first. */
  readonly placed: readonly { readonly stored: StoredCheckpoint; readonly checkpoint: Checkpoint }[]
  /** The largest that this vault signed, and that is stored under another size than its own. */
  readonly strayed: Checkpoint | undefined
  /** How many are neither, or strayed, and the size that the largest of them is stored under. */
  readonly invalid: number
  readonly largestInvalid: number | undefined
}

const pageCheckpoints = 100

/** @param from a size; without one, the newest checkpoint that this vault signed is the last that is read */
export async function readStoredCheckpoints(
  reader: Pick<AuditReader, 'listCheckpoints'>,
  verifier: NoteVerifier,
  from: number | undefined,
): Promise<StoredCheckpoints> {
  const placed: { stored: StoredCheckpoint; checkpoint: Checkpoint }[] = []
  let strayed: Checkpoint | undefined
  let invalid = 0
  let largestInvalid: number | undefined
  for await (const stored of largestFirst(reader)) {
    const isEnough = from === undefined ? placed.length > 0 : stored.treeSize < from
    if (isEnough) break
    const checkpoint = openSigned(stored.note, verifier)
    if (checkpoint?.treeSize === stored.treeSize) {
      placed.push({ stored, checkpoint })
      continue
    }
    invalid++
    largestInvalid ??= stored.treeSize
    if (checkpoint !== undefined && checkpoint.treeSize > (strayed?.treeSize ?? -1)) strayed = checkpoint
  }
  return { placed, strayed, invalid, largestInvalid }
}

/** @returns the newest checkpoint that this vault signed for the size it is stored under, whatever is stored beside it */
export async function findNewest(
  reader: Pick<AuditReader, 'listCheckpoints'>,
  verifier: NoteVerifier,
): Promise<StoredCheckpoint | undefined> {
  const { placed } = await readStoredCheckpoints(reader, verifier, undefined)
  return placed[0]?.stored
}

async function* largestFirst(reader: Pick<AuditReader, 'listCheckpoints'>): AsyncGenerator<StoredCheckpoint> {
  let below: number | undefined
  while (true) {
    const page = await reader.listCheckpoints({ below, limit: pageCheckpoints })
    yield* page
    below = page.at(-1)?.treeSize
    if (below === undefined) return
  }
}

function openSigned(note: string, verifier: NoteVerifier): Checkpoint | undefined {
  try {
    return openCheckpoint(note, verifier)
  } catch (error) {
    if (error instanceof TokenvaultError && error.code === 'checkpoint_invalid') return undefined
    throw error
  }
}

/** What this vault signed once, and the log must have grown out of. A smaller one that strayed says no more than these. */
export function signedOf({ placed, strayed }: StoredCheckpoints): readonly Checkpoint[] {
  const signed = placed.map(({ checkpoint }) => checkpoint)
  return strayed !== undefined && strayed.treeSize > (signed[0]?.treeSize ?? 0) ? [strayed, ...signed] : signed
}
