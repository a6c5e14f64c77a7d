/** Honey tokens and who met them. */

/** A token of a value that never logged in. */
export interface HoneyToken {
  readonly id: string
  readonly field: string
  readonly token: string
  /** Where it was laid out, as its maker said. */
  readonly note: string
  readonly createdAt: Date
  /** Issuer and subject of who made it. */
  readonly issuer: string
  readonly subject: string
  readonly retiredAt?: Date | undefined
  /** The newest meetings first, at most ten. */
  readonly met: readonly HoneyMeeting[]
}

/** Somebody was given the value of a honey token, or the token for its value. */
export interface HoneyMeeting {
  readonly at: Date
  readonly issuer: string
  readonly subject: string
  readonly requestId: string
  /** Of the event `honey`. */
  readonly sequence: number
}

/** A token that is watched: one that was made, or a successor of it since its key was rotated. */
export interface WatchedToken {
  readonly id: string
  readonly field: string
  readonly token: string
  readonly note: string
}

export interface HoneyStore {
  /** @throws `store_unavailable`, `store_refused` where one of the tokens is a honey token already */
  insert(tokens: readonly Omit<HoneyToken, 'createdAt' | 'met' | 'retiredAt'>[]): Promise<void>
  /** Newest first. `before` is the id of the last one seen. @throws `store_unavailable` */
  list(options: { readonly before?: string | undefined; readonly limit: number }): Promise<readonly HoneyToken[]>
  /** @returns whether there is such a honey token that was not retired @throws `store_unavailable` */
  retire(id: string): Promise<boolean>
  /** Every token of those that are not retired. @throws `store_unavailable` */
  readWatched(): Promise<readonly WatchedToken[]>
}
