/**
 * People whose data the vault holds. A person is a `user_id`, compared byte for byte.
 *
 * **How others name a person.** Neither events nor tables of ours hold a user id in clear, apart from the rows that analysts read.
 * Events name a person by a digest under the primary audit key (`digestPerson`), which a search looks for under all of them.
 * `pii_vault.legal_holds`, and every other table that has to find a person again years later, names it by the digest under the
 * *oldest* audit key, which is kept for ever (`personKey`): so a row outlives every rotation.
 *
 * **How retention and erasure find people who are held.** `HoldReader.readHeld` gives the keys of all of them, a set that is small.
 * Where it is empty nothing has to be asked of any row. Otherwise a job computes `personKeys` of the distinct user ids of what it is
 * about to remove (about a million a second on one core) and leaves those out that are in the set. A partition with a held person is
 * emptied in batches around them and not dropped. Erasure asks `findHold` once more in the transaction that erases, under
 * `lockHolds`, which making a hold takes too: of a hold and an erasure at one moment, the later one sees the earlier.
 */

/** 22 letters of base64url: a keyed digest of a user id. */
export type PersonKey = string

/** Rows of one person in one month. */
export interface MonthRows {
  /** `2026-03`. */
  readonly month: string
  readonly rows: number
}

/** Distinct tokens of one field in the rows of a person. */
export interface FieldTokens {
  readonly field: string
  /** At most the limit that was asked for, in order. */
  readonly tokens: readonly string[]
  /** Whether there are more. */
  readonly hasMore: boolean
}

/** A copy of rows that was sent elsewhere, of months in which the person has, or had, rows. */
export interface RecordedExport {
  readonly at: Date
  readonly kind: 'archive' | 'export' | 'recall'
  readonly target: string
  readonly fromMonth: string
  readonly toMonth: string
}

/** Equal rows of one person. */
export interface PersonRow {
  readonly createDate: string
  readonly deviceType: string | null
  readonly locale: string | null
  readonly appVersion: number | null
  /** By field. */
  readonly tokens: Readonly<Record<string, string | null>>
  readonly count: number
}

/** What there is of a person. */
export interface PersonOverview {
  /** Oldest first. */
  readonly months: readonly MonthRows[]
  /** UTC days, `2026-03-01`. */
  readonly firstDay: string
  readonly lastDay: string
  readonly tokens: readonly FieldTokens[]
}

export interface PersonReader {
  /** @param limit of tokens of each field @returns undefined where there is no row @throws `store_unavailable` */
  readOverview(userId: string, limit: number): Promise<PersonOverview | undefined>
  /** Those of the user ids that have rows. @throws `store_unavailable` */
  hasRows(userIds: readonly string[]): Promise<readonly string[]>
  /** Equal rows together, in order of day; at most so many. @throws `store_unavailable` */
  listRows(userId: string, limit: number): Promise<readonly PersonRow[]>
  /** Of these months; newest first, at most so many. @throws `store_unavailable` */
  listExports(
    months: { readonly first: string; readonly last: string },
    limit: number,
  ): Promise<readonly RecordedExport[]>
}

/** A legal hold. */
export interface Hold {
  readonly person: PersonKey
  /** Last UTC day, `2027-12-31`. */
  readonly until: string
  readonly reason: string
  readonly heldAt: Date
}

/** Holds that are in force today: one that is over counts for nothing. */
export interface HoldReader {
  findHold(person: PersonKey): Promise<Hold | undefined>
  /** Everybody who is held. @throws `store_unavailable` */
  readHeld(): Promise<ReadonlySet<PersonKey>>
}

export interface HoldStore extends HoldReader {
  /** Makes a hold, or changes the one there is. @throws `store_unavailable` */
  hold(hold: Omit<Hold, 'heldAt'>): Promise<void>
  /** @returns whether there was one @throws `store_unavailable` */
  release(person: PersonKey): Promise<boolean>
}

/** A quarantined body that may be about a person. */
export interface SealedEntry {
  readonly id: string
  readonly dataKeyVersion: number
  readonly sealed: Uint8Array
}

export interface QuarantineScan {
  /** Entries that still have a body, in order of id, behind `after`; few enough to be opened at once. @throws `store_unavailable` */
  readSealed(after: string | undefined): Promise<readonly SealedEntry[]>
}

/** An event that names one of the digests: its members that a search of the audit log shows, too. */
export interface AccessEvent {
  readonly sequence: number
  /** base64. */
  readonly leafHash: string
  readonly [member: string]: unknown
}

export interface AccessSearch {
  /**
   * Events that name one of the digests among their tokens, newest first.
   *
   * @param limit at most so many
   * @returns also whether older ones may have been left out
   * @throws `store_unavailable`
   */
  findAccess(
    digests: readonly string[],
    limit: number,
  ): Promise<{ readonly events: readonly AccessEvent[]; readonly isComplete: boolean }>
}
