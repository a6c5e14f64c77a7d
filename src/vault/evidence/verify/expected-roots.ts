import { type Checkpoint, readUnverifiedCheckpoint } from '../../../tlog/checkpoint.ts'
import { type NoteVerifier, openNote } from '../../../tlog/signed-note.ts'
import type { StoredCheckpoint } from '../ports.ts'
import type { AuditFindings } from './findings.ts'

/** A checkpoint that was kept outside of the database. */
export interface ExternalCheckpoint {
  /** Where it was kept, for people: a file's name. */
  readonly source: string
  /** Signed note. */
  readonly note: string
}

interface Mark extends Checkpoint {
  readonly source: string
}

/** A run of checkpoints that do not match, from the first one on. */
interface Mismatch {
  readonly first: Mark
  readonly from: number
  count: number
}

/**
 * The sizes at which the growing tree must have a certain root. Checkpoints that bear no true signature are findings, and
 * no marks: they bind nobody.
 */
export class CheckpointMarks {
  readonly #marks: Mark[] = []
  readonly #findings: AuditFindings
  readonly #verifier: NoteVerifier | undefined
  #next = 0
  #matched = 0
  #mismatch: Mismatch | undefined

  /** @param verifier without one, signatures are not checked */
  constructor(
    findings: AuditFindings,
    verifier: NoteVerifier | undefined,
    stored: readonly StoredCheckpoint[],
    external: readonly ExternalCheckpoint[],
  ) {
    this.#findings = findings
    this.#verifier = verifier
    for (const { note, treeSize } of stored) this.#addMark(note, 'database', treeSize)
    for (const { note, source } of external) this.#addMark(note, source)
    this.#marks.sort((a, b) => a.treeSize - b.treeSize)
  }

  #addMark(note: string, source: string, keptUnder?: number): void {
    let mark: Mark
    const place = { source, ...(keptUnder === undefined ? {} : { treeSize: keptUnder }) }
    try {
      mark = { ...readUnverifiedCheckpoint(note), source }
    } catch {
      this.#findings.add({ code: 'checkpoint_invalid', ...place, detail: 'it is no checkpoint' })
      return
    }
    if (keptUnder !== undefined && mark.treeSize !== keptUnder) {
      this.#findings.add({ code: 'checkpoint_invalid', ...place, detail: `it is of size ${mark.treeSize}` })
      return
    }
    if (this.#verifier !== undefined && !isSigned(note, this.#verifier)) {
      this.#findings.add({ code: 'checkpoint_signature_wrong', source, treeSize: mark.treeSize })
      return
    }
    // Signed by the key of the log, yet for another: no forger's work, and no checkpoint of this one.
    if (this.#verifier !== undefined && mark.logName !== this.#verifier.name) {
      this.#findings.add({ code: 'checkpoint_invalid', ...place, detail: 'it is of another log' })
      return
    }
    this.#marks.push(mark)
  }

  /** Compares every checkpoint of the size. @param root computes the root of the tree of that size */
  compare(size: number, root: () => Uint8Array): void {
    for (let mark = this.#marks[this.#next]; mark?.treeSize === size; mark = this.#marks[++this.#next]) {
      if (Buffer.compare(mark.root, root()) === 0) {
        this.#endMismatch()
        this.#matched = size
      } else {
        this.#mismatch ??= { first: mark, from: this.#matched, count: 0 }
        this.#mismatch.count++
      }
    }
  }

  /** Reports what is left. @param size how many events stand without a gap */
  finish(size: number): void {
    this.#endMismatch()
    const unreached = this.#marks[this.#next]
    if (unreached === undefined) return
    const { treeSize, source } = unreached
    const count = this.#marks.length - this.#next
    this.#findings.add({ code: 'checkpoint_unreached', from: size, to: treeSize, treeSize, source, count })
  }

  #endMismatch(): void {
    if (this.#mismatch === undefined) return
    const { first, from, count } = this.#mismatch
    const { treeSize, source } = first
    this.#findings.add({ code: 'checkpoint_mismatch', from, to: treeSize, treeSize, source, count })
    this.#mismatch = undefined
  }
}

function isSigned(note: string, verifier: NoteVerifier): boolean {
  try {
    openNote(note, verifier)
    return true
  } catch {
    return false
  }
}
