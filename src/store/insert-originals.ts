import { type RawBuilder, sql } from 'kysely'
import { TokenvaultError } from '../errors.ts'
import type { KeyName } from '../vault/keys/keyset.ts'
import type { SealedOriginal, TokenId } from '../vault/tokens/ports.ts'
import { requireKeysInUse } from './keys-in-use.ts'
import { bytesArray, plainArray } from './postgres/array-literal.ts'
import type { TokenvaultDatabase } from './postgres/database.ts'
import { insertAliases } from './token-aliases.ts'

/** Most tokens that one statement asks about. */
const comparedAtOnce = 50_000

/**
 * Adds originals; one that is there stays as it is. In the order of their ids, because concurrent transactions that lock the same
 * keys in different orders deadlock.
 *
 * A typed token has fewer bits than a SIV. Where one of them stands for another value, here or in the vault, it would be given
 * back as that value, and this one would be lost without a word: so nothing of the transaction may stay.
 *
 * @param originals repeats are one
 * @param options.keptElsewhere whether their tokens are kept where reconciliation does not look; false where absent
 * @throws TokenvaultError `token_collision`; as requireKeysInUse
 */
export async function insertOriginals(
  transaction: TokenvaultDatabase,
  originals: Iterable<SealedOriginal>,
  { keptElsewhere = false }: { readonly keptElsewhere?: boolean } = {},
): Promise<void> {
  const byId = distinctOriginals(originals)
  if (byId.size === 0) return
  await requireKeysInUse(transaction, keysOf(byId.values()))
  // Text sorts by itself; a comparison of ours would be called some ten thousand times.
  const tokenIds = [...byId.keys()].sort()
  const sorted = tokenIds.map(tokenId => byId.get(tokenId)!)
  const typed = sorted.filter(isTyped)
  const restColumn = typed.length === 0 ? sql`` : sql`, siv_rest`
  const rests = typed.length === 0 ? sql`` : sql`, ${restsOf(sorted)}`
  await sql`
    insert into pii_vault.originals (token_id, field, token_key_version, data_key_version, sealed${restColumn}, kept_elsewhere)
    select *, ${keptElsewhere} from unnest(
      ${plainArray(tokenIds)}::uuid[], ${fieldsOf(sorted)}, ${tokenKeyVersionsOf(sorted)},
      ${plainArray(sorted.map(({ dataKeyVersion }) => dataKeyVersion))}::int[],
      ${bytesArray(sorted.map(({ sealed }) => sealed))}::bytea[]${rests})
    on conflict do nothing`.execute(transaction)
  for (let start = 0; start < typed.length; start += comparedAtOnce)
    await refuseCollisions(transaction, typed.slice(start, start + comparedAtOnce))
  await insertAliases(
    transaction,
    sorted.flatMap(({ aliases = [] }) => aliases),
  )
}

/** @throws TokenvaultError `token_collision` where one token stands for two of them */
function distinctOriginals(originals: Iterable<SealedOriginal>): ReadonlyMap<TokenId, SealedOriginal> {
  const byId = new Map<TokenId, SealedOriginal>()
  for (const original of originals) {
    if (isTyped(original)) {
      const other = byId.get(original.tokenId)
      if (other !== undefined && !isSameToken(original, other)) throw new TokenvaultError('token_collision')
    }
    byId.set(original.tokenId, original)
  }
  return byId
}

/** The few keys that made them. */
function keysOf(originals: Iterable<SealedOriginal>): readonly KeyName[] {
  const names = new Map<string, Map<number, Set<number>>>()
  for (const { field, tokenKeyVersion, dataKeyVersion } of originals) {
    let ofField = names.get(field)
    if (ofField === undefined) {
      ofField = new Map()
      names.set(field, ofField)
    }
    const sealedBy = ofField.get(tokenKeyVersion)
    if (sealedBy === undefined) ofField.set(tokenKeyVersion, new Set([dataKeyVersion]))
    else sealedBy.add(dataKeyVersion)
  }
  return [...names].flatMap(([field, ofField]) => [
    ...[...ofField.keys()].map(version => ({ purpose: 'token', field, version }) as const),
    ...[...new Set([...ofField.values()].flatMap(versions => [...versions]))].map(
      version => ({ purpose: 'data', field, version }) as const,
    ),
  ])
}

/** After they were inserted: what stands there then is either ours, or that of whoever came before. */
export async function refuseCollisions(
  transaction: TokenvaultDatabase,
  originals: readonly SealedOriginal[],
): Promise<void> {
  const tokenIds = plainArray(originals.map(({ tokenId }) => tokenId))
  const { rows } = await sql`
    select pii_vault.colliding_tokens(
      ${tokenIds}::uuid[], ${fieldsOf(originals)}, ${tokenKeyVersionsOf(originals)}, ${restsOf(originals)})
    limit 1`.execute(transaction)
  if (rows.length > 0) throw new TokenvaultError('token_collision')
}

function isTyped({ sivRest }: SealedOriginal): boolean {
  return sivRest !== undefined && sivRest !== null
}

function isSameToken(one: SealedOriginal, other: SealedOriginal): boolean {
  return one.sivRest === other.sivRest && one.field === other.field && one.tokenKeyVersion === other.tokenKeyVersion
}

function fieldsOf(originals: readonly SealedOriginal[]): RawBuilder<unknown> {
  return sql`${plainArray(originals.map(({ field }) => field))}::text[]`
}

function tokenKeyVersionsOf(originals: readonly SealedOriginal[]): RawBuilder<unknown> {
  return sql`${plainArray(originals.map(({ tokenKeyVersion }) => tokenKeyVersion))}::int[]`
}

function restsOf(originals: readonly SealedOriginal[]): RawBuilder<unknown> {
  return sql`${plainArray(originals.map(({ sivRest }) => sivRest ?? 'NULL'))}::smallint[]`
}
