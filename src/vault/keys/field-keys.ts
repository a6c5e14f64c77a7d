import { firstIdentityLabel, originalLabel, quarantineLabel, Sealer } from '../../crypto/seal.ts'
import { TokenKey } from '../../crypto/token.ts'
import { TokenDigest } from '../../crypto/token-digest.ts'
import { TokenvaultError } from '../../errors.ts'
import { createNoteSigner, type NoteSigner } from '../../tlog/signed-note.ts'
import { type KeyPurpose, type Keyset, sivOf } from './keyset.ts'

/** What the keys of one keyset can do, each made once: key schedules and bindings cost more than a value does. */
export class FieldKeys {
  readonly #keyset: Keyset
  readonly #tenant: string
  readonly #tokenKeys = new Map<string, TokenKey>()
  readonly #sealers = new Map<string, Sealer>()
  readonly #firstIdentitySealers = new Map<string, Sealer>()
  /** By which events are written. */
  readonly digest: TokenDigest
  /** By all of which events of the past may name a token. */
  readonly digests: readonly TokenDigest[]

  /** @throws TokenvaultError `keyset_incomplete` without an audit key */
  constructor(keyset: Keyset, tenant: string) {
    this.#keyset = keyset
    this.#tenant = tenant
    this.digest = new TokenDigest(keyset.primary('audit', '').material.export())
    this.digests = keyset.usable('audit', '').map(({ material }) => new TokenDigest(material.export()))
  }

  /** The version that new tokens, or new sealed values, of the field are made under. @throws `keyset_incomplete` */
  primaryVersion(purpose: KeyPurpose, field: string): number {
    return this.#keyset.primary(purpose, field).version
  }

  /** @returns undefined where no usable token key of the version is held */
  tokenKey(field: string, keyVersion: number): TokenKey | undefined {
    return this.#cached(this.#tokenKeys, 'token', field, keyVersion, key => {
      return new TokenKey(key, { tenant: this.#tenant, field, keyVersion })
    })
  }

  /** Every version of the field's token key that is held, oldest first. */
  tokenKeys(field: string): readonly TokenKey[] {
    return this.#keyset.usable('token', field).map(({ version }) => this.tokenKey(field, version)!)
  }

  /** @param purpose `data` with a field, or `quarantine` with '' @returns undefined where no such key is held */
  sealer(purpose: 'data' | 'quarantine', field: string, keyVersion: number): Sealer | undefined {
    const label = purpose === 'data' ? originalLabel : quarantineLabel
    return this.#cached(this.#sealers, purpose, field, keyVersion, key => {
      return new Sealer(key, { label, tenant: this.#tenant, field, keyVersion })
    })
  }

  /** Seals first identities of messages, under the quarantine key of the version. @returns undefined where no such key is held */
  firstIdentitySealer(keyVersion: number): Sealer | undefined {
    return this.#cached(this.#firstIdentitySealers, 'quarantine', '', keyVersion, key => {
      return new Sealer(key, { label: firstIdentityLabel, tenant: this.#tenant, field: '', keyVersion })
    })
  }

  /**
   * Signs checkpoints and receipts.
   *
   * @param logName identity of the log
   * @throws TokenvaultError `keyset_incomplete` without a signing key, `config_invalid` for a log name with spaces or a plus
   */
  signer(logName: string): NoteSigner {
    const seed = this.#signingSeed()
    try {
      return createNoteSigner(logName, seed)
    } finally {
      seed.fill(0)
    }
  }

  #signingSeed(): Buffer {
    try {
      return this.#keyset.primary('signing', '').material.export()
    } catch (cause) {
      // Earlier vaults have none, and the catalogue's remedy would send their operators to a backup.
      throw new TokenvaultError('keyset_incomplete', 'no signing key: `tokenvault migrate` of this release makes it', {
        cause,
      })
    }
  }

  #cached<T>(
    cache: Map<string, T>,
    purpose: KeyPurpose,
    field: string,
    version: number,
    make: (key: ReturnType<typeof sivOf>) => T,
  ): T | undefined {
    const name = `${purpose}/${field}/${version}`
    const known = cache.get(name)
    if (known !== undefined) return known
    const key = this.#keyset.find({ purpose, field, version })
    if (key === undefined) return undefined
    const made = make(sivOf(key))
    cache.set(name, made)
    return made
  }
}
