/**
 * Who asks, what is recorded of it, and whether it is admitted.
 */

import type { HashScheme } from '../../crypto/value-hash.ts'
import type { ErrorCode } from '../../errors.ts'
import type { Allowance, RevealLevel } from '../policy/policy.ts'

/** The way by which a call reaches the vault. */
export type Channel = 'http' | 'sql' | 'console' | 'cli'

/**
 * An authenticated caller, taken from a verified JWT. Issuer and subject alone say who it is: budgets, suspensions, approvals,
 * idempotency keys and the counting of refusals ask for nothing else. Client, actor and the JWT's id are for the evidence.
 */
export interface Principal {
  readonly issuer: string
  readonly subject: string
  readonly roles: readonly string[]
  readonly channel: Channel
  /** The application that the JWT was issued to. */
  readonly client?: string
  /** Who is acting for the principal (`act` of RFC 8693); of the same issuer where it names none. */
  readonly actor?: { readonly issuer?: string; readonly subject: string }
  /** The JWT's own id (`jti`) as it stands there: any well-formed text, for digests alone. */
  readonly jwtId?: string
}

/** Of one field: how many items were asked for and given, and the level at which the policy permits it in this call. */
export interface FieldCounts {
  readonly requested: number
  readonly granted: number
  readonly level: RevealLevel
}

/**
 * One append-only fact. It holds identities under a keyed digest and never a value or a token. docs/evidence.md says what each
 * member means, when it is absent, and in which order they stand.
 */
export interface AuditEvent {
  /** Version of this format; events of before have none. */
  readonly format: 2
  readonly type:
    | 'detokenize'
    | 'tokenize'
    | 'crosswalk'
    | 'translate'
    | `quarantine_${'list' | 'show' | 'open' | 'redrive' | 'discard'}`
    | `approval_${'list' | 'show' | 'approve' | 'refuse'}`
    | `suspension_${'list' | 'lift'}`
    | `audit_${'search' | 'prove'}`
    | `person_${'show' | 'export' | 'hold' | 'release' | 'erase' | 'erased' | 'erased_again'}`
    | `erasure_${'show' | 'complete'}`
    | 'key_list'
    | 'honey'
    | `honey_${'create' | 'list' | 'retire'}`
    | KeyEventType
    | ArchiveEventType
    | RetentionEventType
  /** UTC, RFC 3339 with milliseconds. */
  readonly at: string
  readonly requestId: string
  readonly issuer: string
  readonly subject: string
  readonly roles: readonly string[]
  /** As the principal's; absent where its JWT names none. */
  readonly client?: string
  readonly actor?: NonNullable<Principal['actor']>
  /** Keyed digest of the JWT's id, 22 letters of base64url; absent where the JWT has none. */
  readonly jwt?: string
  readonly channel: Channel
  /** '' for actions that take no purpose. */
  readonly purpose: string
  /** `pending`: an approval was asked for. */
  readonly decision: 'permitted' | 'refused' | 'pending'
  /** Why it was refused as a whole; absent when permitted. */
  readonly code?: string
  /** Items asked for, and items given. */
  readonly requested: number
  readonly granted: number
  /**
   * Of `detokenize`, `tokenize` and `crosswalk`: the items by the configured field that they name, in the order of configuration. Items
   * that name none are in the totals alone.
   */
  readonly fields?: Readonly<Record<string, FieldCounts>>
  /** Keyed digests of the tokens given, base64url of 16 bytes each, in request order without repeats. */
  readonly tokens: readonly string[]
  /** Number of items withheld, by code. */
  readonly withheld: Readonly<Record<string, number>>
  /**
   * Of `tokenize`: whether the call looks tokens up, or also stores the originals. Of `detokenize`: `preview` where nothing was to
   * be given.
   */
  readonly mode?: 'look_up' | 'store' | 'preview'
  /** Of `crosswalk`: how the values were hashed. */
  readonly scheme?: HashScheme['name']
  /** Ids of the quarantined entries concerned; absent where the action is about none. */
  readonly quarantine?: readonly string[]
  /** Of what is done with keys: their names, `data/ip/v2`. */
  readonly keys?: readonly string[]
  /** Of `key_rewrap`: id of the KEK that wraps the keys from then on. */
  readonly kek?: string
  /** Of what is done with archives: the months, `2025-11`. */
  readonly months?: readonly string[]
  /** Ticket under which the caller acts; absent where none was named. */
  readonly ticket?: string
  /** Items of `granted` of which only a part was revealed; absent where none. */
  readonly partial?: number
  /** Id of the request for approval that the action made, decided or used. */
  readonly approval?: string
  /** Whom the action is about: the principal whose request was decided, or whose suspension was lifted. */
  readonly concerns?: { readonly issuer?: string; readonly subject: string }
  /** Of what is about a person: keyed digest of the user id, 22 letters of base64url. */
  readonly person?: string
  /**
   * Of `audit_search`: what was looked for, by criterion; `true` in place of a text that could be a value. `tokens` has the digests of
   * what stands for `token` or `value`.
   */
  readonly sought?: Readonly<Record<string, string | true>>
  /** Of `person_erased`: the entry in the erasure ledger, and what was erased or left. */
  readonly erasure?: {
    readonly number: number
    /** As the ledger names the person: under the oldest audit key. */
    readonly person?: string
    readonly rows?: 'remove' | 'anonymize'
    readonly counts?: readonly { readonly kind: string; readonly field?: string | null; readonly count: number }[]
  }
  /** First 16 hexadecimal digits of the SHA-256 of the policy file that decided. */
  readonly policy?: string
  /**
   * How many refused actions the event stands for, where that are several: `requested` is of all of them, the other members
   * are those of the first.
   */
  readonly count?: number
  /** When the last of them was asked for, as `at`. */
  readonly until?: string
}

/** What is done with whole months of rows, by an administrator with the owner's database role. */
export type ArchiveEventType = 'rows_archive' | 'rows_recall' | 'rows_rewrite' | 'rows_export'
/** What retention removed, by a job with the owner's database role. */
export type RetentionEventType = `retain_${'logins' | 'originals' | 'quarantine' | 'approvals'}`

/** What is done with keys, by an administrator with the owner's database role. */
export type KeyEventType =
  `key_${'create' | 'promote' | 'hand_over' | 'disable' | 'enable' | 'schedule_destruction' | 'cancel_destruction' | 'destroy' | 'rewrap' | 'reseal' | 'retokenize' | 'token_map' | 'retire'}`

/** Answers whether what a process needs is there. @throws the room's `*_unavailable` */
export interface HealthCheck {
  check(): Promise<void>
}

/** What an action costs. Budgets are counted in values over sliding windows; absent means that nothing is counted against it. */
export interface Charge {
  readonly values: number
  readonly perMinute?: number | undefined
  readonly perDay?: number | undefined
  /** Present where the values are taken without a second person: then they count in the windows of allowances. */
  readonly withoutApproval?: WithoutApproval | undefined
}

/** What has to hold so that an action needs no second person. */
export interface WithoutApproval {
  /** Values that are asked for, of which `values` of the charge are given. */
  readonly asked: number
  /** One allowance of each list must hold what the principal took in its window, and what is asked for. */
  readonly allowances: readonly (readonly Allowance[])[]
}

/** What is left of the allowance that comes nearest to holding an action. */
export interface Remaining {
  readonly above: number
  readonly windowSeconds: number
  readonly left: number
}

/** A call that is not made: what it would cost, and what an approval of it would be for. */
export interface PreviewedCall {
  readonly charge: Charge
  /** As that of a request for approval. */
  readonly digest: string
}

/** How a call that is not made stands with the budgets and approvals of its principal at this moment. */
export interface Standing {
  /** Values that are left of the budgets of the charge, of those that it names. */
  readonly minuteLeft?: number
  readonly dayLeft?: number
  /** The budget that does not hold the charge, and whole seconds after which it fits. */
  readonly exceeds?: { readonly window: 'minute' | 'day'; readonly retryAfterSeconds: number }
  /** What is left of every allowance of the charge, the shortest window first. */
  readonly allowances: readonly Remaining[]
  /** Where they do not hold what is asked for: the one that comes nearest. */
  readonly nearest?: Remaining
  /** The request for approval of exactly this call that is open. */
  readonly request?: { readonly id: string; readonly state: 'pending' | 'approved'; readonly expiresAt: string }
  /** Another request would be one too many. */
  readonly hasTooManyRequests?: true
}

/** What an action changes besides being recorded. */
export type Change =
  | {
      readonly kind: 'request_approval'
      /** UUID made by the caller; where the same request is open already, the admission names that one instead. */
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

/** Whether an action may happen. */
export type Admission =
  | {
      readonly allowed: true
      /** Of `request_approval`: the request that is open now, which may be an earlier one of the same digest. */
      readonly approvalId?: string
      readonly approvalState?: 'pending' | 'approved'
      /** When the request, or the grant, runs out: RFC 3339, UTC. */
      readonly approvalExpiresAt?: string
      /** Of `request_approval`, where the number of values is why. */
      readonly withoutApproval?: Remaining
      /** Of a preview. */
      readonly standing?: Standing
    }
  | {
      readonly allowed: false
      readonly code: Extract<
        ErrorCode,
        | 'budget_exceeded'
        | 'principal_suspended'
        | 'approval_required'
        | 'approval_unknown'
        | 'approval_self'
        | 'approval_settled'
        | 'approval_unusable'
        | 'approvals_too_many'
        | 'suspension_unknown'
      >
      /** Of `budget_exceeded`: the window, and whole seconds after which the same action fits again. */
      readonly window?: 'minute' | 'day'
      readonly retryAfterSeconds?: number
      /** Of `approval_required`. */
      readonly withoutApproval?: Remaining
    }

/** One action to be admitted and recorded in one transaction. */
export interface Action {
  readonly principal: Principal
  readonly purpose: string
  readonly charge?: Charge | undefined
  readonly change?: Change | undefined
  /** The call of which the action is a preview; then it has neither charge nor change. */
  readonly preview?: PreviewedCall | undefined
  /**
   * What becomes of the action where an allowance of its charge does not hold it: a request for approval in its place, and
   * the event of that. Made only then. Without it such an action is refused as `approval_required`.
   */
  readonly otherwise?: (() => { readonly change: Change; readonly event: AuditEvent }) | undefined
  /**
   * Nothing is given if the action is admitted. Its repeats are counted in one event, as those of every action are that is
   * not admitted.
   */
  readonly givesNothing?: boolean
  /** Honey tokens that it gives if it is admitted. */
  readonly met?: MetHoney | undefined
  /** The event to record, by what becomes of the action: whole but for what only the admission tells. */
  readonly events: {
    /** Where the admission names a request for approval, that becomes its `approval`. */
    readonly admitted: AuditEvent
    /** The admission's code becomes its `code`, which is '' until then. */
    readonly refused: AuditEvent
  }
}

/** An action met honey tokens: what is recorded beside the action, in the same transaction. */
export interface MetHoney {
  /** Of type `honey`; it names no token. */
  readonly event: AuditEvent
  /** Ids of the honey tokens, 1 to 10,000. */
  readonly ids: readonly string[]
  readonly suspends: boolean
}

export interface CommittedAction {
  readonly admission: Admission
  readonly sequence: number
  /** SHA-256(0x00 ‖ event), 32 bytes (RFC 9162, 2.1.1). */
  readonly leafHash: Uint8Array
  /** Version of the signing key that signs this place of the log; absent in a log that never hands over. */
  readonly signingKeyVersion?: number | undefined
}

/** Where one signing key of the log gave way to the next. */
export interface StoredHandOver {
  /** Version of the key that took over. */
  readonly keyVersion: number
  readonly treeSize: number
  /** Signed note. */
  readonly note: string
}

export interface HandOverReader {
  /** All of them, ascending. @throws `store_unavailable` */
  readHandOvers(): Promise<readonly StoredHandOver[]>
}

/** An action that gave nothing, and that is counted with others of its kind: the log gets one event for all of them. */
export interface CountedAction {
  readonly admission: Admission
  readonly isCounted: true
}

export interface ActionLog {
  /**
   * Admits, applies and records the action, and resolves once that is committed. A suspended principal is refused every
   * action. Of actions that give nothing, the first of a principal and kind is an event at once, and those of the minute
   * after it are counted. @throws `store_unavailable`, `store_refused`; then nothing of it happened, or nobody may be told
   * that it did
   */
  commit(action: Action): Promise<CommittedAction | CountedAction>
}

/** What was counted and is no event yet. */
export interface RefusalCounts {
  /** Makes events of what was counted in minutes that are over, or of everything. @throws `store_unavailable` */
  fold(options?: { readonly everything: boolean }): Promise<void>
}

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
  readonly decidedByIssuer?: string | undefined
  readonly decidedAt?: Date | undefined
}

/** What approvers are told of a new request: who asks, why and for how much, and nothing that names a token. */
export interface ApprovalNotice
  extends Pick<
    Approval,
    'id' | 'issuer' | 'subject' | 'roles' | 'purpose' | 'ticket' | 'reveal' | 'values' | 'fields'
  > {
  /** When the request runs out: RFC 3339, UTC. */
  readonly expiresAt: string
}

/** Tells approvers, some time later. Never throws and never waits. */
export type NotifyApprovers = (notice: ApprovalNotice) => void

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
  /** Its place in the list, which stays when the suspension is lifted: microseconds since 1970, `-`, a UUID. */
  readonly place: string
}

export interface SuspensionReader {
  /** Those in force, newest first. `before` is the place of the last one seen. */
  listSuspensions(options: {
    readonly before?: string | undefined
    readonly limit: number
  }): Promise<readonly Suspension[]>
  isSuspended(principal: Pick<Principal, 'issuer' | 'subject'>): Promise<boolean>
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
