import { randomUUID } from 'node:crypto'
import { databaseUrl, type Environment } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import { TokenvaultError } from '../errors.ts'
import { createAuditReader } from '../store/audit-reader.ts'
import { createKeyAdministration, type KeyChange } from '../store/key-changes.ts'
import { createFollowerReader } from '../store/key-followers.ts'
import { createKeyReader } from '../store/keys.ts'
import { createDatabase, type TokenvaultDatabase } from '../store/postgres/database.ts'
import type { HandOverReason } from '../tlog/hand-over.ts'
import { describeKeyEvent } from '../vault/admission/key-event.ts'
import type { KeyEventType } from '../vault/admission/ports.ts'
import { FieldKeys } from '../vault/keys/field-keys.ts'
import { findLaggards } from '../vault/keys/fingerprint.ts'
import { formatKeyName, type KeyName } from '../vault/keys/keyset.ts'
import {
  findKey,
  nextPrimary,
  planDestruction,
  planDisabling,
  planDueDestructions,
  planEnabling,
  planPromotion,
} from '../vault/keys/lifecycle.ts'
import type { KeyFollower, KeyRecord } from '../vault/keys/ports.ts'
import { checkWrapper, makeWrappedKey, openKeyset, rewrapKeys } from '../vault/keys/wrapped-keys.ts'
import { checkHandedOver, planHandOver } from './hand-over.ts'
import { openKek, openNextKek } from './kek.ts'
import { createKeyRecoverer, type KeyRecoverer } from './recovery.ts'
import { logName } from './vault.ts'

/** What an administrator does with keys, with the owner's right on the database. Each is an event of the evidence. */
export interface KeyAdministrator {
  readonly config: Config<'migrate'>
  readonly database: TokenvaultDatabase
  /** As they were when this was opened. */
  readonly keys: FieldKeys
  /** Days after which a key that writes is said to be old; undefined where nothing is configured. */
  readonly maxAgeDays: number | undefined
  list(): Promise<readonly KeyRecord[]>
  /** Whether the recovery recipients hold the keys as they are. */
  readRecovery: KeyRecoverer['readState']
  countContent(name: KeyName): Promise<number>
  /** What `create` would make, or has made already. @throws `key_unknown`, `key_state_invalid` */
  nextName(place: Pick<KeyName, 'purpose' | 'field'>): Promise<KeyName>
  /** A new version that every process learns to read before any writes with it. @returns its name, once it is stored */
  create(place: Pick<KeyName, 'purpose' | 'field'>): Promise<KeyName>
  /** Running processes, and those of them that do not go by the stored keys yet. */
  readFollowers(): Promise<{ readonly followers: readonly KeyFollower[]; readonly laggards: readonly KeyFollower[] }>
  /**
   * @param reason of a signing key: why the one before it steps down; `routine` when absent
   * @throws TokenvaultError as planHandOver
   */
  promote(name: KeyName, reason?: HandOverReason): Promise<void>
  disable(name: KeyName): Promise<void>
  enable(name: KeyName): Promise<void>
  /** @param unreadable how much the caller means to lose; must be what there is */
  scheduleDestruction(name: KeyName, after: Date, unreadable: number): Promise<void>
  /**
   * Destroys keys whose time has come, but those with which more would be lost than was said.
   * @returns their names, and those of the others
   */
  destroyDue(): Promise<{ readonly destroyed: readonly KeyName[]; readonly inUse: readonly KeyName[] }>
  /** Puts all keys under the KEK that takes over. @returns their number, and that KEK's id */
  rewrap(): Promise<{ readonly count: number; readonly kekId: string }>
  /** Records that so many originals of these token keys are to be replaced, or were. */
  recordRetokenize(keys: readonly KeyName[], count: number): Promise<void>
  /** Records a re-sealing of so many originals from these keys. */
  recordReseal(keys: readonly KeyName[], count: number): Promise<void>
  /** Records that so many tokens of these keys were mapped to later ones, or are forgotten. */
  recordTokens(type: 'key_token_map' | 'key_retire', keys: readonly KeyName[], count: number): Promise<void>
  close(): Promise<void>
}

/**
 * Opens the keys for an administrator: the KEK must open all of them before anything can be changed.
 *
 * @throws TokenvaultError `kek_unavailable`, `kek_mismatch`, `store_unavailable`, `keyset_invalid`
 */
export async function openKeyAdministrator(
  config: Config<'migrate'>,
  environment: Environment,
): Promise<KeyAdministrator> {
  const kek = await openKek(config, environment)
  const { TENANT: tenant } = config
  const database = createDatabase({
    url: databaseUrl(config),
    poolMax: 2,
    applicationName: 'tokenvault keys',
    // Counting what a key sealed reads all originals.
    statementTimeoutMilliseconds: 3_600_000,
  })
  const keys = createKeyAdministration(database)
  const reader = createKeyReader(database)
  const readFollowers = createFollowerReader(database)
  try {
    const keyset = await openKeyset(reader, kek, tenant)
    const recoverer = await createKeyRecoverer(config, { database, kek })
    const apply = async (change: KeyChange) => keys.apply({ ...change, recovery: await recoverer.after(change) })
    const login = await keys.readLogin()
    const event = (type: KeyEventType, names: readonly KeyName[], more: { kekId?: string; count?: number } = {}) =>
      describeKeyEvent(type, names, { administrator: { login }, at: new Date(), requestId: randomUUID(), ...more })
    const change = (type: KeyEventType, name: KeyName, plan: NonNullable<KeyChange['transitions']>) =>
      apply({ transitions: plan, events: [event(type, [name])] })
    // Keys that were made since this was opened are among them.
    const signing = async () => {
      const held = new FieldKeys(await openKeyset(reader, kek, tenant), tenant)
      return { reader: createAuditReader(database), keys: held, logName: logName(config) }
    }
    return {
      config,
      database,
      keys: new FieldKeys(keyset, tenant),
      maxAgeDays: config.KEY_MAX_AGE_DAYS,
      list: keys.readRecords,
      readRecovery: recoverer.readState,
      countContent: keys.countContent,
      nextName: async place => nextPrimary(await keys.readRecords(), place).name,
      async create(place) {
        if (place.purpose === 'token' && (await keys.isMoving(place.field)))
          throw new TokenvaultError('token_move_unfinished', `tokens of ${place.field}`)
        const records = await keys.readRecords()
        const { name, isNew } = nextPrimary(records, place)
        if (!isNew) return name
        checkWrapper(
          records.filter(({ status }) => status !== 'destroyed'),
          kek,
        )
        const added = [await makeWrappedKey(name, 'active', { kek, tenant })]
        await apply({ added, events: [event('key_create', [name])] })
        return name
      },
      async readFollowers() {
        const followers = await readFollowers()
        return { followers, laggards: findLaggards(followers, await reader.readKeys()) }
      },
      async promote(name, reason = 'routine') {
        const transitions = planPromotion(await keys.readRecords(), name)
        if (name.purpose === 'signing') {
          const handOver = await planHandOver(await signing(), name, reason)
          const names = transitions.map(({ purpose, field, version }) => ({ purpose, field, version }))
          return apply({ transitions, handOver, events: [event('key_hand_over', names)] })
        }
        const from = transitions.find(({ to }) => to === 'active')
        const isMove = name.purpose === 'token' && from !== undefined
        const move = isMove ? { move: { from, toVersion: name.version } } : {}
        await apply({ transitions, ...move, events: [event('key_promote', [name])] })
      },
      disable: async name => change('key_disable', name, planDisabling(await keys.readRecords(), name)),
      async enable(name) {
        const records = await keys.readRecords()
        const type = findKey(records, name).destroyAfter === undefined ? 'key_enable' : 'key_cancel_destruction'
        await change(type, name, planEnabling(records, name))
      },
      async scheduleDestruction(name, after, unreadable) {
        const plan = planDestruction(await keys.readRecords(), name, { after, unreadable })
        if (name.purpose === 'signing') await checkHandedOver(await signing(), name)
        checkUnreadable(name, await keys.countContent(name), unreadable)
        await change('key_schedule_destruction', name, plan)
      },
      async destroyDue() {
        const records = await keys.readRecords()
        const destroyed: KeyName[] = []
        const inUse: KeyName[] = []
        for (const step of planDueDestructions(records, new Date())) {
          // A process that was slow to learn that the key is disabled may have written with it since.
          const isLost = (await keys.countContent(step)) > (findKey(records, step).unreadable ?? 0)
          if (!isLost) await change('key_destroy', step, [step])
          const { purpose, field, version } = step
          ;(isLost ? inUse : destroyed).push({ purpose, field, version })
        }
        return { destroyed, inUse }
      },
      async rewrap() {
        const next = await openNextKek(config, environment)
        const rewrapped = await rewrapKeys(await openKeyset(reader, kek, tenant), { kek: next, tenant })
        const kekId = next.id
        await apply({ rewrapped, events: [event('key_rewrap', rewrapped, { kekId })] })
        return { count: rewrapped.length, kekId }
      },
      recordRetokenize: (names, count) => keys.apply({ events: [event('key_retokenize', names, { count })] }),
      recordReseal: (names, count) => keys.apply({ events: [event('key_reseal', names, { count })] }),
      recordTokens: (type, names, count) => keys.apply({ events: [event(type, names, { count })] }),
      close: () => database.destroy(),
    }
  } catch (error) {
    await database.destroy()
    throw error
  }
}

/** @throws TokenvaultError `key_in_use` with the number, unless exactly that is meant to be lost */
function checkUnreadable(name: KeyName, content: number, meant: number): void {
  if (content === meant) return
  const what = name.purpose === 'quarantine' ? 'quarantined bodies' : 'originals'
  const say = `${content} ${what} open only with ${formatKeyName(name)}`
  throw new TokenvaultError('key_in_use', meant === 0 ? say : `${say}, and --force-unreadable says ${meant}`)
}
