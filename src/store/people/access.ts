import { sql } from 'kysely'
import { TokenvaultError } from '../../errors.ts'
import { leafHash } from '../../tlog/merkle.ts'
import { parseEvent } from '../../vault/evidence/criteria.ts'
import { describeEvent } from '../../vault/evidence/found-event.ts'
import type { AuditSearch, StoredEvent } from '../../vault/evidence/ports.ts'
import type { AccessSearch, QuarantineScan, SealedEntry } from '../../vault/people/ports.ts'
import { type EventRow, eventColumns, toEvent } from '../audit-reader.ts'
import { termOf } from '../audit-search.ts'
import { namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'

const termsAtOnce = 1000
/** Most blocks, of up to 64 events each, that one search reads, and how many of them at once. */
const blocksAtMost = 2000
const blocksAtOnce = 16
/** Events that are newer than the index. */
const tailAtMost = 10_000
const indexMilliseconds = 10_000

/**
 * Events by the tokens of a person, who may have thousands: the index says in which blocks they stand, and the events themselves
 * which they are. As the API's role reads the log.
 */
export function createAccessSearch(database: TokenvaultDatabase, search: AuditSearch): AccessSearch {
  return {
    async findAccess(digests, limit) {
      await search.indexEvents(AbortSignal.timeout(indexMilliseconds))
      return namingFailures(async () => {
        const wanted = new Set(digests)
        const found: StoredEvent[] = []
        const tail = await readTail(database)
        keep(found, tail, wanted)
        const { blocks, isComplete } = await findBlocks(database, digests)
        for (let at = 0; at < blocks.length && found.length < limit; at += blocksAtOnce)
          keep(found, await readBlocks(database, blocks.slice(at, at + blocksAtOnce)), wanted)
        const events = found.sort((a, b) => b.sequence - a.sequence)
        return {
          events: events
            .slice(0, limit)
            .map(({ sequence, event, leafHash: leaf }) => ({ ...describeEvent(parseEvent(event), sequence, leaf) })),
          isComplete: isComplete && tail.length < tailAtMost && found.length < limit,
        }
      })
    },
  }
}

/** @throws TokenvaultError `audit_invalid` where an event was altered: it may have named somebody else before */
function keep(found: StoredEvent[], events: readonly StoredEvent[], wanted: ReadonlySet<string>): void {
  for (const stored of events) {
    if (Buffer.compare(leafHash(stored.event), stored.leafHash) !== 0)
      throw new TokenvaultError('audit_invalid', `event ${stored.sequence} was altered`)
    const tokens = parseEvent(stored.event).get('tokens')
    if (Array.isArray(tokens) && tokens.some(token => wanted.has(token))) found.push(stored)
  }
}

/** First sequences of blocks, newest first. */
async function findBlocks(database: TokenvaultDatabase, digests: readonly string[]) {
  const blocks = new Set<number>()
  let isComplete = true
  for (let at = 0; at < digests.length; at += termsAtOnce) {
    const terms = digests.slice(at, at + termsAtOnce).map(digest => termOf('token', digest))
    const { rows } = await sql<{ first: string }>`
      select find_audit_blocks as first
      from pii_vault.find_audit_blocks('{}', ${terms}::int[], 0, ${Number.MAX_SAFE_INTEGER}, ${blocksAtMost + 1})`.execute(
      database,
    )
    if (rows.length > blocksAtMost) isComplete = false
    for (const { first } of rows) blocks.add(Number(first))
  }
  const newest = [...blocks].sort((a, b) => b - a)
  return { blocks: newest.slice(0, blocksAtMost), isComplete: isComplete && newest.length <= blocksAtMost }
}

async function readBlocks(database: TokenvaultDatabase, firsts: readonly number[]): Promise<readonly StoredEvent[]> {
  const { rows } = await sql<EventRow>`
    select ${eventColumns} from pii_vault.audit_blocks join pii_vault.audit_log on sequence between first_sequence and last_sequence
    where first_sequence = any (${firsts}::bigint[])`.execute(database)
  return rows.map(toEvent)
}

async function readTail(database: TokenvaultDatabase): Promise<readonly StoredEvent[]> {
  const { rows } = await sql<EventRow>`
    select ${eventColumns} from pii_vault.audit_log
    where sequence >= (select coalesce(max(next_sequence), 0) from pii_vault.audit_blocks_head)
    order by sequence limit ${tailAtMost}`.execute(database)
  return rows.map(toEvent)
}

const bodiesAtOnce = 500

/** Quarantined bodies page by page, as the API's role reads them. */
export function createQuarantineScan(database: TokenvaultDatabase): QuarantineScan {
  return {
    readSealed: after =>
      namingFailures(async () => {
        const { rows } = await sql<SealedEntry>`
          select replace(id::text, '-', '') as id, data_key_version as "dataKeyVersion", sealed from pii_vault.quarantine
          where sealed is not null ${after === undefined ? sql`` : sql`and id > ${after}::uuid`}
          order by id limit ${bodiesAtOnce}`.execute(database)
        return rows
      }),
  }
}
