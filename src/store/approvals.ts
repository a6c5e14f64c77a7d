import { sql } from 'kysely'
import type { Approval, ApprovalReader } from '../vault/evidence-ports.ts'
import type { TokenvaultDatabase } from './database.ts'
import { namingFailures } from './failure.ts'

interface ApprovalRow {
  readonly id: string
  readonly shown_state: Approval['state']
  readonly issuer: string
  readonly subject: string
  readonly roles: readonly string[]
  readonly purpose: string
  readonly ticket: string | null
  readonly reveal: 'full' | 'partial'
  /** bigint, which pg gives as text. */
  readonly values: string
  readonly fields: Readonly<Record<string, number>>
  readonly created_at: Date
  readonly expires_at: Date
  readonly decided_by: string | null
  readonly decided_at: Date | null
}

/** What nobody decided or used in time has run out, whatever its row says. */
const shownState = sql`case when state in ('pending', 'approved') and expires_at <= now() then 'expired' else state end`
const columns = sql`id, ${shownState} as shown_state, issuer, subject, roles, purpose, ticket, reveal, "values", fields,
  created_at, expires_at, decided_by, decided_at`

/** Requests for approval, to be read. They are made, decided and used by acts only; see act-log.ts. */
export function createApprovalReader(database: TokenvaultDatabase): ApprovalReader {
  return {
    listApprovals: ({ state, before, requester, limit }) =>
      namingFailures(async () => {
        // Rows are never removed, so the last of one page finds the next, whatever became of it in between.
        const { rows } = await sql<ApprovalRow>`
          select ${columns} from pii_vault.approvals
          where ${state === undefined ? sql`true` : sql`${shownState} = ${state}`} ${requestedBy(requester)} ${
            before === undefined
              ? sql``
              : sql`and (created_at, id) <
                  (select last.created_at, last.id from pii_vault.approvals as last where last.id = ${before}::uuid)`
          }
          order by created_at desc, id desc limit ${limit}`.execute(database)
        return rows.map(toApproval)
      }),

    findApproval: id =>
      namingFailures(async () => {
        const { rows } = await sql<ApprovalRow>`
          select ${columns} from pii_vault.approvals where id = ${id}::uuid`.execute(database)
        return rows[0] && toApproval(rows[0])
      }),
  }
}

type ListOptions = Parameters<ApprovalReader['listApprovals']>[0]

function requestedBy(requester: ListOptions['requester']) {
  return requester === undefined ? sql`` : sql`and issuer = ${requester.issuer} and subject = ${requester.subject}`
}

function toApproval(row: ApprovalRow): Approval {
  const { id, shown_state: state, issuer, subject, roles, purpose, ticket, reveal, values, fields } = row
  return {
    id,
    state,
    issuer,
    subject,
    roles,
    purpose,
    ...(ticket === null ? {} : { ticket }),
    reveal,
    values: Number(values),
    fields,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    ...(row.decided_by === null ? {} : { decidedBy: row.decided_by }),
    ...(row.decided_at === null ? {} : { decidedAt: row.decided_at }),
  }
}
