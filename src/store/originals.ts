import { setImmediate } from 'node:timers/promises'
import { sql } from 'kysely'
import type { OriginalReader, SealedOriginal, TokenId } from '../vault/tokens/ports.ts'
import type { TokenvaultDatabase } from './postgres/database.ts'
import { namingFailures } from './postgres/errors.ts'

type Found = ReadonlyMap<TokenId, SealedOriginal>

/** A call that waits for its turn. */
interface Waiting {
  readonly tokenIds: readonly TokenId[]
  readonly resolve: (found: Found) => void
  readonly reject: (error: unknown) => void
}

/** Statements under way at once; what comes meanwhile waits together and shares the next one. */
const lanes = 2

/** Most ids that calls share a statement for, so that a call for one token never waits for somebody's ten thousand twice. */
const maxShared = 1_000

/**
 * Sealed originals by token id: one index look-up a token. A statement costs far more than a look-up, so calls that come
 * while others are being answered share one.
 */
export function createOriginalReader(database: TokenvaultDatabase): OriginalReader {
  const waiting: Waiting[] = []
  let busy = 0

  async function answerWaiting(): Promise<void> {
    busy++
    // What the sockets hold besides comes in this turn of the event loop, too.
    await setImmediate()
    while (waiting.length > 0) {
      const group = takeGroup(waiting)
      try {
        const found = await namingFailures(() =>
          readOriginals(
            database,
            group.flatMap(({ tokenIds }) => tokenIds),
          ),
        )
        for (const { tokenIds, resolve } of group) resolve(group.length === 1 ? found : pick(found, tokenIds))
      } catch (error) {
        for (const { reject } of group) reject(error)
      }
    }
    busy--
  }

  return {
    findOriginals(tokenIds) {
      if (tokenIds.length === 0) return Promise.resolve(new Map())
      return new Promise((resolve, reject) => {
        waiting.push({ tokenIds, resolve, reject })
        if (busy < lanes) void answerWaiting()
      })
    },
  }
}

function takeGroup(waiting: Waiting[]): readonly Waiting[] {
  let ids = 0
  const end = waiting.findIndex(({ tokenIds }, index) => {
    ids += tokenIds.length
    return index > 0 && ids > maxShared
  })
  return waiting.splice(0, end === -1 ? waiting.length : end)
}

/** Nobody is handed what somebody else asked for. */
function pick(found: Found, tokenIds: readonly TokenId[]): Found {
  const own = new Map<TokenId, SealedOriginal>()
  for (const id of tokenIds) {
    const original = found.get(id)
    if (original !== undefined) own.set(id, original)
  }
  return own
}

async function readOriginals(database: TokenvaultDatabase, tokenIds: readonly TokenId[]): Promise<Found> {
  const { rows } = await sql<SealedOriginal>`
    select replace(token_id::text, '-', '') as "tokenId", field, token_key_version as "tokenKeyVersion",
      data_key_version as "dataKeyVersion", sealed
    from pii_vault.originals where token_id = any (${tokenIds}::uuid[])`.execute(database)
  return new Map(rows.map(original => [original.tokenId, original]))
}
