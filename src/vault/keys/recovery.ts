import { createHash, createSecretKey, hash } from 'node:crypto'
import { TokenvaultError } from '../../errors.ts'
import { formatKeyName, type Key, type KeyName, type KeyPurpose, type KeyStatus, Keyset } from './keyset.ts'
import type { KeyTransition, StoredKey, StoredKeyRecovery, WrappedKey } from './ports.ts'

/** What a recovery says it is. Another shape gets another one. */
const format = 'tokenvault/keyset/v1'

/** A keyset that was opened from its recovery. */
export interface RecoveredKeyset {
  readonly tenant: string
  readonly madeAt: Date
  readonly keyset: Keyset
  /** Names of keys that had been destroyed by then: a backup of before still holds them. */
  readonly destroyed: ReadonlySet<string>
}

/**
 * SHA-256 of what is stored of the keys: a line `<name> <status> <hex of SHA-256 of the wrapped key, or ->` each, in order of
 * names. A key that was added, destroyed, swapped or edited by hand gives another one.
 *
 * @returns 64 hexadecimal digits
 */
export function digestKeys(stored: readonly StoredKey[]): string {
  const lines = stored.map(key => {
    return `${formatKeyName(key)} ${key.status} ${key.wrapped === null ? '-' : hash('sha256', key.wrapped)}\n`
  })
  const digest = createHash('sha256')
  for (const line of lines.sort()) digest.update(line)
  return digest.digest('hex')
}

/** What is stored of the keys after a change of them. */
export function planStoredKeys(
  stored: readonly StoredKey[],
  change: {
    readonly added?: readonly WrappedKey[] | undefined
    readonly transitions?: readonly KeyTransition[] | undefined
    readonly rewrapped?: readonly WrappedKey[] | undefined
  },
): readonly StoredKey[] {
  const { added = [], transitions = [], rewrapped = [] } = change
  const after = new Map([...stored, ...added].map(key => [formatKeyName(key), key as StoredKey]))
  for (const transition of transitions) {
    const name = formatKeyName(transition)
    const key = after.get(name)
    // The store refuses a change of a key that is not there.
    if (key === undefined) continue
    const wrapped = transition.to === 'destroyed' ? null : key.wrapped
    after.set(name, { ...key, status: transition.to, wrapped })
  }
  for (const { wrapped, ...key } of rewrapped) {
    const name = formatKeyName(key)
    const status = after.get(name)?.status ?? key.status
    after.set(name, { ...key, status, wrapped })
  }
  return [...after.values()]
}

/**
 * The keyset as text that is to be encrypted at once: it holds every key.
 *
 * @param destroyed keys that are gone, so that a backup of before does not bring them back
 */
export function writeRecovery(options: {
  readonly keyset: Keyset
  readonly destroyed: readonly KeyName[]
  readonly tenant: string
  readonly madeAt: Date
}): Buffer {
  const { keyset, destroyed, tenant, madeAt } = options
  const keys = keyset.all().map(({ purpose, field, version, status, material }) => {
    const bytes = material.export()
    const text = bytes.toString('base64')
    bytes.fill(0)
    return { purpose, field, version, status, material: text }
  })
  const written = { format, tenant, madeAt: madeAt.toISOString(), keys, destroyed: destroyed.map(formatKeyName) }
  return Buffer.from(`${JSON.stringify(written, undefined, 1)}\n`, 'utf8')
}

/** @param bytes what writeRecovery gave; who opens the file made by it. @throws TokenvaultError `recovery_invalid` */
export function readRecovery(bytes: Uint8Array): RecoveredKeyset {
  try {
    const read = JSON.parse(Buffer.from(bytes).toString('utf8'))
    if (read.format !== format) throw invalid('is of another format; it needs a newer release')
    const keys = read.keys.map((key: Record<string, unknown>): Key => {
      const material = Buffer.from(String(key['material']), 'base64')
      const purpose = key['purpose'] as KeyPurpose
      const [field, version, status] = [String(key['field']), Number(key['version']), key['status'] as KeyStatus]
      return { purpose, field, version, status, material: createSecretKey(material) }
    })
    const madeAt = new Date(read.madeAt)
    if (typeof read.tenant !== 'string' || Number.isNaN(madeAt.getTime())) throw invalid('is incomplete')
    return { tenant: read.tenant, madeAt, keyset: new Keyset(keys), destroyed: new Set(read.destroyed.map(String)) }
  } catch (error) {
    if (error instanceof TokenvaultError) throw error
    // The parser's message may quote the text, which is nothing but keys.
    throw invalid('is not what tokenvault writes')
  }
}

function invalid(why: string): TokenvaultError {
  return new TokenvaultError('recovery_invalid', `the recovery of the keyset ${why}`)
}

/** What becomes of stored keys when a recovery is put in their place. */
export interface KeyAdoption {
  /** Every key that is used from then on, as it stands then. */
  readonly keyset: Keyset
  /** Stored keys that had been destroyed when the recovery was made. */
  readonly destroyed: readonly KeyName[]
  /** Keys that are not stored: they were made after the backup. */
  readonly added: readonly KeyName[]
}

/**
 * Compares a recovery with the keys of a database that was restored from a backup. Where it is newer than the backup, keys
 * stand as it says: a destroyed one is not brought back, and a version that was given since is not given again.
 *
 * @throws TokenvaultError `recovery_invalid` naming a stored key that it does not hold
 */
export function planAdoption(stored: readonly StoredKey[], recovered: RecoveredKeyset): KeyAdoption {
  const alive = stored.filter(({ wrapped }) => wrapped !== null)
  const known = new Map(stored.map(key => [formatKeyName(key), key]))
  const held = new Map(recovered.keyset.all().map(key => [formatKeyName(key), key]))
  const destroyed = alive.filter(key => recovered.destroyed.has(formatKeyName(key)))
  const lost = alive.find(key => !held.has(formatKeyName(key)) && !destroyed.includes(key))
  if (lost !== undefined)
    throw invalid(`lacks ${formatKeyName(lost)}, which was made later: give the newer one with --recovery`)
  // What was destroyed in the database stays so, whatever an older recovery holds.
  const keys = [...held.values()].filter(key => known.get(formatKeyName(key))?.status !== 'destroyed')
  const added = keys.filter(key => !known.has(formatKeyName(key)))
  const isNewer = destroyed.length > 0 || added.length > 0
  const keyset = isNewer
    ? keys
    : keys.map(key => ({ ...key, status: known.get(formatKeyName(key))?.status ?? key.status }))
  return { keyset: new Keyset(keyset), destroyed, added }
}

/** How a vault stands with its recovery. */
export type RecoveryState = 'current' | 'none' | 'keys_outdated' | 'recipients_outdated' | 'not_configured'

/**
 * @param recipients those that are configured; undefined where who asks does not know them
 * @returns `keys_outdated` where keys changed since, without a recovery
 */
export function judgeRecovery(
  recovery: StoredKeyRecovery | undefined,
  stored: readonly StoredKey[],
  recipients: readonly string[] | undefined,
): RecoveryState {
  if (recovery === undefined) return recipients?.length === 0 ? 'not_configured' : 'none'
  if (recovery.keysetDigest !== digestKeys(stored)) return 'keys_outdated'
  if (recipients === undefined || recipients.length === 0) return 'current'
  const [wanted, there] = [recipients, recovery.recipients].map(list => [...new Set(list)].sort().join(' '))
  return wanted === there ? 'current' : 'recipients_outdated'
}
