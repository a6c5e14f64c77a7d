import { type Checkpoint, readUnverifiedCheckpoint } from '../../../tlog/checkpoint.ts'
import { type LogKeys, spanAt, spansOf } from '../../../tlog/key-history.ts'
import { isSignedBy } from '../../../tlog/signed-note.ts'
import type { StoredCheckpoint } from '../ports.ts'
import type { AuditFindings } from './findings.ts'

/** A checkpoint that was stored outside of the database. */
export interface ExternalCheckpoint {
  /** Where it was stored, for people: a file's name. */
  readonly source: string
  /** Signed note. */
  readonly note: string
}

interface ExpectedRoot extends Checkpoint {
  readonly source: string
}

/** A run of checkpoints that do not match, from the first one on. */
interface Mismatch {
  readonly first: ExpectedRoot
  readonly from: number
  count: number
}

/**
 * The sizes at which the growing tree must have a certain root. Checkpoints without a true signature are findings, and
 * nothing is expected of them: they bind nobody.
 */
export class ExpectedRoots {
  readonly #expected: ExpectedRoot[] = []
  readonly #findings: AuditFindings
  readonly #verifier: LogKeys | undefined
  #next = 0
  #matched = 0
  #mismatch: Mismatch | undefined

  /** @param verifier without one, signatures are not checked */
  constructor(
    findings: AuditFindings,
    verifier: LogKeys | undefined,
    stored: readonly StoredCheckpoint[],
    external: readonly ExternalCheckpoint[],
  ) {
    this.#findings = findings
    this.#verifier = verifier
    // Both keys signed what the log was when one gave way to the other.
    for (const { end } of verifier === undefined ? [] : spansOf(verifier))
      if (end !== undefined) this.#expected.push({ ...end, source: 'hand-over' })
    for (const { note, treeSize } of stored) this.#expect(note, 'database', treeSize)
    for (const { note, source } of external) this.#expect(note, source)
    this.#expected.sort((a, b) => a.treeSize - b.treeSize)
  }

  #expect(note: string, source: string, storedUnder?: number): void {
    let checkpoint: ExpectedRoot
    const place = { source, ...(storedUnder === undefined ? {} : { treeSize: storedUnder }) }
    try {
      checkpoint = { ...readUnverifiedCheckpoint(note), source }
    } catch {
      this.#findings.add({ code: 'checkpoint_invalid', ...place, detail: 'it is not a checkpoint' })
      return
    }
    if (storedUnder !== undefined && checkpoint.treeSize !== storedUnder) {
      this.#findings.add({ code: 'checkpoint_invalid', ...place, detail: `it is of size ${checkpoint.treeSize}` })
      return
    }
    const { treeSize } = checkpoint
    if (this.#verifier !== undefined && !isSignedBy(note, spanAt(this.#verifier, treeSize).verifier)) {
      const isOfOther = spansOf(this.#verifier).some(({ verifier }) => isSignedBy(note, verifier))
      const code = isOfOther ? 'checkpoint_key_wrong' : 'checkpoint_signature_wrong'
      this.#findings.add({ code, source, treeSize })
      return
    }
    // Signed by the key of this log for another log: not forged, and not a checkpoint of this one.
    if (this.#verifier !== undefined && checkpoint.logName !== this.#verifier.name) {
      this.#findings.add({ code: 'checkpoint_invalid', ...place, detail: 'it is of another log' })
      return
    }
    this.#expected.push(checkpoint)
  }

  /** Compares every checkpoint of the size. @param root computes the root of the tree of that size */
  compare(size: number, root: () => Uint8Array): void {
    for (let due = this.#expected[this.#next]; due?.treeSize === size; due = this.#expected[++this.#next]) {
      if (Buffer.compare(due.root, root()) === 0) {
        this.#endMismatch()
        this.#matched = size
      } else {
        this.#mismatch ??= { first: due, from: this.#matched, count: 0 }
        this.#mismatch.count++
      }
    }
  }

  /** Reports what is left. @param size how many events stand without a gap */
  finish(size: number): void {
    this.#endMismatch()
    const unreached = this.#expected[this.#next]
    if (unreached === undefined) return
    const { treeSize, source } = unreached
    const count = this.#expected.length - this.#next
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
