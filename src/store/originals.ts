import { sql } from 'kysely'
import { coalesce } from '../concurrency/coalesce.ts'
import type { FieldOriginals, OriginalReader, SealedOriginal, TokenId } from '../vault/tokens/ports.ts'
import { namingFailures, type TokenvaultDatabase } from './postgres/database.ts'
import { type AliasColumns, readFound, readRetired, selectAliased } from './token-aliases.ts'

type Found = ReadonlyMap<TokenId, SealedOriginal>

/** Statements under way at once; what comes meanwhile waits together and shares the next one. */
const lanes = 2

/** Most ids that calls share a statement for, so that a call for one token never waits for somebody's ten thousand twice. */
const maxShared = 1_000

/**
 * Sealed originals by token id: one index look-up a token. A statement costs far more than a look-up, so calls that come
 * while others are being answered share one.
 */
export function createOriginalReader(database: TokenvaultDatabase): OriginalReader {
  const find = coalesce<readonly TokenId[], Found>(
    { lanes, weigh: tokenIds => tokenIds.length, maxWeight: maxShared },
    async calls => {
      const found = await namingFailures(() => readOriginals(database, calls.flat()))
      return calls.length === 1 ? [found] : calls.map(tokenIds => pick(found, tokenIds))
    },
  )
  return {
    findOriginals: tokenIds => (tokenIds.length === 0 ? Promise.resolve(new Map()) : find(tokenIds)),
    readRetired: () => readRetired(database),
  }
}

/** Sealed originals of a field, page by page. */
export function createFieldOriginals(database: TokenvaultDatabase): FieldOriginals {
  return {
    listOriginals: (field, { before, limit }) =>
      namingFailures(async () => {
        const { rows } = await sql<SealedOriginal>`
          select ${columns} from pii_vault.originals
          where field = ${field} ${before === undefined ? sql`` : sql`and token_id < ${before}::uuid`}
          order by token_id desc limit ${limit}`.execute(database)
        return rows
      }),
  }
}

/** Counts of originals, in order of the names of their fields. It reads all of them. @throws TokenvaultError `store_unavailable` */
export function countOriginals(
  database: TokenvaultDatabase,
): Promise<readonly { readonly field: string; readonly count: number }[]> {
  return namingFailures(async () => {
    const { rows } = await sql<{ field: string; count: string }>`
      select field, count(*) as count from pii_vault.originals group by field order by field`.execute(database)
    return rows.map(({ field, count }) => ({ field, count: Number(count) }))
  })
}

const columns = sql`replace(token_id::text, '-', '') as "tokenId", field, token_key_version as "tokenKeyVersion",
  data_key_version as "dataKeyVersion", sealed, siv_rest as "sivRest"`

/** Nobody is handed what somebody else asked for. */
function pick(found: Found, tokenIds: readonly TokenId[]): Found {
  const own = new Map<TokenId, SealedOriginal>()
  for (const id of tokenIds) {
    const original = found.get(id)
    if (original !== undefined) own.set(id, original)
  }
  return own
}

/** One statement, so that a token whose original goes at this moment has either that one or its successor's. */
async function readOriginals(database: TokenvaultDatabase, tokenIds: readonly TokenId[]): Promise<Found> {
  const { rows } = await sql<SealedOriginal & Partial<AliasColumns>>`
    select ${columns}, (select replace(alias.successor::text, '-', '') from pii_vault.token_aliases as alias
        where alias.token_id = originals.token_id) as successor,
      null::text as sought, null::int as version, null::bytea as proof
    from pii_vault.originals where token_id = any (${tokenIds}::uuid[])
    union all ${selectAliased(tokenIds)}`.execute(database)
  return new Map(rows.map(row => readFound(row)))
}
