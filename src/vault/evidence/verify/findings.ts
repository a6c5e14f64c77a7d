/** What can be wrong with an audit log, and what each means. A code is never renamed: scripts read it. */
export const auditFindingMeanings = {
  leaf_hash_wrong: 'the stored leaf hash is not that of the stored event',
  events_missing: 'events are missing',
  events_repeated: 'a sequence occurs more than once, or is not a sequence',
  events_surplus: 'there are events beyond the end of the log',
  head_wrong: 'the head does not hold the subtree roots of the events',
  subtrees_wrong: 'the stored subtree roots are not those of the events',
  checkpoint_invalid: 'a checkpoint is malformed, of another log, or kept under another size',
  checkpoint_signature_wrong: 'a checkpoint was not signed by the key of the log',
  checkpoint_key_wrong: 'a checkpoint was signed by a key of the log that signs no tree of its size',
  hand_over_invalid: 'a stored hand-over of the signing key is not one of the log, or contradicts the keys given',
  checkpoint_mismatch: 'the events are not those that a checkpoint signs',
  checkpoint_unreached: 'a checkpoint signs more events than the log holds without a gap: the log was cut',
  search_index_wrong: 'the search index does not hold what the events say',
} as const satisfies Record<string, string>

export type AuditFindingCode = keyof typeof auditFindingMeanings

/** One thing that is wrong, and where. */
export interface AuditFinding {
  readonly code: AuditFindingCode
  /** The events concerned: `from` ≤ sequence < `to`. For a mismatch, the events among which the difference is. */
  readonly from?: number
  readonly to?: number
  /** The checkpoint concerned, and where it comes from: `database`, or the file it was given in. */
  readonly treeSize?: number
  readonly source?: string
  /** How many events, checkpoints or entries of the index are concerned. */
  readonly count?: number
  readonly detail?: string
}

/** Most findings of one code that are kept; a log that was replaced as a whole would fill the memory with them. */
const maxOfOneCode = 1000

/** Gathers findings; neighbouring events of one code become one range. */
export class AuditFindings {
  readonly #lists = new Map<AuditFindingCode, AuditFinding[]>()
  #omitted = 0

  /** Number of findings that are not in the list. */
  get omitted(): number {
    return this.#omitted
  }

  add(finding: AuditFinding): void {
    const list = this.#listOf(finding.code)
    if (list.length < maxOfOneCode) list.push(finding)
    else this.#omitted++
  }

  /** @param from first sequence concerned @param to one past the last */
  addEvents(code: AuditFindingCode, from: number, to: number): void {
    const list = this.#listOf(code)
    const last = list.at(-1)
    if (last?.to !== from) this.add({ code, from, to, count: to - from })
    else list[list.length - 1] = { code, from: last.from!, to, count: to - last.from! }
  }

  /** By code in the order of auditFindingMeanings, then as they were found. */
  list(): AuditFinding[] {
    const codes = Object.keys(auditFindingMeanings) as AuditFindingCode[]
    return codes.flatMap(code => this.#lists.get(code) ?? [])
  }

  #listOf(code: AuditFindingCode): AuditFinding[] {
    const list = this.#lists.get(code) ?? []
    this.#lists.set(code, list)
    return list
  }
}
