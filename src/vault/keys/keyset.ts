import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { type AesSiv, createAesSiv, sivKeyBytes } from '../../crypto/aes-siv.ts'
import { auditKeyBytes } from '../../crypto/token-digest.ts'
import { TokenvaultError } from '../../errors.ts'
import { signingSeedBytes } from '../../tlog/signed-note.ts'

/** What a key is for. Token and data keys serve one field each; the others serve the vault and have field ''. */
export type KeyPurpose = 'token' | 'data' | 'quarantine' | 'audit' | 'signing'

/** The primary writes; active keys still read; disabled ones do nothing; destroyed ones are gone. */
export type KeyStatus = 'primary' | 'active' | 'disabled' | 'destroyed'

export interface KeyName {
  readonly purpose: KeyPurpose
  readonly field: string
  /** From 1 up to maxKeyVersion; never used twice. */
  readonly version: number
}

export interface Key extends KeyName {
  readonly status: KeyStatus
  readonly material: KeyObject
  /** Of a token key: whether its tokens are being replaced by those of the primary one. */
  readonly isMoving?: boolean
}

/** Nine digits, which is what a token has room for. */
export const maxKeyVersion = 999_999_999

/** Bytes of a key of the given purpose. */
export function keyBytes(purpose: KeyPurpose): number {
  if (purpose === 'audit') return auditKeyBytes
  return purpose === 'signing' ? signingSeedBytes : sivKeyBytes
}

/** For messages and associated data: `token/ip/v1`, `audit//v1`. */
export function formatKeyName({ purpose, field, version }: KeyName): string {
  return `${purpose}/${field}/v${version}`
}

/** A fresh random key. */
export function generateKey(name: KeyName, status: KeyStatus): Key {
  const bytes = randomBytes(keyBytes(name.purpose))
  const material = createSecretKey(bytes)
  bytes.fill(0)
  return { ...name, status, material }
}

/** The keys of a vault, unwrapped. Immutable; a change of keys is a new keyset. */
export class Keyset {
  readonly #keys = new Map<string, Key>()
  readonly #primaries = new Map<string, Key>()

  /** @throws TokenvaultError `keyset_invalid` for a repeated version, a second primary, or a key of a wrong length */
  constructor(keys: Iterable<Key>) {
    for (const key of keys) {
      const name = formatKeyName(key)
      if (!Number.isSafeInteger(key.version) || key.version < 1 || key.version > maxKeyVersion)
        throw new TokenvaultError('keyset_invalid', `key ${name}: version is wrong`)
      if (key.material.symmetricKeySize !== keyBytes(key.purpose))
        throw new TokenvaultError('keyset_invalid', `key ${name}: length is wrong`)
      if (this.#keys.has(name)) throw new TokenvaultError('keyset_invalid', `key ${name} stands twice`)
      this.#keys.set(name, key)
      if (key.status !== 'primary') continue
      const place = `${key.purpose}/${key.field}`
      if (this.#primaries.has(place)) throw new TokenvaultError('keyset_invalid', `${place} has two primary keys`)
      this.#primaries.set(place, key)
    }
  }

  /** The key that writes. @throws TokenvaultError `keyset_incomplete` when there is none */
  primary(purpose: KeyPurpose, field: string): Key {
    const key = this.#primaries.get(`${purpose}/${field}`)
    if (key === undefined) throw new TokenvaultError('keyset_incomplete', `no primary key for ${purpose}/${field}`)
    return key
  }

  /** The key that reads what was written under a version, or undefined where none is held or it is disabled. */
  find(name: KeyName): Key | undefined {
    const key = this.#keys.get(formatKeyName(name))
    return key?.status === 'disabled' ? undefined : key
  }

  /** Every token key of the field, not disabled, whose tokens are being replaced. */
  moving(field: string): readonly Key[] {
    return this.usable('token', field).filter(({ isMoving, status }) => isMoving === true && status !== 'primary')
  }

  /** Every key, disabled ones too. */
  all(): readonly Key[] {
    return [...this.#keys.values()]
  }

  /** Every key of the purpose and field that is not disabled, in order of version. */
  usable(purpose: KeyPurpose, field: string): readonly Key[] {
    const keys = [...this.#keys.values()].filter(key => key.purpose === purpose && key.field === field)
    return keys.filter(({ status }) => status !== 'disabled').sort((a, b) => a.version - b.version)
  }
}

/** The AES-SIV primitive under a token, data or quarantine key. */
export function sivOf(key: Key): AesSiv {
  const bytes = key.material.export()
  try {
    return createAesSiv(bytes)
  } finally {
    bytes.fill(0)
  }
}
