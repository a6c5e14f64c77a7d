import type { FieldSchema } from '../fields/fields.ts'
import { type Decision, decide, every, type Operation, type Policy } from './policy.ts'

/** What one role by itself may do with one field for one purpose. */
export interface MatrixRow {
  readonly role: string
  readonly field: string
  /** `*` for every purpose that no role names. */
  readonly purpose: string
  readonly detokenize: Decision['level']
  /** Whether tokens may be looked up by value, and whether values may be stored. */
  readonly tokenize: boolean
  readonly store: boolean
  readonly crosswalk: boolean
  readonly translate: boolean
  readonly ticket: 'required' | 'optional'
  /** `always`, the number of values above which, or `never`. */
  readonly approval: 'always' | number | 'never'
  /** The window in which these values are counted; absent where `approval` is not a number. */
  readonly approvalWindowSeconds?: number
}

/**
 * Everything that a policy permits, for people who have to check it: role × field × purpose, with a ticket where one is
 * required. Roles add up; a caller with several has the most generous of their rows.
 */
export function listMatrix(policy: Policy, fields: FieldSchema): readonly MatrixRow[] {
  const named = new Set([...policy.roles.values()].flatMap(({ purposes }) => [...purposes]))
  named.delete(every)
  const purposes = [...[...named].sort(), every]
  return [...policy.roles.values()].flatMap(({ name: role, ticketRequired, approval }) =>
    [...fields.keys()].flatMap(field =>
      purposes.map((purpose): MatrixRow => {
        const question = { roles: [role], field, purpose, hasTicket: true }
        const { level, needsApproval } = decide(policy, fields, { ...question, operation: 'detokenize' })
        const may = (operation: Operation) => decide(policy, fields, { ...question, operation }).level === 'full'
        const allowance = needsApproval || level === 'none' ? undefined : approval.allowance
        return {
          role,
          field,
          purpose,
          detokenize: level,
          tokenize: may('tokenize'),
          store: may('store'),
          crosswalk: may('crosswalk'),
          translate: may('translate'),
          ticket: ticketRequired ? 'required' : 'optional',
          approval: needsApproval ? 'always' : (allowance?.values ?? 'never'),
          ...(allowance && { approvalWindowSeconds: allowance.windowSeconds }),
        }
      }),
    ),
  )
}
