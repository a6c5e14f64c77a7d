import type { TokenvaultDatabase } from '../../store/postgres/database.ts'
import type { NoteSigner } from '../../tlog/signed-note.ts'
import type { FieldSchema } from '../../vault/fields/fields.ts'
import type { FieldKeys } from '../../vault/keys/field-keys.ts'

/** What erasures made again did, by what is counted; undefined where nobody was erased. */
export type ReappliedErasures = Readonly<Record<string, number>> | undefined

/**
 * Erases again who was erased after the backup, and whose data it brought back. Called on a restored database that is whole and
 * migrated, before anybody else may use it.
 */
export type ReapplyErasures = (restored: {
  readonly database: TokenvaultDatabase
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly signer: NoteSigner
}) => Promise<ReappliedErasures>
