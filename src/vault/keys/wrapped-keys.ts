import { createSecretKey } from 'node:crypto'
import { TokenvaultError } from '../../errors.ts'
import type { FieldSchema } from '../fields/fields.ts'
import { formatKeyName, generateKey, type Key, type KeyName, type KeyStatus, Keyset } from './keyset.ts'
import type { KeyEncryptionKey, KeyReader, KeyRecovery, KeyWriter, WrappedKey } from './ports.ts'

/** A wrapped key opens only under its own tenant, purpose, field and version. */
function wrapBinding(tenant: string, name: KeyName): Uint8Array {
  return Buffer.from(`tokenvault/key/v1\0${tenant}\0${formatKeyName(name)}`, 'utf8')
}

/**
 * Reads and unwraps all keys.
 *
 * @throws TokenvaultError `kek_mismatch` naming the first key that does not unwrap, `keyset_invalid`, `store_unavailable`
 */
export async function openKeyset(reader: KeyReader, kek: KeyEncryptionKey, tenant: string): Promise<Keyset> {
  return unwrapKeys(await reader.readKeys(), kek, tenant)
}

/** As openKeyset, for keys that were read. */
export async function unwrapKeys(
  stored: readonly WrappedKey[],
  kek: KeyEncryptionKey,
  tenant: string,
): Promise<Keyset> {
  const keys: Key[] = []
  for (const { purpose, field, version, status, kekId, wrapped, isMoving } of stored) {
    const name = { purpose, field, version }
    let material: Uint8Array
    try {
      material = await kek.unwrap(wrapped, wrapBinding(tenant, name))
    } catch (cause) {
      if (!(cause instanceof TokenvaultError) || cause.code !== 'kek_mismatch') throw cause
      const wrappedBy =
        kekId === kek.id ? 'it was changed, or TENANT is another' : `it was wrapped by ${kekId}, this is ${kek.id}`
      throw new TokenvaultError('kek_mismatch', `key ${formatKeyName(name)} does not unwrap: ${wrappedBy}`)
    }
    keys.push({ ...name, status, material: createSecretKey(material), ...(isMoving && { isMoving }) })
    material.fill(0)
  }
  return new Keyset(keys)
}

/**
 * New keys stand under the KEK that wraps the others: two of which each opens a part would have to be kept for ever.
 *
 * @throws TokenvaultError `kek_mismatch`
 */
export function checkWrapper(stored: readonly Pick<WrappedKey, 'kekId'>[], kek: KeyEncryptionKey): void {
  const other = stored.find(({ kekId }) => kekId !== kek.id)
  if (other === undefined) return
  const say = `stored keys are wrapped by ${other.kekId}, and KEK_PROVIDER names ${kek.id}; set it to the one that took over`
  throw new TokenvaultError('kek_mismatch', say)
}

/** A fresh random key under the KEK. */
export async function makeWrappedKey(
  name: KeyName,
  status: KeyStatus,
  under: { readonly kek: KeyEncryptionKey; readonly tenant: string },
): Promise<WrappedKey> {
  return wrapKey(generateKey(name, status), under)
}

/** The keys of a keyset under another KEK. Nothing that they sealed changes, and no token. */
export async function rewrapKeys(
  keyset: Keyset,
  under: { readonly kek: KeyEncryptionKey; readonly tenant: string },
): Promise<readonly WrappedKey[]> {
  return Promise.all(keyset.all().map(key => wrapKey(key, under)))
}

async function wrapKey(
  { material: secret, ...key }: Key,
  { kek, tenant }: { readonly kek: KeyEncryptionKey; readonly tenant: string },
): Promise<WrappedKey> {
  const material = secret.export()
  try {
    return { ...key, kekId: kek.id, wrapped: await kek.wrap(material, wrapBinding(tenant, key)) }
  } finally {
    material.fill(0)
  }
}

/**
 * Makes the first keys of a new vault, and of fields that are new to it, and opens the result. Safe to run from many
 * processes at once: whichever stores a key first has made it. A key that was there and is lost is never made anew:
 * another key under the same version would give equal values other tokens, and nobody would notice.
 *
 * @param options.recover makes the recovery of the keyset with these keys in it
 * @returns the keyset, and the names of the keys made by this call
 * @throws TokenvaultError as openKeyset; `keyset_incomplete` naming a key that was lost
 */
export async function createMissingKeys(
  writer: KeyWriter,
  kek: KeyEncryptionKey,
  options: {
    readonly tenant: string
    readonly fields: FieldSchema
    readonly recover?: ((added: readonly WrappedKey[]) => Promise<KeyRecovery | undefined>) | undefined
  },
): Promise<{ keyset: Keyset; made: readonly string[] }> {
  const { tenant, fields, recover } = options
  // Asked before the keys are read: what another process makes and uses in between then comes with its keys.
  const isUsed = await writer.hasContent()
  const usedFields = new Set<string>()
  for (const field of fields.keys()) if (isUsed && (await writer.hasContent(field))) usedFields.add(field)
  const hasSigned = await writer.hasCheckpoints()
  // A keyset that this KEK cannot open must never grow by keys that it can.
  const before = await writer.readKeys()
  await unwrapKeys(before, kek, tenant)
  const present = new Set(before.map(({ purpose, field }) => `${purpose}/${field}`))
  const needed: KeyName[] = [
    ...[...fields.keys()].flatMap(field => [
      { purpose: 'token', field, version: 1 } as const,
      { purpose: 'data', field, version: 1 } as const,
    ]),
    { purpose: 'quarantine', field: '', version: 1 },
    { purpose: 'audit', field: '', version: 1 },
    { purpose: 'signing', field: '', version: 1 },
  ]
  const missing = needed.filter(({ purpose, field }) => !present.has(`${purpose}/${field}`))
  const isNewVault = present.size === 0 && !isUsed
  const isNewField = (field: string) =>
    field !== '' && !present.has(`token/${field}`) && !present.has(`data/${field}`) && !usedFields.has(field)
  // Earlier vaults have no signing key and need one. What a lost key signed, a new one would deny.
  const isNew = ({ purpose, field }: KeyName) => (purpose === 'signing' ? !hasSigned : isNewField(field))
  const lost = isNewVault ? undefined : missing.find(name => !isNew(name))
  if (lost !== undefined) throw new TokenvaultError('keyset_incomplete', `key ${formatKeyName(lost)} was lost`)
  if (missing.length > 0) checkWrapper(before, kek)
  const wrapped = await Promise.all(missing.map(name => makeWrappedKey(name, 'primary', { kek, tenant })))
  if (wrapped.length > 0) await writer.insertKeys(wrapped, await recover?.(wrapped))
  const after = await writer.readKeys()
  // Another process may have stored some of them first; its keys then stand, and ours were never used.
  const ours = wrapped.filter(key => after.some(stored => Buffer.from(key.wrapped).equals(stored.wrapped)))
  return { keyset: await unwrapKeys(after, kek, tenant), made: ours.map(formatKeyName) }
}
