import type { LoginRow, TokenizedMessage } from '../ingest/ports.ts'
import type { ClearColumn } from '../vault/fields/clear-columns.ts'
import { eventFields, type FieldSchema } from '../vault/fields/fields.ts'
import type { SealedOriginal } from '../vault/tokens/ports.ts'
import { insertOriginals } from './insert-originals.ts'
import { insertIpNetworks } from './ip-networks.ts'
import { insertLoginDetails } from './login-details.ts'
import { insertRows, loginColumns } from './login-rows.ts'
import type { TokenvaultDatabase } from './postgres/database.ts'
import { createTokenColumns, type TokenColumn } from './token-columns.ts'

/** Stores rows with all that goes with them: originals, networks, and details where a clear column is configured. */
export type StoreRows = (transaction: TokenvaultDatabase, rows: readonly LoginRow[]) => Promise<void>

/** @param clear none: nothing is written to login_details */
export function createStoreRows(fields: FieldSchema, clear: readonly ClearColumn[]): StoreRows {
  const readTokenColumns = createTokenColumns(eventFields(fields))
  return async (transaction, rows) => {
    if (rows.length === 0) return
    const tokenColumns = await readTokenColumns(transaction)
    await insertOriginals(transaction, originalsOf(rows))
    await insertIpNetworks(transaction, rows)
    const login = loginColumns(tokenColumns, rows)
    await insertRows(transaction, login)
    if (clear.length === 0) return
    // There every token is text: a cast would write inet with /128 behind it.
    const isText = tokenColumns.every(({ type }) => type === 'text')
    const asText = tokenColumns.map(({ column }): TokenColumn => ({ column, type: 'text' }))
    await insertLoginDetails(transaction, isText ? login : loginColumns(asText, rows), clear, rows)
  }
}

/** Rows that go to login_details too. */
export function countDetails({ rows }: Pick<TokenizedMessage, 'rows'>): number {
  return rows.length > 0 && rows[0]!.loginId !== undefined ? rows.length : 0
}

/** What the tokens of rows, and of their networks, are opened from. */
function* originalsOf(rows: readonly LoginRow[]): Generator<SealedOriginal> {
  for (const { tokens, networks } of rows) {
    for (const value of tokens) if (value !== null) yield value.original
    if (networks !== undefined) for (const { network } of networks) yield network.original
  }
}
