import { sql } from 'kysely'
import { TokenvaultError } from '../errors.ts'
import { leafHash } from '../tlog/merkle.ts'
import { derivedFields, eventFields } from '../vault/fields/fields.ts'
import type {
  Erased,
  ErasureEntry,
  ErasureLedger,
  ErasureRecord,
  ErasureRequest,
  ErasureStore,
} from '../vault/people/erasure-ports.ts'
import type { ReadBodies } from '../vault/people/find-quarantined.ts'
import type { SealedBody } from '../vault/quarantine/ports.ts'
import { createHoldReader } from './people/holds.ts'
import { bytesArray, plainArray, textArray } from './postgres/array-literal.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

/** Longest that an erasure waits for those who are storing originals; all others who want to store wait behind it. */
const lockMilliseconds = 5_000

/** Rows of millions of logins are looked through. */
const statementMilliseconds = 900_000

/** What `pii_vault.erase_person` says. */
interface ErasedRow {
  readonly number: number
  readonly tokens: Erased['tokens']
  readonly dataKeys: readonly string[]
  readonly counts: Erased['counts']
}

/** Erases as `tokenvault_privacy`, by functions that do nothing else. */
export function createErasureStore(database: TokenvaultDatabase): ErasureStore {
  return {
    erase: (request, record) =>
      namingFailures(() =>
        inTransaction(database, transaction => eraseIn(transaction, request, record)).catch(error => {
          if (error instanceof NothingFound) return undefined
          throw error
        }),
      ),
    count: request =>
      namingFailures(async () => {
        let erased: Erased | undefined
        await inTransaction(database, async transaction => {
          await refuseHeld(transaction, request.person, true)
          erased = await erasePerson(transaction, request, true)
          throw new NothingFound()
        }).catch(error => {
          if (!(error instanceof NothingFound)) throw error
        })
        return erased!
      }),
  }
}

/** Undoes the transaction, and is no failure. */
class NothingFound extends Error {}

/** The work of an erasure, in a transaction of whoever may: everything, or nothing. */
async function eraseIn(transaction: TokenvaultDatabase, request: ErasureRequest, record: ErasureRecord) {
  await refuseHeld(transaction, request.person, false)
  const erased = await erasePerson(transaction, request, false)
  return { erased, ...(await enter(transaction, erased, record)) }
}

/** Of a hold and an erasure at one moment, the later one sees the earlier. @throws TokenvaultError `person_held` */
async function refuseHeld(transaction: TokenvaultDatabase, person: string, isTrial: boolean): Promise<void> {
  // Whoever makes a hold waits for this, and this for whoever makes one.
  if (!isTrial) await sql`lock table pii_vault.legal_holds in share row exclusive mode`.execute(transaction)
  if ((await createHoldReader(transaction).findHold(person)) !== undefined) throw new TokenvaultError('person_held')
}

/** Appends the event and enters the ledger. */
async function enter(transaction: TokenvaultDatabase, erased: Erased, record: ErasureRecord) {
  const event = record.event(erased)
  if (event === undefined) throw new NothingFound()
  const bytes = Buffer.from(JSON.stringify(event), 'utf8')
  const appended = await sql<{ sequence: string; version: number }>`
    select sequence, pii_vault.signing_key_version() as version
    from (select pii_vault.append_audit(${bytesArray([bytes])}::bytea[]) as sequence offset 0) as appended`.execute(
    transaction,
  )
  const { sequence, version } = appended.rows[0]!
  const place = { sequence: Number(sequence), leafHash: leafHash(bytes), signingKeyVersion: version }
  const { person, approval, at, certificate, hash, tokens } = await record.entry(erased, place)
  await sql`
    select pii_vault.record_erasure(${erased.number}::bigint, ${person}, ${approval ?? null}::uuid, ${at}::timestamptz,
      ${certificate}, ${Buffer.from(hash)}::bytea, ${textArray(tokens)}::text[])`.execute(transaction)
  return { ...place, certificate }
}

async function erasePerson(
  transaction: TokenvaultDatabase,
  { userId, fields, rows, quarantined }: Omit<ErasureRequest, 'person'>,
  isTrial: boolean,
): Promise<Erased> {
  await sql`select set_config('lock_timeout', ${`${lockMilliseconds}ms`}, true),
    set_config('statement_timeout', ${`${statementMilliseconds}ms`}, true)`.execute(transaction)
  // A trial changes nothing that anybody sees, so it needs no place in the ledger.
  const head = isTrial
    ? { number: 0, entry_hash: Buffer.alloc(32) }
    : (await sql<{ number: string; entry_hash: Buffer }>`select * from pii_vault.lock_erasures()`.execute(transaction))
        .rows[0]!
  const inEvents = eventFields(fields)
  const found = await sql<{ erased: ErasedRow }>`
    select pii_vault.erase_person(${userId}, ${textArray(inEvents.map(({ name }) => name))}::text[],
      ${textArray(inEvents.map(({ column }) => column))}::text[],
      ${textArray(derivedFields(fields).map(({ name }) => name))}::text[], ${rows === 'anonymize'}, ${isTrial}) as erased`.execute(
    transaction,
  )
  const { number, tokens, dataKeys, counts } = found.rows[0]!.erased
  const bodies =
    quarantined.length === 0 || isTrial
      ? quarantined.length
      : Number(
          (
            await sql<{ count: string }>`
              select pii_vault.erase_quarantined(${plainArray(quarantined)}::uuid[]) as count`.execute(transaction)
          ).rows[0]!.count,
        )
  return {
    number,
    previous: head.entry_hash,
    tokens,
    dataKeys: [...new Set(dataKeys)].sort().map(key => `data/${key.replace('/', '/v')}`),
    counts: [...counts, ...(bodies > 0 ? [{ kind: 'quarantined', count: bodies }] : [])],
  }
}

interface EntryRow {
  readonly number: string
  readonly certificate: string
  readonly completion: string | null
  readonly tokens: string[] | null
}

/** The ledger as the API reads it. */
export function createErasureLedger(database: TokenvaultDatabase): ErasureLedger {
  return {
    readNewest: () => namingFailures(() => readNewestErasure(database)),
    listEntries: (after, limit) =>
      namingFailures(async () => {
        const { rows } =
          await sql<EntryRow>`${entries} where entry.number > ${after} order by entry.number limit ${limit}`.execute(
            database,
          )
        return rows.map(toEntry)
      }),
    findEntry: number =>
      namingFailures(async () => {
        const { rows } = await sql<EntryRow>`${entries} where entry.number = ${number}`.execute(database)
        const [row] = rows
        if (row === undefined) return undefined
        return { ...toEntry(row), ...(row.completion === null ? {} : { completion: row.completion }) }
      }),
    findByPerson: digests =>
      namingFailures(async () => {
        const { rows } = await sql<{ number: string }>`
          select number from pii_vault.erasures where person = any (${textArray(digests)}::text[])
          order by number desc`.execute(database)
        return rows.map(({ number }) => Number(number))
      }),
    isUnfinished: ({ approval, digest, principal: { issuer, subject } }) =>
      namingFailures(async () => {
        const { rows } = await sql`
          select from pii_vault.approvals as used
          where id = ${approval}::uuid and state = 'used' and used.digest = ${digest} and issuer = ${issuer} and subject = ${subject}
            and not exists (select from pii_vault.erasures as entry where entry.approval = used.id)`.execute(database)
        return rows.length > 0
      }),
    findErasedTokens: digests =>
      namingFailures(async () => {
        const { rows } = await sql<{ digest: string }>`
          select digest from pii_vault.erased_tokens where digest = any (${textArray(digests)}::text[])`.execute(
          database,
        )
        return new Set(rows.map(({ digest }) => digest))
      }),
  }
}

const entries = sql`
  select entry.number, entry.certificate, completion.certificate as completion,
    (select array_agg(digest order by digest) from pii_vault.erased_tokens where erasure = entry.number) as tokens
  from pii_vault.erasures as entry left join pii_vault.erasure_completions as completion on completion.number = entry.number`

function toEntry({ number, certificate, tokens }: EntryRow): ErasureEntry {
  return { number: Number(number), certificate, tokens: tokens ?? [] }
}

/** Any role that reads the ledger may ask. */
export async function readNewestErasure(database: TokenvaultDatabase): Promise<number> {
  const { rows } = await sql<{ number: string }>`
    select coalesce(max(number), 0) as number from pii_vault.erasures`.execute(database)
  return Number(rows[0]!.number)
}

/** Quarantined bodies, for who looks whose they are. */
export function createBodyReader(database: TokenvaultDatabase): ReadBodies<SealedBody> {
  return ({ after, limit }) =>
    namingFailures(async () => {
      const { rows } = await sql<SealedBody>`
        select replace(id::text, '-', '') as id, data_key_version as "dataKeyVersion", sealed from pii_vault.quarantine
        where sealed is not null and id > ${after ?? '00000000000000000000000000000000'}::uuid
        order by id limit ${limit}`.execute(database)
      return rows
    })
}

/** Gives the distinct user_ids of all rows, page by page; with the owner's right. */
export function forEachPeople(database: TokenvaultDatabase, work: (userIds: readonly string[]) => void): Promise<void> {
  return namingFailures(() =>
    database.transaction().execute(async transaction => {
      // One pass however many people there are: memory holds a page, the server spills to disk.
      await sql`declare people no scroll cursor for
        select user_id from public.user_logins where user_id is not null
        union select user_id from analyst.login_details where user_id is not null`.execute(transaction)
      for (;;) {
        const { rows } = await sql<{ user_id: string }>`fetch 10000 from people`.execute(transaction)
        if (rows.length === 0) return
        work(rows.map(row => row.user_id))
      }
    }),
  )
}

/**
 * Enters an entry that was published, and erases the person again where there are rows: one transaction of who may act as
 * tokenvault_owner.
 *
 * @param entry.userId absent where no row is the person's
 * @throws TokenvaultError `erasure_ledger_conflict` where another entry is next, `store_unavailable`
 */
export function reapplyErasure(
  database: TokenvaultDatabase,
  request: Omit<ErasureRequest, 'userId' | 'person'> & { readonly userId: string | undefined },
  record: ErasureRecord & { readonly number: number; readonly previous: string },
): Promise<Erased> {
  const { userId } = request
  return namingFailures(() =>
    inTransaction(database, async transaction => {
      await sql`set local role tokenvault_owner`.execute(transaction)
      const { rows } = await sql<{ number: string; entry_hash: Buffer }>`
        select * from pii_vault.lock_erasures()`.execute(transaction)
      const head = rows[0]!
      if (Number(head.number) !== record.number - 1 || head.entry_hash.toString('base64') !== record.previous)
        throw new TokenvaultError(
          'erasure_ledger_conflict',
          `entry ${record.number} does not follow entry ${head.number}`,
        )
      const nothing = { number: record.number, previous: head.entry_hash, counts: [], tokens: [], dataKeys: [] }
      const erased = userId === undefined ? nothing : await erasePerson(transaction, { ...request, userId }, false)
      await enter(transaction, erased, record)
      return erased
    }),
  )
}
