import type { ProblemCode } from './problem.ts'

/** What any operation may answer. */
export const commonProblems = ['rate_limited', 'overloaded', 'internal'] as const satisfies readonly ProblemCode[]

/** What a guarded operation with a batch in its body may answer besides. */
export const privilegedProblems = [
  'body_malformed',
  'request_invalid',
  'property_unknown',
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
  'body_too_large',
  'content_type_unsupported',
  'audit_unavailable',
  'jwks_unavailable',
  ...commonProblems,
] as const satisfies readonly ProblemCode[]
