import { randomUUID } from 'node:crypto'
import { repeat } from '../concurrency/waiting.ts'
import { TokenvaultError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { FieldKeys } from '../vault/keys/field-keys.ts'
import { fingerprintKeys } from '../vault/keys/fingerprint.ts'
import { formatKeyName, type Key, type KeyName, Keyset } from '../vault/keys/keyset.ts'
import type { FollowedKeyset, KeyEncryptionKey, KeyReader, WrappedKey } from '../vault/keys/ports.ts'
import { unwrapKeys } from '../vault/keys/wrapped-keys.ts'

/** Between two looks at the stored keys: a change is taken up within 5 s, of which a slow look may take some. */
const intervalMilliseconds = 2_000

/** After a look at which the KEK failed: what opens it is asked at each of them. */
const afterFailureMilliseconds = 10_000

/** How often a process says by which keys it goes, where nothing changed. */
const saidEveryMilliseconds = 5_000

/** Keys that follow what is stored. */
export interface FollowedKeys {
  /** Why the newest change could not be taken up; undefined while the keys in use are those that are stored. */
  problem(): TokenvaultError | undefined
  stop(): void
}

export interface FollowOptions {
  readonly keys: FieldKeys
  /** What `keys` were made of, and what that was unwrapped from. */
  readonly keyset: Keyset
  readonly stored: readonly WrappedKey[]
  readonly reader: KeyReader
  readonly openKek: () => Promise<KeyEncryptionKey>
  readonly tenant: string
  readonly log: Log
  /** What the process is: `worker`, `api`, `lambda`. */
  readonly process: string
  /** Says by which keys the process goes, so that rotations wait for it. */
  readonly say: (followed: FollowedKeyset) => Promise<void>
}

/** Takes up changes of keys while the process runs. */
export function followKeys(options: FollowOptions): FollowedKeys {
  const stopping = new AbortController()
  const { look, problem } = createLook(options, stopping.signal)
  // The first look is at once, so that administrators know of the process.
  void repeat(look, stopping.signal, { firstAfterMilliseconds: 0, ref: false })
  return { problem, stop: () => stopping.abort() }
}

/**
 * The same for a process that stands still between its tasks, and would miss changes meanwhile: it looks before a task, if it is
 * time.
 *
 * @returns what to call before a task; it throws nothing
 */
export function followKeysByTask(options: FollowOptions): () => Promise<void> {
  const { look } = createLook(options, new AbortController().signal)
  // Not performance.now(), which may stand still as well.
  let nextAtMs = Date.now() + intervalMilliseconds
  return async () => {
    if (Date.now() < nextAtMs) return
    nextAtMs = Number.POSITIVE_INFINITY
    const pauseMs = await look()
    nextAtMs = Date.now() + pauseMs
  }
}

/**
 * One look at the stored keys. The KEK is opened again for keys that are new here or stand under another KEK, and for nothing
 * else: a key is taken out of use while KMS is away, too. Where that fails the process goes on with the keys that it has, and
 * says so.
 */
function createLook(options: FollowOptions, stopping: AbortSignal) {
  const { keys, reader, openKek, tenant, log } = options
  let used = fingerprintKeys(options.stored)
  const say = createSay(options)
  let current = options.keyset
  let held = heldKeys(current, options.stored)
  const open = async (stored: readonly WrappedKey[]) => {
    const fresh = stored.filter(key => !held.has(placeOf(key)))
    const opened = fresh.length === 0 ? held : heldKeys(await unwrapKeys(fresh, await openKek(), tenant), fresh)
    return new Keyset(
      stored.map(({ kekId: _, wrapped, ...key }) => {
        const { material } = (held.get(placeOf({ ...key, wrapped })) ?? opened.get(placeOf({ ...key, wrapped })))!
        return { ...key, material }
      }),
    )
  }
  let problem: TokenvaultError | undefined
  const look = async () => {
    try {
      const stored = await reader.readKeys()
      const found = fingerprintKeys(stored)
      if (!found.equals(used)) {
        const keyset = await open(stored)
        // A status that somebody edited must not leave a process without a key that it writes with.
        for (const { purpose, field, status } of current.all()) if (status === 'primary') keyset.primary(purpose, field)
        keys.replace(keyset)
        current = keyset
        held = heldKeys(keyset, stored)
        used = found
        log.info({ event: 'keys_loaded', count: stored.length })
      }
      problem = undefined
      await say(used)
      return intervalMilliseconds
    } catch (error) {
      if (stopping.aborted) return intervalMilliseconds
      const err = error instanceof TokenvaultError ? error : new TokenvaultError('internal')
      // Told once, and again when it is another one.
      if (err.message !== problem?.message) log.error({ event: 'keys_not_followed', err })
      problem = err
      // A database that was away for a moment delays no change.
      return err.code === 'store_unavailable' ? intervalMilliseconds : afterFailureMilliseconds
    }
  }
  return { look, problem: () => problem }
}

/** Tells the database after each change, and otherwise every few seconds. */
function createSay({ process, say }: FollowOptions): (keyset: Uint8Array) => Promise<void> {
  const instance = randomUUID()
  let said: { readonly keyset: Uint8Array; readonly atMs: number } | undefined
  return async keyset => {
    // Not performance.now(), which may stand still with the process.
    const isKnown = said !== undefined && Buffer.from(said.keyset).equals(keyset)
    if (isKnown && Date.now() - said!.atMs < saidEveryMilliseconds) return
    await say({ instance, process, keyset })
    said = { keyset, atMs: Date.now() }
  }
}

/** Keys by the bytes that they were unwrapped from. */
function heldKeys(keyset: Keyset, stored: readonly WrappedKey[]): ReadonlyMap<string, Key> {
  const byName = new Map(keyset.all().map(key => [formatKeyName(key), key]))
  return new Map(stored.map(key => [placeOf(key), byName.get(formatKeyName(key))!]))
}

/** Of a wrapped key: its name and its bytes, whatever its status is. */
function placeOf({ wrapped, ...name }: KeyName & Pick<WrappedKey, 'wrapped'>): string {
  return `${formatKeyName(name)} ${Buffer.from(wrapped).toString('base64')}`
}
