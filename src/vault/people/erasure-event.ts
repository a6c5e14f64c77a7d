import type { AuditEvent } from '../admission/ports.ts'
import type { Erased, ErasedRows } from './erasure-ports.ts'

/** Who erases: a principal of the API, or a login of the database that re-applies the ledger. */
export type Eraser = Pick<AuditEvent, 'issuer' | 'subject' | 'roles' | 'channel'>

/** The event of an erasure that took place. It is appended in the transaction of the erasure. */
export function describePersonErased(done: {
  readonly eraser: Eraser
  readonly requestId: string
  readonly ticket?: string | undefined
  readonly at: string
  /** As events name it, where the user id is known, and as the ledger does. */
  readonly person: string | undefined
  readonly personKey: string
  readonly rows: ErasedRows
  readonly erased: Pick<Erased, 'number' | 'counts'>
  /** After a restore. */
  readonly isReapplied?: true
}): AuditEvent {
  const { eraser, requestId, ticket, at, person, personKey, rows, erased, isReapplied } = done
  const { number, counts } = erased
  const total = counts.reduce((sum, { kind, count }) => (/row$/.test(kind) ? sum + count : sum), 0)
  const { issuer, subject, roles, channel } = eraser
  return {
    format: 2,
    type: isReapplied ? 'person_erased_again' : 'person_erased',
    at,
    requestId,
    issuer,
    subject,
    roles,
    channel,
    purpose: '',
    decision: 'permitted',
    requested: total,
    granted: total,
    tokens: [],
    withheld: {},
    ...(ticket === undefined ? {} : { ticket }),
    ...(person === undefined ? {} : { person }),
    erasure: { number, person: personKey, rows, counts },
  }
}
