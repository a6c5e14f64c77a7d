import { subtreeLevels } from '../../../tlog/merkle.ts'
import type { AuditView } from '../ports.ts'
import type { AuditFindings } from './findings.ts'

/** Roots compared in one read. */
const runLength = 256

/** Compares the subtree roots that are stored, by which proofs are made, with those that the events give. */
export class SubtreeCheck {
  readonly #view: AuditView
  readonly #findings: AuditFindings
  /** By level: how many were compared, and those that were computed since. */
  readonly #levels = new Map(subtreeLevels.map(level => [level, { compared: 0, waiting: [] as Uint8Array[] }]))

  constructor(view: AuditView, findings: AuditFindings) {
    this.#view = view
    this.#findings = findings
  }

  /** Takes a subtree that the events completed; for Frontier.append. */
  readonly complete = (level: number, root: Uint8Array): void => {
    this.#levels.get(level)?.waiting.push(root)
  }

  /** Compares what has come together. */
  async compareRuns(): Promise<void> {
    for (const [level, { waiting }] of this.#levels) if (waiting.length >= runLength) await this.#compare(level)
  }

  /** Compares the rest. @param isWhole whether the events reached the end, so that nothing more may be stored */
  async finish(isWhole: boolean): Promise<void> {
    for (const [level, state] of this.#levels) {
      await this.#compare(level)
      if (!isWhole) continue
      const surplus = await this.#view.findSubtreeBeyond(level, state.compared)
      if (surplus !== undefined) this.#report(level, surplus, surplus + 1)
    }
  }

  async #compare(level: number): Promise<void> {
    const state = this.#levels.get(level)!
    const { compared: from, waiting } = state
    const to = from + waiting.length
    state.compared = to
    state.waiting = []
    if (waiting.length === 0) return
    const stored = await this.#view.readSubtrees(level, from, to)
    // With one missing nobody can tell which.
    if (stored.length !== waiting.length) this.#report(level, from, to)
    else
      for (const [place, root] of waiting.entries())
        if (Buffer.compare(root, stored[place]!) !== 0) this.#report(level, from + place, from + place + 1)
  }

  #report(level: number, from: number, to: number): void {
    const leaves = 2 ** level
    const detail = `subtrees of ${leaves} events`
    this.#findings.add({ code: 'subtrees_wrong', from: from * leaves, to: to * leaves, count: to - from, detail })
  }
}
