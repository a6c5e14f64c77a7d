/** Who is erased, what of theirs is gone, and the ledger that says so. */

import type { ErasedCount } from '../../tlog/erasure-certificate.ts'
import type { AuditEvent, Principal } from '../admission/ports.ts'
import type { FieldSchema } from '../fields/fields.ts'
import type { TokenId } from '../tokens/ports.ts'

/** What becomes of the rows of an erased person: gone, or kept without user_id and without tokens that only they had. */
export type ErasedRows = 'remove' | 'anonymize'

/** What was erased in a transaction that is not yet committed. */
export interface Erased {
  /** Number that the entry in the ledger will have. */
  readonly number: number
  /** SHA-256 of the entry before it, 32 bytes. */
  readonly previous: Uint8Array
  readonly counts: readonly ErasedCount[]
  readonly tokens: readonly { readonly field: string; readonly id: TokenId }[]
  /** Data keys that sealed the originals: `data/ip/v1`. */
  readonly dataKeys: readonly string[]
}

/** An entry of the erasure ledger. */
export interface ErasureEntry {
  readonly number: number
  /** Signed note. */
  readonly certificate: string
  /** Keyed digests of the erased tokens, in any order. */
  readonly tokens: readonly string[]
}

export interface ErasureRequest {
  readonly userId: string
  /** As the ledger, and a legal hold, names the person. */
  readonly person: string
  readonly fields: FieldSchema
  readonly rows: ErasedRows
  /** Quarantined entries whose bodies are the person's. */
  readonly quarantined: readonly string[]
}

/** What an erasure makes of what it found: its event, then its entry. */
export interface ErasureRecord {
  /** @returns undefined where nothing was found: then nothing is committed */
  event(erased: Erased): AuditEvent | undefined
  entry(
    erased: Erased,
    place: { readonly sequence: number; readonly leafHash: Uint8Array; readonly signingKeyVersion: number },
  ): Promise<{
    readonly person: string
    readonly approval?: string | undefined
    readonly at: string
    readonly certificate: string
    readonly hash: Uint8Array
    readonly tokens: readonly string[]
  }>
}

export interface ErasureStore {
  /**
   * Erases, appends the event and enters the ledger: one transaction. @returns undefined where `event` was
   * @throws `person_held`, `store_unavailable`, `store_misconfigured`, `store_refused`
   */
  erase(
    request: ErasureRequest,
    record: ErasureRecord,
  ): Promise<
    | {
        readonly erased: Erased
        readonly sequence: number
        readonly leafHash: Uint8Array
        readonly signingKeyVersion: number
        readonly certificate: string
      }
    | undefined
  >
  /** What an erasure would do at this moment; nothing is changed and nobody waits. @throws as `erase` */
  count(request: ErasureRequest): Promise<Erased>
}

export interface ErasureLedger {
  /** Number of the newest entry; 0 where there is none. @throws `store_unavailable` */
  readNewest(): Promise<number>
  /** Entries after a number, in order. @throws `store_unavailable` */
  listEntries(after: number, limit: number): Promise<readonly ErasureEntry[]>
  findEntry(number: number): Promise<(ErasureEntry & { readonly completion?: string }) | undefined>
  /** Entries about a person, newest first, by any of the digests. */
  findByPerson(digests: readonly string[]): Promise<readonly number[]>
  /** Whether exactly this call of the principal used the approval up, and no erasure came of it. */
  isUnfinished(used: {
    readonly approval: string
    readonly digest: string
    readonly principal: Pick<Principal, 'issuer' | 'subject'>
  }): Promise<boolean>
  /** Which of the digests are of erased tokens. */
  findErasedTokens(digests: readonly string[]): Promise<ReadonlySet<string>>
}

/** Keeps the ledger where the database's administrators cannot rewrite it, and gives it back. Nothing that is read is believed. */
export interface PublishedErasures {
  /** @throws `checkpoint_unavailable`; `audit_invalid` where another entry has the place */
  publish(entry: ErasureEntry): Promise<void>
  /** Number of the newest one; 0 where there is none. @param from smaller ones are not looked for @throws `checkpoint_unavailable` */
  findNewest(from: number): Promise<number>
  /** @returns undefined where there is none. @throws `checkpoint_unavailable` */
  read(number: number): Promise<ErasureEntry | undefined>
}
