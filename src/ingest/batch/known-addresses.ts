import type { IngestStore } from '../ports.ts'

/** Tokens of addresses whose networks are stored, as far as they are remembered: an address that is not is stored again. */
export interface KnownAddresses {
  has(address: string): boolean
  add(addresses: Iterable<string>): void
  /** For when what was stored may be gone. */
  forget(): void
}

/** About 10 MB of tokens. */
const defaultMost = 100_000

/** After a failover or a restore that nobody here noticed, addresses are stored again within twice this time. */
const defaultLifetimeMilliseconds = 15 * 60_000

/**
 * Two generations: once the younger one is full or its time is over, it becomes the older one, and what that held is forgotten.
 *
 * @param options.most addresses that are remembered, at most
 * @param options.lifetimeMilliseconds of a generation
 * @param options.now milliseconds of a clock that never goes back
 */
export function createKnownAddresses(
  options: { readonly most?: number; readonly lifetimeMilliseconds?: number; readonly now?: () => number } = {},
): KnownAddresses {
  const { most = defaultMost, lifetimeMilliseconds = defaultLifetimeMilliseconds } = options
  const { now = () => performance.now() } = options
  let younger = new Set<string>()
  let older = new Set<string>()
  let sinceMs = now()
  const turn = () => {
    older = younger
    younger = new Set()
    sinceMs = now()
  }
  return {
    has(address) {
      if (now() - sinceMs >= lifetimeMilliseconds) turn()
      return younger.has(address) || older.has(address)
    },
    add(addresses) {
      for (const address of addresses) {
        if (younger.size >= most / 2) turn()
        younger.add(address)
      }
    },
    forget() {
      younger.clear()
      older.clear()
    },
  }
}

/** A store that remembers which addresses have a network, once that is committed. */
export function rememberAddresses(store: IngestStore, known: KnownAddresses): IngestStore {
  return {
    async storeMessages(messages) {
      try {
        const stored = await store.storeMessages(messages)
        for (const { messageId, rows } of messages) {
          // A duplicate wrote nothing; it may be of a time before networks were stored.
          if (stored.repeated.has(messageId)) continue
          for (const { networks } of rows) if (networks !== undefined) known.add(networks.map(({ address }) => address))
        }
        return stored
      } catch (error) {
        // The database may have lost what it had committed.
        known.forget()
        throw error
      }
    },
  }
}
