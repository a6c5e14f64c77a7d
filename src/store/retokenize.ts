import { type RawBuilder, sql } from 'kysely'
import type { Field, FieldSchema } from '../vault/fields/fields.ts'
import type { SealedOriginal, TokenId } from '../vault/tokens/ports.ts'
import type { Successors } from '../vault/tokens/retokenize.ts'
import { refuseCollisions } from './insert-originals.ts'
import { bytesArray, plainArray } from './postgres/array-literal.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from './postgres/database.ts'
import { aliasRows, insertAliases } from './token-aliases.ts'

/** A version of a token key that is moved away from. */
export interface TokenMove {
  readonly field: string
  readonly version: number
  readonly toVersion: number
  readonly isDone: boolean
}

type TokenFormat = Field['format']

/** Originals and aliases, for who replaces tokens with the owner's right. All throw `store_unavailable`. */
export interface RetokenizeStore {
  readMoves(field: string): Promise<readonly TokenMove[]>
  countOriginals(field: string, version: number): Promise<number>
  /** Those that have no alias yet, the next ones in order of token id. */
  readOriginals(
    move: TokenMove,
    page: { after: TokenId | undefined; limit: number },
  ): Promise<readonly SealedOriginal[]>
  /** Aliases whose successor is one of these, so that they can be led on. */
  readAliasesTo(
    tokenIds: readonly TokenId[],
  ): Promise<readonly { readonly tokenId: TokenId; readonly successor: TokenId }[]>
  /** Stores them in one transaction; what the new originals take from the old ones is when they came, when they were seen last and where they are kept. */
  storeSuccessors(successors: Successors): Promise<void>
  /** Deletes originals that have an alias and a successor. @returns how many, and where to go on; undefined at the end */
  deleteOriginals(move: TokenMove, page: { after: TokenId | undefined; limit: number }): Promise<Deleted>
  /** Where nothing of the version is left. @returns whether that was so */
  endMove(move: TokenMove): Promise<boolean>
}

interface Deleted {
  readonly deleted: number
  readonly last: TokenId | undefined
}

/** @param database a connection that may act as tokenvault_owner */
export function createRetokenizeStore(database: TokenvaultDatabase): RetokenizeStore {
  const asOwner = <T>(work: (transaction: TokenvaultDatabase) => Promise<T>) =>
    namingFailures(() =>
      inTransaction(database, async transaction => {
        await sql`set local role tokenvault_owner`.execute(transaction)
        return work(transaction)
      }),
    )
  return {
    readMoves: field =>
      namingFailures(async () => {
        const { rows } = await sql<TokenMove>`
          select field, token_key_version as version, to_version as "toVersion", state = 'done' as "isDone"
          from pii_vault.token_moves where field = ${field} order by token_key_version`.execute(database)
        return rows
      }),
    countOriginals: (field, version) => namingFailures(() => countOriginals(database, field, version)),
    readOriginals: ({ field, version }, { after = lowest, limit }) =>
      namingFailures(async () => {
        const { rows } = await sql<SealedOriginal>`
          select replace(token_id::text, '-', '') as "tokenId", field, token_key_version as "tokenKeyVersion",
            data_key_version as "dataKeyVersion", sealed, siv_rest as "sivRest"
          from pii_vault.originals as original
          where token_id > ${after}::uuid and field = ${field} and token_key_version = ${version}
            and not exists (select from pii_vault.token_aliases as alias
              join pii_vault.originals as next on next.token_id = alias.successor
              where alias.token_id = original.token_id)
          order by token_id limit ${limit}`.execute(database)
        return rows
      }),
    readAliasesTo: tokenIds =>
      namingFailures(async () => {
        const { rows } = await sql<{ tokenId: TokenId; successor: TokenId }>`
          select replace(token_id::text, '-', '') as "tokenId", replace(successor::text, '-', '') as successor
          from pii_vault.token_aliases where successor = any (${plainArray(tokenIds)}::uuid[])`.execute(database)
        return rows
      }),
    storeSuccessors: successors => asOwner(transaction => storeSuccessors(transaction, successors)),
    deleteOriginals: (move, page) => asOwner(transaction => deleteOriginals(transaction, move, page)),
    endMove: ({ field, version }) =>
      asOwner(async transaction => {
        if ((await countOriginals(transaction, field, version)) > 0) return false
        await sql`
          update pii_vault.token_moves set state = 'done', done_at = coalesce(done_at, now())
          where field = ${field} and token_key_version = ${version}`.execute(transaction)
        return true
      }),
  }
}

const lowest = '0'.repeat(32)

async function countOriginals(database: TokenvaultDatabase, field: string, version: number): Promise<number> {
  const { rows } = await sql<{ count: string }>`
    select count(*) as count from pii_vault.originals
    where field = ${field} and token_key_version = ${version}`.execute(database)
  return Number(rows[0]!.count)
}

async function storeSuccessors(transaction: TokenvaultDatabase, given: Successors): Promise<void> {
  const { aliases, chained } = given
  const from = new Map(aliases.map(({ successor, tokenId }) => [successor, tokenId]))
  const originals = given.originals.toSorted((a, b) => (a.tokenId < b.tokenId ? -1 : 1))
  await sql`
    insert into pii_vault.originals as present
      (token_id, field, token_key_version, data_key_version, sealed, siv_rest, kept_elsewhere, created_at, last_seen)
    select fresh.token_id, fresh.field, fresh.token_key_version, fresh.data_key_version, fresh.sealed, fresh.siv_rest,
      earlier.kept_elsewhere, earlier.created_at, earlier.last_seen
    from unnest(
      ${plainArray(originals.map(({ tokenId }) => tokenId))}::uuid[],
      ${plainArray(originals.map(({ field }) => field))}::text[],
      ${plainArray(originals.map(({ tokenKeyVersion }) => tokenKeyVersion))}::int[],
      ${plainArray(originals.map(({ dataKeyVersion }) => dataKeyVersion))}::int[],
      ${bytesArray(originals.map(({ sealed }) => sealed))}::bytea[],
      ${plainArray(originals.map(({ sivRest }) => sivRest ?? 'NULL'))}::smallint[],
      ${plainArray(originals.map(({ tokenId }) => from.get(tokenId)!))}::uuid[])
      as fresh (token_id, field, token_key_version, data_key_version, sealed, siv_rest, earlier_id)
    join pii_vault.originals as earlier on earlier.token_id = fresh.earlier_id
    order by fresh.token_id
    on conflict (token_id) do update set
      kept_elsewhere = present.kept_elsewhere or excluded.kept_elsewhere,
      created_at = least(present.created_at, excluded.created_at),
      last_seen = greatest(present.last_seen, excluded.last_seen)`.execute(transaction)
  const typed = originals.filter(({ sivRest }) => sivRest !== undefined && sivRest !== null)
  if (typed.length > 0) await refuseCollisions(transaction, typed)
  await insertAliases(transaction, aliases)
  if (chained.length === 0) return
  await sql`
    update pii_vault.token_aliases as alias
    set new_token = led.new_token, successor = led.successor, proof = led.proof
    from ${aliasRows(chained)} as led (token_id, field, token_key_version, old_token, new_token, successor, proof)
    where alias.token_id = led.token_id`.execute(transaction)
}

async function deleteOriginals(
  transaction: TokenvaultDatabase,
  { field, version }: TokenMove,
  { after = lowest, limit }: { after: TokenId | undefined; limit: number },
): Promise<Deleted> {
  const { rows } = await sql<{ deleted: string; last: TokenId | null }>`
    with page as materialized (
      select original.token_id, original.kept_elsewhere, original.created_at, original.last_seen, alias.successor
      from pii_vault.originals as original join pii_vault.token_aliases as alias on alias.token_id = original.token_id
      where original.token_id > ${after}::uuid and original.field = ${field} and original.token_key_version = ${version}
        and exists (select from pii_vault.originals as next where next.token_id = alias.successor)
      order by original.token_id limit ${limit} for update of original
    ), handed as (
      -- A successor that a worker stored first, with a value that came again, knows nothing of its earlier original.
      update pii_vault.originals as next set
        kept_elsewhere = next.kept_elsewhere or page.kept_elsewhere,
        created_at = least(next.created_at, page.created_at),
        last_seen = greatest(next.last_seen, page.last_seen)
      from page where next.token_id = page.successor
        and (page.kept_elsewhere and not next.kept_elsewhere or page.created_at < next.created_at
          or coalesce(page.last_seen > next.last_seen, page.last_seen is not null))
    ), gone as (
      delete from pii_vault.originals using page where originals.token_id = page.token_id returning originals.token_id
    )
    select (select count(*) from gone) as deleted,
      (select replace(token_id::text, '-', '') from page order by token_id desc limit 1) as last`.execute(transaction)
  return { deleted: Number(rows[0]!.deleted), last: rows[0]!.last ?? undefined }
}

/** A column of ours in one partition, that holds tokens of the field. */
export interface TokenPlace {
  /** Schema and name. */
  readonly table: readonly [string, string]
  readonly column: string
  readonly type: 'text' | 'uuid' | 'inet'
  /** Whether its tokens name the version of their key. */
  readonly namesVersion: boolean
}

/** Rows whose tokens are replaced. All throw `store_unavailable`. */
export interface RetokenizeRows {
  /** Partitions, those for months that have none too. */
  findPlaces(column: string, format: TokenFormat): Promise<readonly TokenPlace[]>
  countBlocks(place: TokenPlace): Promise<number>
  /** Replaces those of a range of blocks. @returns how many rows were changed */
  moveRows(place: TokenPlace, move: TokenMove, blocks: { from: number; to: number }): Promise<number>
  /** One page of analyst.ip_networks. @returns how many rows were changed, and where to go on; undefined at the end */
  moveNetworks(
    step: 'copy' | 'delete' | 'network',
    field: string,
    page: { readonly after: string | undefined; readonly limit: number },
  ): Promise<{ readonly changed: number; readonly last: string | undefined }>
}

/** @param database a connection that may act as tokenvault_owner */
export function createRetokenizeRows(database: TokenvaultDatabase): RetokenizeRows {
  const asOwner = <T>(work: (transaction: TokenvaultDatabase) => Promise<T>) =>
    namingFailures(() =>
      inTransaction(database, async transaction => {
        await sql`set local role tokenvault_owner`.execute(transaction)
        // Repeatable at will: the next count finds what a crash of the server loses.
        await sql`set local synchronous_commit = off`.execute(transaction)
        return work(transaction)
      }),
    )
  return {
    findPlaces: (column, format) =>
      namingFailures(async () => {
        const { rows } = await sql<{ schema: string; name: string; type: string }>`
          select nspname as schema, relname as name, atttypid::regtype::text as type
          from unnest('{public.user_logins,analyst.login_details}'::regclass[]) as root,
            pg_partition_tree(root) as leaf
            join pg_class on pg_class.oid = leaf.relid join pg_namespace on pg_namespace.oid = relnamespace
            join pg_attribute on attrelid = leaf.relid and attname = ${column} and not attisdropped
          where leaf.isleaf order by 1, 2`.execute(database)
        return rows.map(({ schema, name, type }): TokenPlace => {
          const typed = type === 'uuid' || type === 'inet' ? type : 'text'
          return { table: [schema, name], column, type: typed, namesVersion: format === 'text' }
        })
      }),
    countBlocks: ({ table }) =>
      namingFailures(async () => {
        const { rows } = await sql<{ blocks: string }>`
          select pg_relation_size(format('%I.%I', ${table[0]}::text, ${table[1]}::text)::regclass)
            / current_setting('block_size')::int as blocks`.execute(database)
        return Number(rows[0]!.blocks)
      }),
    moveRows: (place, move, blocks) => asOwner(transaction => moveRows(transaction, place, move, blocks)),
    moveNetworks: (step, field, page) => asOwner(transaction => moveNetworks(transaction, step, field, page)),
  }
}

async function moveRows(
  transaction: TokenvaultDatabase,
  { table, column, type, namesVersion }: TokenPlace,
  { field, version }: TokenMove,
  { from, to }: { from: number; to: number },
): Promise<number> {
  const name = sql.id(...table)
  const own = sql.id(column)
  const text: Readonly<Record<TokenPlace['type'], RawBuilder<unknown>>> = {
    text: own,
    uuid: sql`${own}::text`,
    inet: sql`host(${own})`,
  }
  // What is moved already need not be looked up; a typed token does not say its version.
  const isOld = namesVersion ? sql`starts_with(${own}, ${`${field}_v${version}_`})` : sql`${own} is not null`
  // By place: an alias costs one look-up, and no index of the table, which would find rows all over it.
  await sql`set local enable_hashjoin = off`.execute(transaction)
  await sql`set local enable_mergejoin = off`.execute(transaction)
  const changed = await sql`
    with found as materialized (
      select place.at, alias.new_token from (
        select ctid as at, ${text[type]} as token from only ${name}
        where ctid >= ${`(${from},0)`}::tid and ctid < ${`(${to},0)`}::tid and ${isOld} offset 0) as place
      join pii_vault.token_aliases as alias
        on alias.old_token = place.token and alias.field = ${field}
        and alias.token_key_version = ${version}
    )
    update only ${name} as target set ${own} = found.new_token::${sql.raw(type)}
    from found where target.ctid = found.at`.execute(transaction)
  return Number(changed.numAffectedRows)
}

async function moveNetworks(
  transaction: TokenvaultDatabase,
  step: 'copy' | 'delete' | 'network',
  field: string,
  { after = '', limit }: { after?: string | undefined; limit: number },
): Promise<{ changed: number; last: string | undefined }> {
  const key = step === 'network' ? sql`page.masked_network` : sql`page.masked_ip`
  const aliased = sql`page join pii_vault.token_aliases as alias on alias.old_token = ${key} and alias.field = ${field}`
  const work = {
    copy: sql`insert into analyst.ip_networks (masked_ip, masked_network, family, scope)
      select alias.new_token, page.masked_network, page.family, page.scope from ${aliased} on conflict do nothing
      returning 1`,
    delete: sql`delete from analyst.ip_networks as target using ${aliased}
      where target.masked_ip = page.masked_ip
        and exists (select from analyst.ip_networks as next where next.masked_ip = alias.new_token) returning 1`,
    network: sql`update analyst.ip_networks as target set masked_network = alias.new_token from ${aliased}
      where target.masked_ip = page.masked_ip returning 1`,
  }
  const { rows } = await sql<{ changed: string; last: string | null }>`
    with page as materialized (
      select * from analyst.ip_networks where masked_ip > ${after} order by masked_ip limit ${limit}
    ), done as (${work[step]})
    select (select count(*) from done) as changed, (select max(masked_ip) from page) as last`.execute(transaction)
  return { changed: Number(rows[0]!.changed), last: rows[0]!.last ?? undefined }
}

/** Which column of rows holds the tokens of a field; undefined of a derived one. */
export function columnOf(fields: FieldSchema, name: string): string | undefined {
  const field: Field | undefined = fields.get(name)
  return field !== undefined && field.derivedFrom === undefined ? field.column : undefined
}
