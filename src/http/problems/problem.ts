import { type ErrorCode, errorCatalogue, TokenvaultError } from '../../errors.ts'
import { ApprovalRequired, BudgetExceeded } from '../../vault/admission/open-action.ts'
import type { Remaining } from '../../vault/admission/ports.ts'

/**
 * Where each code may appear over HTTP: the status of a problem, `item` for a code that stands only beside one item
 * of a batch, `never` for one that belongs to start-up or the worker; should it reach a reply, `internal` is shown.
 */
export const appearance = {
  config_invalid: 'never',
  kek_unavailable: 'never',
  kek_mismatch: 'never',
  keyset_incomplete: 'never',
  keyset_invalid: 'never',
  field_changed: 'never',
  key_unknown: 'never',
  key_state_invalid: 'never',
  key_in_use: 'never',
  keys_changed: 'never',
  keys_not_followed: 'never',
  token_move_unfinished: 'never',
  retokenize_running: 'never',
  recovery_invalid: 'never',
  dump_invalid: 'never',
  recovery_stopped: 'never',
  recovery_target_used: 'never',
  migration_failed: 'never',
  store_unavailable: 503,
  store_misconfigured: 503,
  store_refused: 'never',
  people_off: 501,
  person_unknown: 404,
  person_held: 409,
  person_not_held: 404,
  person_too_large: 422,
  person_report_invalid: 'never',
  storing_off: 501,
  table_unsuitable: 'never',
  backfill_running: 'never',
  queue_unavailable: 503,
  event_invalid: 'never',
  worker_failed: 'never',
  embedded_failed: 'never',
  already_running: 'never',
  not_running: 'never',
  port_unavailable: 'never',
  input_invalid: 'never',
  archive_unavailable: 'never',
  archive_changed: 'never',
  archive_running: 'never',
  archive_tokens_moving: 'never',
  month_not_archived: 'never',
  import_file_invalid: 'never',
  import_refused: 'never',
  import_running: 'never',
  import_changed: 'never',
  import_interrupted: 'never',
  import_values_invalid: 'never',
  import_unproven: 'never',
  api_unavailable: 'never',
  api_refused: 'never',
  usage: 'never',
  policy_invalid: 'never',
  audit_invalid: 'never',
  checkpoint_invalid: 'never',
  checkpoint_unavailable: 'never',
  receipt_invalid: 'never',
  key_length_invalid: 'never',
  key_unavailable: 'item',
  field_unknown: 'item',
  value_invalid: 'item',
  value_too_long: 'item',
  value_is_token: 'item',
  value_is_placeholder: 'item',
  token_malformed: 'item',
  token_field_missing: 'item',
  token_collision: 409,
  token_unknown: 'item',
  token_retired: 'item',
  token_field_mismatch: 'item',
  token_not_authentic: 'item',
  original_not_authentic: 'item',
  quarantine_unknown: 404,
  quarantine_settled: 409,
  quarantine_unreadable: 422,
  dead_letter_queue_missing: 'never',
  unauthenticated: 401,
  jwks_unavailable: 503,
  role_not_permitted: 403,
  field_not_permitted: 403,
  purpose_missing: 400,
  purpose_invalid: 400,
  purpose_not_permitted: 403,
  ticket_required: 400,
  ticket_invalid: 400,
  batch_over_role_limit: 400,
  budget_exceeded: 429,
  principal_suspended: 403,
  suspension_unknown: 404,
  honey_unknown: 404,
  person_erased: 409,
  token_erased: 'item',
  erasure_unknown: 404,
  erasure_invalid: 'never',
  erasure_incomplete: 'never',
  erasure_ledger_behind: 'never',
  erasure_ledger_conflict: 'never',
  approval_required: 403,
  approval_unknown: 404,
  approval_self: 403,
  approval_settled: 409,
  approval_unusable: 403,
  approvals_too_many: 429,
  idempotency_key_invalid: 400,
  idempotency_key_reused: 422,
  idempotency_in_progress: 409,
  audit_event_unknown: 404,
  batch_empty: 400,
  batch_too_large: 400,
  batch_refused: 422,
  property_unknown: 400,
  request_invalid: 400,
  request_malformed: 400,
  request_timeout: 408,
  headers_too_large: 431,
  body_malformed: 400,
  body_too_large: 413,
  content_type_unsupported: 415,
  content_encoding_unsupported: 415,
  route_not_found: 404,
  method_not_allowed: 405,
  rate_limited: 429,
  overloaded: 503,
  audit_unavailable: 503,
  internal: 500,
} as const satisfies Record<ErrorCode, number | 'item' | 'never'>

/** A code that a problem may carry. */
export type ProblemCode = {
  [Code in ErrorCode]: (typeof appearance)[Code] extends number ? Code : never
}[ErrorCode]

/** Codes of whole calls that an item carries where its neighbours are permitted. */
const alsoOfItems: ReadonlySet<ItemCode> = new Set(['field_not_permitted', 'purpose_not_permitted', 'ticket_required'])

/** A code that one item of a batch may carry. */
export type ItemCode =
  | { [Code in ErrorCode]: (typeof appearance)[Code] extends 'item' ? Code : never }[ErrorCode]
  | 'field_not_permitted'
  | 'purpose_not_permitted'
  | 'ticket_required'

const codes = Object.keys(appearance) as ErrorCode[]
export const problemCodes = codes.filter((code): code is ProblemCode => typeof appearance[code] === 'number')
export const itemCodes = codes.filter(
  (code): code is ItemCode => appearance[code] === 'item' || alsoOfItems.has(code as ItemCode),
)

/** An atomic batch was refused; `items` names what failed by its index in the request. */
export class BatchRefused extends TokenvaultError {
  readonly items: readonly { readonly index: number; readonly code: ErrorCode }[]

  constructor(items: BatchRefused['items']) {
    super('batch_refused')
    this.items = items
  }
}

/** The process cannot do its work. A probe that only says so sends people looking, so the detail, which is ours, is told. */
export class NotReady extends TokenvaultError {
  constructor({ code, message }: TokenvaultError) {
    super(code, message)
  }
}

/** Problem details (RFC 9457 section 3) with a stable `code`. */
export interface Problem {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly code: ProblemCode
  readonly detail?: string
  readonly remedy: string
  readonly requestId: string
  readonly items?: BatchRefused['items']
  readonly window?: BudgetExceeded['window']
  readonly withoutApproval?: Remaining
}

/**
 * @param error anything; text that is not ours never gets into the problem. Details of faults on our side stay in
 *   our log, unless a probe asks for them, and those of a refused access token too: they would tell an attacker how near he is
 * @param requestId ours, by which the operator finds the log line
 */
export function describeProblem(error: TokenvaultError, requestId: string): Problem {
  const code = problemCodes.find(known => known === error.code) ?? 'internal'
  const { meaning: title, remedy } = errorCatalogue[code]
  const status = appearance[code]
  const isOurs = error instanceof NotReady || (status < 500 && status !== 401)
  const tellDetail = isOurs && error.message !== title
  return {
    type: `urn:tokenvault:problem:${code}`,
    title,
    status,
    code,
    ...(tellDetail ? { detail: error.message } : {}),
    remedy,
    requestId,
    ...(error instanceof BatchRefused ? { items: error.items } : {}),
    ...(error instanceof BudgetExceeded ? { window: error.window } : {}),
    ...(error instanceof ApprovalRequired ? { withoutApproval: error.withoutApproval } : {}),
  }
}

/** Seconds after which a refused call is worth another try; undefined where time mends nothing. */
export function retryAfterSecondsOf(error: TokenvaultError): number | undefined {
  if (error instanceof BudgetExceeded) return error.retryAfterSeconds
  if (error.code === 'approvals_too_many') return 60
  if (error.code === 'idempotency_in_progress') return 5
  return appearance[error.code] === 503 ? 5 : undefined
}
