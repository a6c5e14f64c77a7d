import { createHash } from 'node:crypto'
import { type RawBuilder, sql } from 'kysely'
import { type Criteria, textCriteria } from '../vault/evidence/criteria.ts'
import type { AuditSearch, StoredEvent } from '../vault/evidence/ports.ts'
import { type EventRow, eventColumns, toEvent } from './audit-reader.ts'
import { inTransaction, namingFailures, retryingConflicts, type TokenvaultDatabase } from './postgres/database.ts'

/** Most events that one statement indexes; a few ten milliseconds. */
const indexedAtOnce = 1000
/** Most statements by which a search indexes; what is newer then is read event by event. */
const indexedBySearch = 100

/** How a search goes through the blocks; others for tests. */
export interface SearchSizes {
  /** Events that are looked through block by block, newest first: first these, then the next larger range, until enough are found. */
  readonly windows: readonly number[]
  /** Up to so many blocks are found by the index of keys alone, wherever in the log they are. */
  readonly fewBlocks: number
}

/** A step goes through 20 million events at most, or 300,000 blocks: a fraction of a second for each ten million. */
const usualSizes: SearchSizes = { windows: [1 << 16, 1 << 19, 1 << 22, 1 << 24], fewBlocks: 2000 }

/** Events by what they name (pii_vault.event_terms). The index follows the log only when somebody searches, or asks for it. */
export function createAuditSearch(database: TokenvaultDatabase, sizes: SearchSizes = usualSizes): AuditSearch {
  return {
    indexEvents: signal => namingFailures(() => indexEvents(database, { signal })),

    findCandidates: (criteria, { before = Number.MAX_SAFE_INTEGER, limit }) =>
      namingFailures(async () => {
        let indexed = await readNextSequence(database)
        if (before > indexed) {
          await indexEvents(database, { steps: indexedBySearch })
          indexed = await readNextSequence(database)
        }
        if (before > indexed) {
          const tail = sql<EventRow>`select ${eventColumns} from pii_vault.audit_log
            where sequence >= ${indexed} and sequence < ${before} order by sequence desc limit ${limit}`
          const events = await readEvents(database, tail)
          if (events.length === limit) return { events, next: events.at(-1)!.sequence }
          return { events, next: indexed > 0 ? indexed : undefined }
        }
        return findInBlocks(database, readTerms(criteria), { before, limit, sizes })
      }),
  }
}

interface Terms {
  /** Each of these, and one of those unless there are none. */
  readonly all: readonly number[]
  readonly any: readonly number[] | null
  readonly time: RawBuilder<unknown>
}

interface Range {
  /** low ≤ sequence < below. */
  readonly low: number
  readonly below: number
}

async function findInBlocks(
  database: TokenvaultDatabase,
  terms: Terms,
  { before, limit, sizes }: { readonly before: number; readonly limit: number; readonly sizes: SearchSizes },
): ReturnType<AuditSearch['findCandidates']> {
  const range = await findRange(database, terms, before)
  let { below } = range
  const events: StoredEvent[] = []
  for (const [index, size] of sizes.windows.entries()) {
    const low = Math.max(range.low, below - size)
    events.push(...(await readWindow(database, terms, { low, below }, limit - events.length)))
    if (events.length === limit) return { events, next: events.at(-1)!.sequence }
    below = low
    if (below <= range.low) return { events }
    if (index > 0 || (terms.all.length === 0 && terms.any === null)) continue
    const blocks = await findBlocks(database, terms, { low: range.low, below }, sizes.fewBlocks + 1)
    if (blocks.length > sizes.fewBlocks) continue
    const rest = { low: range.low, below }
    events.push(...(await readWindow(database, terms, rest, limit - events.length, blocks)))
    return events.length === limit ? { events, next: events.at(-1)!.sequence } : { events }
  }
  return { events, next: below }
}

/** Where in the log the blocks are that overlap the time window: the whole of it where there is none. */
async function findRange(database: TokenvaultDatabase, { time }: Terms, before: number): Promise<Range> {
  const range = sql<{ low: string | null; last: string | null }>`
    select min(first_sequence) as low, max(last_sequence) as last from pii_vault.audit_blocks
    where first_sequence < ${before} and ${time}`
  const { rows } = await retryingConflicts(() => range.execute(database))
  const { low, last } = rows[0]!
  if (low === null || last === null) return { low: 0, below: 0 }
  return { low: Number(low), below: Math.min(before, Number(last) + 1) }
}

async function findBlocks(database: TokenvaultDatabase, { all, any }: Terms, { low, below }: Range, limit: number) {
  const found = sql<{ first: string }>`
    select find_audit_blocks as first from pii_vault.find_audit_blocks(${all}::int[], ${any}::int[], ${low}, ${below}, ${limit})`
  const { rows } = await retryingConflicts(() => found.execute(database))
  return rows.map(({ first }) => first)
}

/** Blocks newest first, and the events of each that have all terms at once, until there are enough. */
async function readWindow(
  database: TokenvaultDatabase,
  { all, any, time }: Terms,
  { low, below }: Range,
  limit: number,
  blocks?: readonly string[],
): Promise<readonly StoredEvent[]> {
  const each = [...all.map(bitsOf), ...(any === null ? [] : [sql`(${sql.join(any.map(bitsOf), sql` | `)})`])]
  const bits = each.length === 0 ? sql`-1::bigint` : sql.join(each, sql` & `)
  const among = blocks === undefined ? sql`true` : sql`first_sequence = any(${blocks}::bigint[])`
  return readEvents(
    database,
    sql<EventRow>`
      select ${eventColumns} from (
        select first_sequence + place as sequence from (
          select first_sequence, last_sequence, ${bits} as bits from pii_vault.audit_blocks
          where first_sequence > ${low - 64} and first_sequence < ${below} and ${time} and ${among}
          offset 0
        ) as block, generate_series(0, 63) as place
        where bits <> 0 and (bits >> place) & 1 = 1 and first_sequence + place between ${low} and ${below - 1}
          and first_sequence + place <= last_sequence
        order by first_sequence desc, place desc limit ${limit}
      ) as found join pii_vault.audit_log on audit_log.sequence = found.sequence
      order by audit_log.sequence desc`,
  )
}

/** Which events of a block have a term, as a bit for each. */
function bitsOf(term: number): RawBuilder<unknown> {
  return sql`coalesce((
    select case when number <= octet_length(places) then 1::bigint << get_byte(places, number - 1)
      else bits[number - octet_length(places)] end
    from array_position(terms, ${term}::int) as number), 0)`
}

function readTerms(criteria: Criteria): Terms {
  const texts = textCriteria.filter(name => criteria[name] !== undefined)
  const { digests, from, to } = criteria
  const bounds = [
    ...(from === undefined ? [] : [sql`max_at >= ${timestampOf(from)}::timestamptz`]),
    ...(to === undefined ? [] : [sql`min_at < ${timestampOf(to)}::timestamptz`]),
  ]
  return {
    all: texts.map(name => termOf(name, criteria[name]!)),
    any: digests === undefined ? null : digests.map(digest => termOf('token', digest)),
    time: bounds.length === 0 ? sql`true` : sql.join(bounds, sql` and `),
  }
}

/** The times that an event can have. Others are written in a way that Postgres does not read, or has no year for. */
const [earliest, latest] = [Date.parse('1000-01-01T00:00:00.000Z'), Date.parse('9999-12-31T23:59:59.999Z')]

function timestampOf(time: number): string {
  return new Date(Math.min(Math.max(time, earliest), latest)).toISOString()
}

/** As pii_vault.build_audit_block computes it. The texts themselves, whatever they hold, never reach the database. */
export function termOf(kind: string, text: string): number {
  return createHash('sha256').update(`${kind} ${text}`).digest().readInt32BE(0)
}

async function readEvents(database: TokenvaultDatabase, statement: RawBuilder<EventRow>): Promise<StoredEvent[]> {
  const { rows } = await retryingConflicts(() => statement.execute(database))
  return rows.map(toEvent)
}

async function readNextSequence(database: TokenvaultDatabase): Promise<number> {
  const head = sql<{ next: string }>`select next_sequence as next from pii_vault.audit_blocks_head`
  const { rows } = await retryingConflicts(() => head.execute(database))
  return Number(rows[0]?.next ?? 0)
}

/** Up to the events that were committed when this began; others may come as fast as they are indexed. */
async function indexEvents(
  database: TokenvaultDatabase,
  { signal, steps = Number.POSITIVE_INFINITY }: { signal?: AbortSignal | undefined; steps?: number },
): Promise<void> {
  const head = await sql<{ tree_size: string }>`select tree_size from pii_vault.audit_head`.execute(database)
  const target = Number(head.rows[0]?.tree_size ?? 0)
  for (let next = 0, last = -1, step = 0; next < target && next > last && step < steps && !signal?.aborted; step++) {
    last = next
    // Whoever waits for its head must see what was indexed meanwhile.
    const { rows } = await inTransaction(database, transaction =>
      sql<{ next: string }>`select pii_vault.index_audit(${indexedAtOnce}) as next`.execute(transaction),
    )
    next = Number(rows[0]!.next)
  }
}
