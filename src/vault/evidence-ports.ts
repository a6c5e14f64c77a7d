/**
 * The seams of evidence: acts and what rules them, the audit log as a transparency log, and who reads it.
 *
 * Terms: an *act* is something privileged that a principal asks for. Its *ruling* says whether it may happen, given what
 * was spent before, who is suspended and what was approved. Ruling, effect and audit event are committed together:
 * there is none without the others. A *leaf* is the stored bytes of one event; a *checkpoint* is the signed size and root
 * of the tree (C2SP tlog-checkpoint); a *receipt* is the signed place of one event in it.
 */

import type { ErrorCode } from '../errors.ts'
import type { AuditEvent, Principal } from './ports.ts'

/** What an act costs. Budgets are counted in values over sliding windows; absent means that nothing is counted against it. */
export interface Charge {
  readonly values: number
  readonly perMinute?: number | undefined
  readonly perDay?: number | undefined
}

/** What an act changes besides being recorded. */
export type Effect =
  | {
      readonly kind: 'request_approval'
      /** UUID made by the caller; where the same request is open already, the ruling names that one instead. */
      readonly id: string
      /** Keyed digest (22 letters of base64url) of exactly what is asked: operation, tokens, purpose, ticket, reveal. */
      readonly digest: string
      readonly ticket?: string | undefined
      readonly reveal: 'full' | 'partial'
      readonly values: number
      /** Distinct tokens asked for, by field. */
      readonly fields: Readonly<Record<string, number>>
    }
  | { readonly kind: 'use_approval'; readonly id: string; readonly digest: string }
  | { readonly kind: 'decide_approval'; readonly id: string; readonly decision: 'approve' | 'refuse' }
  | { readonly kind: 'lift_suspension'; readonly issuer: string; readonly subject: string }

/** Codes by which a ruling refuses. */
export type RulingCode = Extract<
  ErrorCode,
  | 'budget_exceeded'
  | 'principal_suspended'
  | 'approval_unknown'
  | 'approval_self'
  | 'approval_settled'
  | 'approval_unusable'
  | 'approvals_too_many'
  | 'suspension_unknown'
>

export type Ruling =
  | {
      readonly allowed: true
      /** Of `request_approval`: the request that is open now, which may be an earlier one of the same digest. */
      readonly approvalId?: string
      readonly approvalState?: 'pending' | 'approved'
      /** When the request, or the grant, runs out: RFC 3339, UTC. */
      readonly approvalExpiresAt?: string
    }
  | {
      readonly allowed: false
      readonly code: RulingCode
      /** Of `budget_exceeded`: the window, and whole seconds after which the same act fits again. */
      readonly window?: 'minute' | 'day'
      readonly retryAfterSeconds?: number
    }

/** One act to be ruled and recorded in one transaction. */
export interface Act {
  readonly principal: Principal
  readonly purpose: string
  readonly charge?: Charge | undefined
  readonly effect?: Effect | undefined
  /**
   * The event to record. Called with `{allowed: true}` when the act comes in, and once more if the ruling says more or
   * refuses; must be pure.
   */
  event(ruling: Ruling): AuditEvent
}

export interface CommittedAct {
  readonly ruling: Ruling
  readonly sequence: number
  /** SHA-256(0x00 ‖ event), 32 bytes (RFC 9162, 2.1.1). */
  readonly leafHash: Uint8Array
}

export interface ActLog {
  /**
   * Rules, applies and records the act, and resolves once that is committed. A suspended principal is refused every
   * act. @throws `store_unavailable`, `store_refused`; then nothing of it happened, or nobody may be told that it did
   */
  commit(act: Act): Promise<CommittedAct>
}

// Reading the log.

export interface StoredEvent {
  readonly sequence: number
  /** The bytes that were hashed: JSON in UTF-8. */
  readonly event: Uint8Array
  readonly leafHash: Uint8Array
}

export interface AuditHead {
  readonly treeSize: number
  /** Roots of the full subtrees that the size is made of, largest first. */
  readonly subtreeRoots: readonly Uint8Array[]
}

export interface StoredCheckpoint {
  readonly treeSize: number
  /** Signed note. */
  readonly note: string
}

/** One consistent view of the log. Ranges are half open: from ≤ sequence < to. */
export interface AuditView {
  readHead(): Promise<AuditHead>
  /** Pages in ascending order of sequence, of everything that is stored, whatever the head says. */
  readEvents(): AsyncIterable<readonly StoredEvent[]>
  /** As AuditReader reads them, of what is stored in this view. */
  readSubtrees(level: number, from: number, to: number): Promise<readonly Uint8Array[]>
  /** The lowest index of that level at which a root is stored that is not one of the first so many, however far away. */
  findSubtreeBeyond(level: number, count: number): Promise<number | undefined>
  /** All checkpoints, ascending by size. */
  readCheckpoints(): Promise<readonly StoredCheckpoint[]>
  /** How many (event, token digest) pairs the search index lacks, and holds too much, below its own head. */
  compareSearchIndex(): Promise<{ readonly missing: number; readonly surplus: number }>
}

export interface AuditReader {
  /** Runs the work in one read-only snapshot, however long it takes. @throws `store_unavailable` */
  snapshot<T>(work: (view: AuditView) => Promise<T>): Promise<T>
  readHead(): Promise<AuditHead>
  readEvent(sequence: number): Promise<StoredEvent | undefined>
  /** Rows that are missing are left out: whoever needs all of a range counts them. So also of subtrees. */
  readLeafHashes(from: number, to: number): Promise<readonly Uint8Array[]>
  /**
   * Roots of full subtrees of 2^level leaves; `level` is 8, 16, 24 or 32, and `from`, `to` count subtrees of that level.
   */
  readSubtrees(level: number, from: number, to: number): Promise<readonly Uint8Array[]>
  /**
   * Stored checkpoints, largest first; of a note that is longer than any of ours, nothing.
   *
   * @param options.below only those of smaller trees
   */
  listCheckpoints(options: {
    readonly below?: number | undefined
    readonly limit: number
  }): Promise<readonly StoredCheckpoint[]>
  checkpointAt(treeSize: number): Promise<StoredCheckpoint | undefined>
}

export interface CheckpointStore {
  /** Keeps a checkpoint; one of that size that is there already stays. @throws `store_unavailable` */
  insertCheckpoint(checkpoint: StoredCheckpoint): Promise<void>
}

/** Keeps checkpoints where the database's administrators cannot rewrite them. */
export interface CheckpointSink {
  /** @throws `checkpoint_unavailable` */
  publish(checkpoint: StoredCheckpoint): Promise<void>
}

export interface AuditSearch {
  /**
   * Brings the index up to date in bounded steps, so that the next search has less to do.
   *
   * @param signal ends it after the step under way
   * @throws `store_unavailable`
   */
  indexEvents(signal?: AbortSignal): Promise<void>
  /**
   * Events that name any of the digests, newest first. Brings the index up to date first.
   *
   * @param before only events of a smaller sequence
   */
  findEvents(
    digests: readonly string[],
    options: { readonly before?: number | undefined; readonly limit: number },
  ): Promise<readonly StoredEvent[]>
}

// Reading requests for approval and suspensions.

export interface Approval {
  readonly id: string
  /** `approved` ones that ran out, and pending ones that nobody decided in time, are `expired`. */
  readonly state: 'pending' | 'approved' | 'refused' | 'used' | 'expired'
  readonly issuer: string
  readonly subject: string
  readonly roles: readonly string[]
  readonly purpose: string
  readonly ticket?: string | undefined
  readonly reveal: 'full' | 'partial'
  readonly values: number
  readonly fields: Readonly<Record<string, number>>
  readonly createdAt: Date
  /** When the request, or the grant, runs out. */
  readonly expiresAt: Date
  readonly decidedBy?: string | undefined
  readonly decidedAt?: Date | undefined
}

export interface ApprovalReader {
  /** Newest first. `before` is the id of the last one seen. */
  listApprovals(options: {
    readonly state?: Approval['state'] | undefined
    readonly before?: string | undefined
    /** Only what this principal asked for. */
    readonly requester?: Pick<Principal, 'issuer' | 'subject'> | undefined
    readonly limit: number
  }): Promise<readonly Approval[]>
  findApproval(id: string): Promise<Approval | undefined>
}

export interface Suspension {
  readonly issuer: string
  readonly subject: string
  readonly suspendedAt: Date
}

export interface SuspensionReader {
  /** Those in force, oldest first. */
  listSuspensions(limit: number): Promise<readonly Suspension[]>
}

/** Replies of state-changing calls, kept so that a repeat changes nothing and is answered alike. Never holds a value. */
export interface IdempotencyStore {
  /**
   * Claims a key for a request, or tells what became of it.
   *
   * @param key the caller's; keys of different principals never meet
   * @param fingerprint digest of method, route and body, 22 letters of base64url
   */
  claim(
    principal: Principal,
    key: string,
    fingerprint: string,
  ): Promise<
    | { readonly state: 'claimed' }
    | { readonly state: 'in_progress' }
    | { readonly state: 'other_request' }
    | { readonly state: 'done'; readonly status: number; readonly body: string }
  >
  complete(principal: Principal, key: string, reply: { readonly status: number; readonly body: string }): Promise<void>
  /** Gives a claim back, after a failure that changed nothing. */
  release(principal: Principal, key: string): Promise<void>
}
