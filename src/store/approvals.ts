import { type RawBuilder, sql } from 'kysely'
import type { Approval, ApprovalReader, Suspension, SuspensionReader } from '../vault/admission/ports.ts'
import { namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

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
  readonly decided_by_issuer: string | null
  readonly decided_at: Date | null
}

/** What nobody decided or used in time has run out, whatever its row says. */
const shownState = sql`case when state in ('pending', 'approved') and expires_at <= now() then 'expired' else state end`
const columns = sql`id, ${shownState} as shown_state, issuer, subject, roles, purpose, ticket, reveal, "values", fields,
  created_at, expires_at, decided_by, decided_by_issuer, decided_at`

/** Requests for approval, to be read. They are made, decided and used by actions only: action-log.ts. */
export function createApprovalReader(database: TokenvaultDatabase): ApprovalReader {
  return {
    listApprovals: options =>
      namingFailures(async () => (await listStatement(options).execute(database)).rows.map(toApproval)),

    findApproval: id =>
      namingFailures(async () => {
        const { rows } = await sql<ApprovalRow>`
          select ${columns} from pii_vault.approvals where id = ${id}::uuid`.execute(database)
        return rows[0] && toApproval(rows[0])
      }),
  }
}

type ListOptions = Parameters<ApprovalReader['listApprovals']>[0]

/**
 * The rows of a list, newest first, each read from an index in that order: what is there of other states, requesters or
 * times is not read. Rows are never removed, so the last of one page finds the next, whatever became of it in between.
 */
export function listStatement({ state, before, requester, limit }: ListOptions): RawBuilder<ApprovalRow> {
  const order = sql`order by created_at desc, id desc limit ${limit}`
  const ofRequester =
    requester === undefined
      ? sql``
      : sql`and principal = pii_vault.principal_id(${requester.issuer}, ${requester.subject})
          and issuer = ${requester.issuer} and subject = ${requester.subject}`
  const beyond =
    before === undefined
      ? sql``
      : sql`and (created_at, id) <
          (select last.created_at, last.id from pii_vault.approvals as last where last.id = ${before}::uuid)`
  const parts = conditionsOf(state).map(
    condition => sql`(select * from pii_vault.approvals where ${condition} ${ofRequester} ${beyond} ${order})`,
  )
  return sql<ApprovalRow>`select ${columns} from (${sql.join(parts, sql` union all `)}) as approvals ${order}`
}

/** What a row shows as that state, as conditions that exclude each other and name one stored state each. */
function conditionsOf(state: ListOptions['state']): readonly RawBuilder<unknown>[] {
  switch (state) {
    case undefined:
      return [sql`true`]
    case 'expired':
      return [sql`state = 'pending' and expires_at <= now()`, sql`state = 'approved' and expires_at <= now()`]
    case 'pending':
    case 'approved':
      // A request is open for 24 hours, and a grant for 15 minutes more at most: older ones need not be looked at.
      return [sql`state = ${sql.lit(state)} and expires_at > now() and created_at > now() - interval '25 hours'`]
    default:
      return [sql`state = ${sql.lit(state)}`]
  }
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
    ...(row.decided_by_issuer === null ? {} : { decidedByIssuer: row.decided_by_issuer }),
    ...(row.decided_at === null ? {} : { decidedAt: row.decided_at }),
  }
}

/** A Date has milliseconds only. */
const suspendedMicroseconds = sql`(extract(epoch from suspended_at) * 1000000)::bigint`

/** Suspensions, to be read. They are made and lifted by actions only: action-log.ts. */
export function createSuspensionReader(database: TokenvaultDatabase): SuspensionReader {
  return {
    listSuspensions: ({ before, limit }) =>
      namingFailures(async () => {
        const [microseconds = '', ...principal] = before?.split('-') ?? []
        // Not by the row of the last one seen: it may have been lifted meanwhile.
        const beyond =
          before === undefined
            ? sql``
            : sql`where (${suspendedMicroseconds}, principal) < (${microseconds}::bigint, ${principal.join('-')}::uuid)`
        const { rows } = await sql<Suspension>`
          select issuer, subject, suspended_at as "suspendedAt", ${suspendedMicroseconds} || '-' || principal as place
          from pii_vault.suspensions ${beyond}
          order by suspended_at desc, principal desc limit ${limit}`.execute(database)
        return rows
      }),

    isSuspended: ({ issuer, subject }) =>
      namingFailures(async () => {
        const { rows } = await sql<{ suspended: boolean }>`
          select exists(
            select 1 from pii_vault.suspensions where principal = pii_vault.principal_id(${issuer}, ${subject})
          ) as suspended`.execute(database)
        return rows[0]!.suspended
      }),
  }
}
