import type { ProblemCode } from './problem.ts'

/** What any operation may answer. */
export const commonProblems = [
  'request_malformed',
  'request_timeout',
  'headers_too_large',
  'rate_limited',
  'overloaded',
  'internal',
] as const satisfies readonly ProblemCode[]

/** What any guarded operation may answer. */
export const guardedProblems = [
  'request_invalid',
  'unauthenticated',
  'principal_suspended',
  'store_unavailable',
  'store_misconfigured',
  'audit_unavailable',
  'jwks_unavailable',
  ...commonProblems,
] as const satisfies readonly ProblemCode[]

/** What a guarded operation for roles of one capability may answer. */
export const capabilityProblems = [...guardedProblems, 'role_not_permitted'] as const satisfies readonly ProblemCode[]

/** What an operation with a JSON body may answer besides. */
export const bodyProblems = [
  'body_malformed',
  'property_unknown',
  'body_too_large',
  'content_type_unsupported',
  'content_encoding_unsupported',
] as const satisfies readonly ProblemCode[]

/** What an operation that takes no body may answer besides: a body that is sent is read and then ignored. */
export const ignoredBodyProblems = [
  'body_malformed',
  'body_too_large',
  'content_type_unsupported',
  'content_encoding_unsupported',
] as const satisfies readonly ProblemCode[]

/** What a guarded operation with a batch in its body may answer. */
export const privilegedProblems = [
  ...bodyProblems,
  'request_invalid',
  'purpose_missing',
  'purpose_invalid',
  'ticket_required',
  'ticket_invalid',
  'batch_empty',
  'batch_too_large',
  'batch_over_role_limit',
  'unauthenticated',
  'role_not_permitted',
  'purpose_not_permitted',
  'principal_suspended',
  'budget_exceeded',
  'audit_unavailable',
  'jwks_unavailable',
  ...commonProblems,
] as const satisfies readonly ProblemCode[]
