import { TokenvaultError } from '../../../errors.ts'
import { followHandOvers, type LogKeys } from '../../../tlog/key-history.ts'
import { Frontier, leafHash } from '../../../tlog/merkle.ts'
import type { AuditHead, AuditView, StoredEvent } from '../ports.ts'
import { ExpectedRoots, type ExternalCheckpoint } from './expected-roots.ts'
import { type AuditFinding, AuditFindings } from './findings.ts'
import { SubtreeCheck } from './subtrees.ts'

export interface VerifyAuditOptions {
  /** Keys of the log that are known; the stored hand-overs lead from them to the others. Without them stored checkpoints are compared, but their signatures are not checked. */
  readonly verifier?: LogKeys | undefined
  /** Checkpoints that somebody kept: only these bind who owns the database and the signing key. */
  readonly external?: readonly ExternalCheckpoint[] | undefined
  /** Told from time to time how many events were read, of how many the head promises. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

/** The result of verifying an audit log. */
export interface AuditVerification {
  readonly isIntact: boolean
  /** Events that stand from the first one on without a gap. */
  readonly events: number
  /** Root of the tree of these, base64. */
  readonly root: string
  readonly checkpoints: { readonly stored: number; readonly external: number }
  readonly signaturesChecked: boolean
  readonly findings: readonly AuditFinding[]
  /** Findings that the list has no room for. */
  readonly omitted: number
}

/**
 * Recomputes the audit log from its stored events and says everything that is wrong, and where. It believes nothing but
 * the events' own bytes and the checkpoints' signatures, and holds one page of events at a time.
 *
 * @throws TokenvaultError `store_unavailable`
 */
export async function verifyAudit(view: AuditView, options: VerifyAuditOptions = {}): Promise<AuditVerification> {
  const { verifier, external = [], onProgress } = options
  const findings = new AuditFindings()
  const head = await view.readHead()
  const stored = await view.readCheckpoints()
  const keys = verifier && (await followStored(view, verifier, findings))
  const expected = new ExpectedRoots(findings, keys, stored, external)
  const subtrees = new SubtreeCheck(view, findings)
  const walk = new EventWalk(head, findings, expected, subtrees)
  let done = 0
  for await (const page of view.readEvents()) {
    for (const event of page) walk.take(event)
    await subtrees.compareRuns()
    done += page.length
    onProgress?.(done, head.treeSize)
  }
  const { size, root, isWhole } = walk.finish()
  expected.finish(size)
  await subtrees.finish(isWhole)
  await checkSearchIndex(view, findings)
  const list = findings.list()
  return {
    isIntact: list.length === 0,
    events: size,
    root: Buffer.from(root).toString('base64'),
    checkpoints: { stored: stored.length, external: external.length },
    signaturesChecked: verifier !== undefined,
    findings: list,
    omitted: findings.omitted,
  }
}

/** Grows the tree event by event, as long as none is missing. */
class EventWalk {
  readonly #head: AuditHead
  readonly #findings: AuditFindings
  readonly #expected: ExpectedRoots
  readonly #subtrees: SubtreeCheck
  readonly #frontier = new Frontier()
  readonly #root = () => this.#frontier.root()
  /** The sequence that comes next. It leaves the frontier behind once an event is missing: no tree goes over a gap. */
  #next = 0

  constructor(head: AuditHead, findings: AuditFindings, expected: ExpectedRoots, subtrees: SubtreeCheck) {
    this.#head = head
    this.#findings = findings
    this.#expected = expected
    this.#subtrees = subtrees
    // No tree is of such a size, so nothing below would ever come to compare it.
    if (!Number.isSafeInteger(head.treeSize) || head.treeSize < 0) findings.add({ code: 'head_wrong' })
    this.#compareTree()
  }

  take({ sequence, event, leafHash: storedHash }: StoredEvent): void {
    const leaf = leafHash(event)
    if (Buffer.compare(leaf, storedHash) !== 0) this.#findings.addEvents('leaf_hash_wrong', sequence, sequence + 1)
    if (sequence < this.#next) {
      this.#findings.addEvents('events_repeated', sequence, sequence + 1)
      return
    }
    if (sequence > this.#next) this.#findings.addEvents('events_missing', this.#next, sequence)
    if (sequence >= this.#head.treeSize) this.#findings.addEvents('events_surplus', sequence, sequence + 1)
    this.#next = sequence + 1
    // Events beyond the end are in no stored subtree.
    const completed = sequence < this.#head.treeSize ? this.#subtrees.complete : undefined
    if (this.#frontier.size === sequence) {
      this.#frontier.append(leaf, completed)
      this.#compareTree()
    }
  }

  /** @returns how many events make the tree, its root, and whether these are all that the head promises */
  finish(): { readonly size: number; readonly root: Uint8Array; readonly isWhole: boolean } {
    const { treeSize } = this.#head
    if (this.#next < treeSize) this.#findings.addEvents('events_missing', this.#next, treeSize)
    const { size } = this.#frontier
    return { size, root: this.#frontier.root(), isWhole: size >= treeSize }
  }

  #compareTree(): void {
    const { size } = this.#frontier
    this.#expected.compare(size, this.#root)
    if (size !== this.#head.treeSize) return
    const { subtreeRoots } = this.#frontier
    const stored = this.#head.subtreeRoots
    const areEqual =
      stored.length === subtreeRoots.length &&
      subtreeRoots.every((root, place) => Buffer.compare(root, stored[place]!) === 0)
    if (!areEqual) this.#findings.add({ code: 'head_wrong', from: 0, to: size })
  }
}

/** The known keys and those that stored hand-overs lead to; one that leads nowhere is a finding, and nothing is believed by it. */
async function followStored(view: AuditView, known: LogKeys, findings: AuditFindings): Promise<LogKeys> {
  const stored = await view.readHandOvers()
  try {
    return followHandOvers(
      known,
      stored.map(({ note }) => note),
    )
  } catch (error) {
    findings.add({
      code: 'hand_over_invalid',
      source: 'database',
      count: stored.length,
      detail: (error as Error).message,
    })
    return known
  }
}

async function checkSearchIndex(view: AuditView, findings: AuditFindings): Promise<void> {
  try {
    const { missing, surplus } = await view.compareSearchIndex()
    if (missing + surplus === 0) return
    const detail = `${missing} entries missing, ${surplus} too many`
    findings.add({ code: 'search_index_wrong', count: missing + surplus, detail })
  } catch (error) {
    // An event that is not text: append_audit refuses those, so somebody went round it.
    if (!(error instanceof TokenvaultError) || error.code !== 'store_refused') throw error
    findings.add({ code: 'search_index_wrong', detail: 'an event cannot be read as text' })
  }
}
