import { sql } from 'kysely'
import type { HoneyMeeting, HoneyStore, HoneyToken, WatchedToken } from '../vault/honey/ports.ts'
import { namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

/** Meetings of one honey token that are listed. */
const listedMeetings = 10

/** Honey tokens. That one was met is recorded by the action that met it: action-log.ts. */
export function createHoneyStore(database: TokenvaultDatabase): HoneyStore {
  return {
    insert: tokens =>
      namingFailures(async () => {
        await sql`
          insert into pii_vault.honey_tokens (id, field, token, note, issuer, subject)
          select * from jsonb_to_recordset(${JSON.stringify(tokens)}::jsonb)
            as made (id uuid, field text, token text, note text, issuer text, subject text)`.execute(database)
      }),

    list: ({ before, limit }) =>
      namingFailures(async () => {
        const beyond =
          before === undefined
            ? sql``
            : sql`where (created_at, id) < (select created_at, id from pii_vault.honey_tokens where id = ${before}::uuid)`
        const { rows } = await sql<ListedRow>`
          select id, field, token, note, issuer, subject, created_at as "createdAt", retired_at as "retiredAt",
            coalesce((
              select jsonb_agg(jsonb_build_object('at', met_at, 'issuer', issuer, 'subject', subject,
                'requestId', request_id, 'sequence', sequence) order by sequence desc)
              from (
                select * from pii_vault.honey_meetings where honey_token = page.id
                order by sequence desc limit ${listedMeetings}
              ) as newest), '[]') as met
          from (
            select * from pii_vault.honey_tokens ${beyond} order by created_at desc, id desc limit ${limit}
          ) as page
          order by created_at desc, id desc`.execute(database)
        return rows.map(toHoneyToken)
      }),

    retire: id =>
      namingFailures(async () => {
        const { numAffectedRows } = await sql`
          update pii_vault.honey_tokens set retired_at = now() where id = ${id}::uuid and retired_at is null`.execute(
          database,
        )
        return numAffectedRows === 1n
      }),

    readWatched: () =>
      namingFailures(async () => {
        const { rows } = await sql<WatchedToken>`
          select id, field, token, note from pii_vault.honey_tokens where retired_at is null`.execute(database)
        return rows
      }),
  }
}

interface ListedRow extends Omit<HoneyToken, 'retiredAt' | 'met'> {
  readonly retiredAt: Date | null
  readonly met: readonly (Omit<HoneyMeeting, 'at'> & { readonly at: string })[]
}

function toHoneyToken({ retiredAt, met, ...token }: ListedRow): HoneyToken {
  return {
    ...token,
    ...(retiredAt === null ? {} : { retiredAt }),
    met: met.map(({ at, ...meeting }) => ({ ...meeting, at: new Date(at) })),
  }
}
