import { TokenvaultError } from '../../errors.ts'
import { formatKeyName, type KeyName, type KeyPurpose, maxKeyVersion } from './keyset.ts'
import type { KeyRecord, KeyTransition } from './ports.ts'

/**
 * What may be done with keys, as plans that change nothing: the store applies one whole or not at all, and only while every
 * key stands as it did when the plan was made.
 */

/** @throws TokenvaultError `key_unknown` */
export function findKey(records: readonly KeyRecord[], name: KeyName): KeyRecord {
  const found = records.find(record => formatKeyName(record) === formatKeyName(name))
  if (found === undefined) throw new TokenvaultError('key_unknown', `${formatKeyName(name)}`)
  return found
}

/**
 * The next primary key of a purpose and field: the newest that never was one, as a rotation that was cut short leaves it, or
 * else a new version.
 *
 * @returns `isNew` where it has yet to be made
 * @throws TokenvaultError `key_unknown` where the purpose and field have no key at all
 */
export function nextPrimary(
  records: readonly KeyRecord[],
  place: { readonly purpose: KeyPurpose; readonly field: string },
): { readonly name: KeyName; readonly isNew: boolean } {
  const { purpose, field } = place
  const versions = records.filter(record => record.purpose === purpose && record.field === field)
  const primary = versions.find(({ status }) => status === 'primary')
  if (primary === undefined) throw new TokenvaultError('key_unknown', `${purpose}/${field} has no primary key`)
  const newest = versions.reduce((a, b) => (b.version > a.version ? b : a))
  const isWaiting = newest.version > primary.version && newest.status === 'active' && newest.primarySince === undefined
  if (isWaiting) return { name: { purpose, field, version: newest.version }, isNew: false }
  // Also those that were destroyed count: a version stands in tokens and rows of backups.
  const version = newest.version + 1
  if (version > maxKeyVersion) throw new TokenvaultError('key_state_invalid', `${purpose}/${field} has no version left`)
  return { name: { purpose, field, version }, isNew: true }
}

/** The key becomes the primary one, and the present one goes on reading. @throws TokenvaultError `key_unknown`, `key_state_invalid` */
export function planPromotion(records: readonly KeyRecord[], name: KeyName): readonly KeyTransition[] {
  const { status } = findKey(records, name)
  if (status !== 'active') throw stateError(name, status, 'be the primary one')
  const demoted = records.filter(({ purpose, field, status }) => {
    return purpose === name.purpose && field === name.field && status === 'primary'
  })
  // The one that writes steps down first: there is never a second.
  return [
    ...demoted.map(record => ({ ...nameOf(record), from: 'primary' as const, to: 'active' as const })),
    { ...nameOf(name), from: 'active', to: 'primary' },
  ]
}

/**
 * Keys of audit are kept in use: without one of them searches would pass over the events of its time, and nobody would notice. So
 * are those of signing, of which only the private half can go, once it was handed over: what it signed is checked without.
 *
 * @throws TokenvaultError `key_state_invalid`
 */
export function checkRemovable(name: KeyName, what: 'disable' | 'destroy'): void {
  const isKept = name.purpose === 'audit' || (name.purpose === 'signing' && what === 'disable')
  if (!isKept) return
  const say = `${formatKeyName(name)} is kept: searches and receipts of its time need it`
  throw new TokenvaultError('key_state_invalid', say)
}

/** @throws TokenvaultError `key_unknown`, `key_state_invalid` */
export function planDisabling(records: readonly KeyRecord[], name: KeyName): readonly KeyTransition[] {
  checkRemovable(name, 'disable')
  const { status } = findKey(records, name)
  if (status !== 'active') throw stateError(name, status, 'be disabled')
  return [{ ...nameOf(name), from: status, to: 'disabled' }]
}

/** Reads again; a destruction that was scheduled is called off. @throws TokenvaultError `key_unknown`, `key_state_invalid` */
export function planEnabling(records: readonly KeyRecord[], name: KeyName): readonly KeyTransition[] {
  const { status } = findKey(records, name)
  if (status !== 'disabled') throw stateError(name, status, 'be enabled')
  return [{ ...nameOf(name), from: status, to: 'active' }]
}

/**
 * Disabled now, and destroyed at the earliest at a time to come.
 *
 * @throws TokenvaultError `key_unknown`, `key_state_invalid`
 */
export function planDestruction(
  records: readonly KeyRecord[],
  name: KeyName,
  destruction: { readonly after: Date; readonly unreadable: number },
): readonly KeyTransition[] {
  checkRemovable(name, 'destroy')
  const { status } = findKey(records, name)
  if (status !== 'active' && status !== 'disabled') throw stateError(name, status, 'be destroyed')
  return [{ ...nameOf(name), from: status, to: 'disabled', destruction }]
}

/** Every key whose time has come. */
export function planDueDestructions(records: readonly KeyRecord[], now: Date): readonly KeyTransition[] {
  return records.flatMap(record => {
    const { status, destroyAfter: after, unreadable } = record
    if (status !== 'disabled' || after === undefined || unreadable === undefined || after > now) return []
    return [{ ...nameOf(record), from: status, to: 'destroyed' as const, destruction: { after, unreadable } }]
  })
}

/** When a key of a purpose and field last took over from another one; undefined where none did. */
export function lastRotation(versions: readonly KeyRecord[]): Date | undefined {
  const times = versions.flatMap(({ primarySince }) => (primarySince === undefined ? [] : [primarySince]))
  return times.length < 2 ? undefined : times.reduce((a, b) => (b > a ? b : a))
}

/** Primary keys of routine rotation that have written for longer than that. Token and signing keys are not rotated for their age. */
export function findAged(records: readonly KeyRecord[], maxAgeDays: number, now: Date): readonly KeyRecord[] {
  const startedBefore = now.getTime() - maxAgeDays * 86_400_000
  return records.filter(({ purpose, status, createdAt, primarySince = createdAt }) => {
    const isRoutine = purpose === 'data' || purpose === 'quarantine' || purpose === 'audit'
    return isRoutine && status === 'primary' && primarySince.getTime() < startedBefore
  })
}

function nameOf({ purpose, field, version }: KeyName): KeyName {
  return { purpose, field, version }
}

function stateError(name: KeyName, status: string, what: string): TokenvaultError {
  return new TokenvaultError('key_state_invalid', `${formatKeyName(name)} is ${status} and cannot ${what}`)
}
