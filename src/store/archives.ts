import { sql } from 'kysely'
import { escapeIdentifier } from 'pg'
import { pause } from '../concurrency/waiting.ts'
import { TokenvaultError } from '../errors.ts'
import type { AuditEvent } from '../vault/admission/ports.ts'
import { type RecalledTokens, recordTokens, refuseWhileMoving, translateTokens } from './archive-tokens.ts'
import { type Batch, copyOut } from './copy-rows.ts'
import { dropMonth, inMonth, lockMonth, type MonthTable, monthTables, type Portion, putMonth } from './months.ts'
import type { CopySession } from './postgres/copy-session.ts'
import { namingFailures, type TokenvaultDatabase } from './postgres/database.ts'
import { classifyFailure } from './postgres/failures.ts'

/** A column of a table, its type as Postgres writes it. */
export interface TableColumn {
  readonly name: string
  readonly type: string
}

export type Row = readonly (string | number | boolean | null)[]

/** One part of a month, as pii_vault.archives has it. */
export interface ArchivePart {
  /** `2025-11`. */
  readonly month: string
  readonly part: number
  readonly state: 'writing' | 'archived' | 'recalled'
  readonly target: string
  readonly rows: number
  readonly revision: number
  /** Hexadecimal; undefined until it is written. */
  readonly manifest: string | undefined
  readonly obsolete: readonly string[]
}

/** What a part is once its files are written. */
export interface WrittenPart {
  readonly rows: number
  /** SHA-256 of the manifest, hexadecimal. */
  readonly manifest: string
}

/** A view of a month that does not change while it is read. */
export interface MonthSnapshot {
  /** Of Postgres, over all rows of the table and month; equal means that nothing was written since. */
  readonly fingerprints: ReadonlyMap<MonthTable, string>
  /** All rows of the month, so many at a time. */
  read(table: MonthTable, columns: readonly TableColumn[], batch: number): AsyncGenerator<Batch>
}

/** What jobs have in common that take out months or bring them back. */
export function createMonthLock(database: TokenvaultDatabase) {
  return {
    /** One job at a time. @throws `archive_running` for a second one */
    holding: <T>(work: () => Promise<T>) =>
      database.transaction().execute(async transaction => {
        await sql`set local idle_in_transaction_session_timeout = 0`.execute(transaction)
        const { rows } = await sql<{ isMine: boolean }>`
          select pg_try_advisory_xact_lock(hashtextextended('tokenvault/archive', 0)) as "isMine"`.execute(transaction)
        if (!rows[0]!.isMine) throw new TokenvaultError('archive_running')
        return work()
      }),
    /** Months before that one of which there are rows, in order. */
    monthsBefore: (month: string) => namingFailures(() => readMonths(database, month)),
    readLogin: async () => {
      const { rows } = await sql<{ login: string }>`select session_user::text as login`.execute(database)
      return rows[0]!.login
    },
  }
}

/**
 * @param database connections that may act as tokenvault_owner, 3 or more
 * @param openSession another connection of the same login, for the rows
 */
export function createArchiveStore(database: TokenvaultDatabase, openSession: () => Promise<CopySession>) {
  const withSession = async <T>(work: (session: CopySession) => Promise<T>): Promise<T> => {
    const session = await openSession()
    try {
      return await work(session)
    } finally {
      session.close()
    }
  }
  return {
    ...createMonthLock(database),
    readParts: () => namingFailures(() => readParts(database)),
    columnsOf: (table: MonthTable) => namingFailures(() => readColumns(database, table)),
    inSnapshot: <T>(month: string, work: (snapshot: MonthSnapshot) => Promise<T>) =>
      namingFailures(() => withSession(session => inSnapshot(session, month, work))),
    /** The part to write: one that was begun for the same target, or a new one. */
    begin: (month: string, target: string) => namingFailures(() => begin(database, month, target)),
    /**
     * Takes the rows of the month out of the database, if they are still those of the fingerprints, and records the part.
     * @returns false where something was written since
     */
    takeOut: (
      part: Pick<ArchivePart, 'month' | 'part'>,
      written: WrittenPart,
      fingerprints: ReadonlyMap<MonthTable, string>,
      event: AuditEvent,
    ) => namingFailures(() => withSession(session => takeOut(session.database, part, written, fingerprints, event))),
    /** Puts rows of parts back and records it, all or nothing. `load` is called within the transaction. */
    putBack: (
      month: string,
      parts: readonly ArchivePart[],
      load: (table: MonthTable) => readonly Portion[],
      event: AuditEvent,
    ) => namingFailures(() => withSession(session => putBack(session, month, parts, load, event))),
    /** Records another revision of a part; files of the earlier one are to be removed. */
    revise: (
      part: Pick<ArchivePart, 'month' | 'part' | 'revision'>,
      written: WrittenPart & { readonly obsolete: readonly string[] },
      event: AuditEvent,
    ) => namingFailures(() => revise(database, part, written, event)),
    /** The obsolete files of the part are gone. */
    forgetObsolete: ({ month, part }: Pick<ArchivePart, 'month' | 'part'>) =>
      namingFailures(() =>
        asOwner(database, transaction =>
          sql`update pii_vault.archives set obsolete = '{}'
            where month = ${`${month}-01`}::date and part = ${part}`.execute(transaction),
        ),
      ),
    /** Records a copy, with its event. */
    recordExport: (
      copy: { readonly months: readonly string[]; readonly target: string; readonly rows: number },
      event: AuditEvent,
    ) =>
      namingFailures(() =>
        asOwner(database, async transaction => {
          const { months, ...rest } = copy
          await recordCopy(transaction, { kind: 'export', from: months[0]!, to: months.at(-1)!, ...rest })
          await append(transaction, event)
        }),
      ),
  }
}

export type ArchiveStore = ReturnType<typeof createArchiveStore>

function asOwner<T>(database: TokenvaultDatabase, work: (transaction: TokenvaultDatabase) => Promise<T>): Promise<T> {
  return database
    .transaction()
    .setIsolationLevel('read committed')
    .execute(async transaction => {
      await sql`set local role tokenvault_owner`.execute(transaction)
      await sql`set local timezone = 'UTC'`.execute(transaction)
      return work(transaction)
    })
}

async function readMonths(database: TokenvaultDatabase, month: string): Promise<readonly string[]> {
  const { rows } = await sql<{ month: string }>`
    select distinct to_char(create_date, 'YYYY-MM') as month from (
      select distinct create_date from public.user_logins where create_date < ${`${month}-01`}::date
      union all
      select distinct create_date from analyst.login_details where create_date < ${`${month}-01`}::date) as days
    order by 1`.execute(database)
  return rows.map(row => row.month)
}

async function readParts(database: TokenvaultDatabase): Promise<readonly ArchivePart[]> {
  const { rows } = await sql<ArchivePart & { rows: string; manifest: string | null }>`
    select to_char(month, 'YYYY-MM') as month, part, state, target, rows, revision, encode(manifest, 'hex') as manifest, obsolete
    from pii_vault.archives order by month, part`.execute(database)
  return rows.map(row => ({ ...row, rows: Number(row.rows), manifest: row.manifest ?? undefined }))
}

async function readColumns(database: TokenvaultDatabase, table: MonthTable): Promise<readonly TableColumn[]> {
  const { rows } = await sql<TableColumn>`
    select attname as name, format_type(atttypid, atttypmod) as type from pg_attribute
    where attrelid = ${table}::regclass and attnum > 0 and not attisdropped order by attnum`.execute(database)
  return rows
}

async function inSnapshot<T>(
  { client, database }: CopySession,
  month: string,
  work: (snapshot: MonthSnapshot) => Promise<T>,
): Promise<T> {
  return database
    .transaction()
    .setIsolationLevel('repeatable read')
    .execute(async transaction => {
      const fingerprints = new Map<MonthTable, string>()
      for (const table of monthTables) fingerprints.set(table, await fingerprint(transaction, table, month))
      return work({
        fingerprints,
        read(table, columns, batch) {
          const selected = columns.map(({ name }) => escapeIdentifier(name)).join(', ')
          const select = `select ${selected} from ${table} where ${literalRange(month)}`
          return copyOut(client, select, { types: columns.map(({ type }) => type), batch })
        },
      })
    })
}

/** COPY takes no parameters. */
function literalRange(month: string): string {
  if (!/^\d{4}-\d{2}$/.test(month)) throw new TypeError('a month is YYYY-MM')
  return `create_date >= date '${month}-01' and create_date < (date '${month}-01' + interval '1 month')::date`
}

async function fingerprint(database: TokenvaultDatabase, table: MonthTable, month: string): Promise<string> {
  // Where each row stands and which transaction wrote it: of any row that is written, changed or deleted one of them changes.
  const { rows } = await sql<{ count: string; sum: string }>`
    select count(*) as count, coalesce(sum(hash_record_extended(row(tableoid, ctid, xmin), 0)::numeric), 0)::text as sum
    from ${sql.table(table)} where ${inMonth(month)}`.execute(database)
  return `${rows[0]!.count}/${rows[0]!.sum}`
}

function begin(database: TokenvaultDatabase, month: string, target: string): Promise<ArchivePart> {
  return asOwner(database, async transaction => {
    await refuseWhileMoving(transaction)
    const first = `${month}-01`
    // Of a target that is not to be used any more nothing was taken out of the database.
    await sql`delete from pii_vault.archives where month = ${first}::date and state = 'writing' and target <> ${target}`.execute(
      transaction,
    )
    await sql`
      insert into pii_vault.archives (month, part, state, target)
      select ${first}::date, coalesce(max(part), 0) + 1, 'writing', ${target} from pii_vault.archives
      where month = ${first}::date having coalesce(bool_and(state <> 'writing'), true)`.execute(transaction)
    const parts = await readParts(transaction)
    return parts.find(part => part.month === month && part.state === 'writing')!
  })
}

const lockAttempts = 40

async function takeOut(
  database: TokenvaultDatabase,
  { month, part }: Pick<ArchivePart, 'month' | 'part'>,
  written: WrittenPart,
  fingerprints: ReadonlyMap<MonthTable, string>,
  event: AuditEvent,
): Promise<boolean> {
  return retryingLocks(() =>
    asOwner(database, async transaction => {
      await refuseWhileMoving(transaction)
      // Before anybody is locked out; what is written meanwhile shows in the fingerprints.
      await recordTokens(transaction, month, part)
      for (const table of monthTables) await lockMonth(transaction, table, month)
      for (const table of monthTables)
        if ((await fingerprint(transaction, table, month)) !== fingerprints.get(table)) throw new Rewritten()
      for (const table of monthTables) await dropMonth(transaction, table, month)
      await sql`
        update pii_vault.archives set state = 'archived', rows = ${written.rows}, manifest = decode(${written.manifest}, 'hex'),
          changed_at = now() where month = ${`${month}-01`}::date and part = ${part}`.execute(transaction)
      const [{ target } = { target: '' }] = (await readParts(transaction)).filter(
        each => each.month === month && each.part === part,
      )
      await recordCopy(transaction, { kind: 'archive', from: month, to: month, target, ...written })
      await append(transaction, event)
      return true
    }),
  ).catch(error => {
    if (error instanceof Rewritten) return false
    throw error
  })
}

/** Undoes the transaction. */
class Rewritten extends Error {}

/** Who reads or writes the table is not made to wait behind us for long: we go away, and come again. */
async function retryingLocks<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      const isBusy = error instanceof Error && 'code' in error && error.code === '55P03'
      const isRetried = isBusy || (!(error instanceof TokenvaultError) && classifyFailure(error).kind === 'conflict')
      if (!isRetried || attempt === lockAttempts) throw error
      await pause(500)
    }
  }
}

function putBack(
  { client, database }: CopySession,
  month: string,
  parts: readonly ArchivePart[],
  load: (table: MonthTable) => readonly Portion[],
  event: AuditEvent,
): Promise<RecalledTokens> {
  return asOwner(database, async transaction => {
    await refuseWhileMoving(transaction)
    for (const table of monthTables) await putMonth({ client, transaction }, table, month, load(table))
    const tokens = await translateTokens(transaction, month)
    for (const { part, target, rows } of parts) {
      const changed = await sql`
        update pii_vault.archives set state = 'recalled', changed_at = now()
        where month = ${`${month}-01`}::date and part = ${part} and state = 'archived'`.execute(transaction)
      if (Number(changed.numAffectedRows) !== 1) throw new TokenvaultError('month_not_archived')
      await sql`delete from pii_vault.archived_tokens where month = ${`${month}-01`}::date and part = ${part}`.execute(
        transaction,
      )
      await recordCopy(transaction, { kind: 'recall', from: month, to: month, target, rows })
    }
    await append(transaction, event)
    return tokens
  })
}

function revise(
  database: TokenvaultDatabase,
  { month, part, revision }: Pick<ArchivePart, 'month' | 'part' | 'revision'>,
  written: WrittenPart & { readonly obsolete: readonly string[] },
  event: AuditEvent,
): Promise<void> {
  return asOwner(database, async transaction => {
    const changed = await sql`
      update pii_vault.archives set revision = ${revision + 1}, rows = ${written.rows},
        manifest = decode(${written.manifest}, 'hex'), obsolete = obsolete || ${[...written.obsolete]}::text[], changed_at = now()
      where month = ${`${month}-01`}::date and part = ${part} and revision = ${revision} and state = 'archived'`.execute(
      transaction,
    )
    if (Number(changed.numAffectedRows) !== 1) throw new TokenvaultError('month_not_archived')
    await append(transaction, event)
  })
}

/** One row of the copies that were sent elsewhere. */
async function recordCopy(
  transaction: TokenvaultDatabase,
  copy: {
    readonly kind: 'archive' | 'export' | 'recall'
    readonly from: string
    readonly to: string
    readonly target: string
    readonly rows: number
    readonly manifest?: string
  },
): Promise<void> {
  const { kind, from, to, target, rows, manifest = null } = copy
  await sql`
    insert into pii_vault.exports (id, kind, target, from_month, to_month, rows, manifest) values
      (gen_random_uuid(), ${kind}, ${target}, ${`${from}-01`}::date, ${`${to}-01`}::date, ${rows}, ${manifest})`.execute(
    transaction,
  )
}

async function append(transaction: TokenvaultDatabase, event: AuditEvent): Promise<void> {
  await sql`select pii_vault.append_audit(${[Buffer.from(JSON.stringify(event), 'utf8')]}::bytea[])`.execute(
    transaction,
  )
}
