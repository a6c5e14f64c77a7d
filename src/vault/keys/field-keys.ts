import type { KeyObject } from 'node:crypto'
import { aliasLabel, firstIdentityLabel, originalLabel, quarantineLabel, Sealer } from '../../crypto/seal.ts'
import { TokenKey } from '../../crypto/token.ts'
import { TokenDigest } from '../../crypto/token-digest.ts'
import { TokenvaultError } from '../../errors.ts'
import { createNoteSigner, type NoteSigner } from '../../tlog/signed-note.ts'
import { formatKeyName, type KeyPurpose, type Keyset, sivOf } from './keyset.ts'

/**
 * What the keys of a vault can do, each made once: key schedules and bindings cost more than a value does. Keys rotate while a
 * process runs, so what is made of one is asked for again at each call, and never kept by the caller.
 */
export class FieldKeys {
  #keyset: Keyset
  readonly #tenant: string
  readonly #tokenKeys = new Map<string, Made<TokenKey>>()
  readonly #sealers = new Map<string, Made<Sealer>>()
  readonly #firstIdentitySealers = new Map<string, Made<Sealer>>()
  readonly #signers = new Map<string, Made<NoteSigner>>()
  readonly #aliasSealers = new Map<string, Made<Sealer>>()
  #digest: TokenDigest
  #digests: readonly TokenDigest[]

  /** @throws TokenvaultError `keyset_incomplete` without an audit key */
  constructor(keyset: Keyset, tenant: string) {
    this.#keyset = keyset
    this.#tenant = tenant
    ;[this.#digest, this.#digests] = digestsOf(keyset)
  }

  /**
   * Takes another keyset in place of the one so far: what was added can be used, what was disabled is used no more, and what was
   * destroyed leaves the memory of the process.
   *
   * @throws TokenvaultError `keyset_incomplete` without an audit key; then everything stays as it was
   */
  replace(keyset: Keyset): void {
    ;[this.#digest, this.#digests] = digestsOf(keyset)
    this.#keyset = keyset
    const held = keyset.all().map(({ material }) => material)
    const caches = [
      ...[this.#tokenKeys, this.#sealers, this.#firstIdentitySealers],
      ...[this.#signers, this.#aliasSealers],
    ]
    for (const cache of caches)
      for (const [name, { material }] of cache) if (!held.some(key => key.equals(material))) cache.delete(name)
  }

  /** By which events are written. */
  get digest(): TokenDigest {
    return this.#digest
  }

  /** By all of which events of the past may name a token. */
  get digests(): readonly TokenDigest[] {
    return this.#digests
  }

  /** The version that new tokens, or new sealed values, of the field are made under. @throws `keyset_incomplete` */
  primaryVersion(purpose: KeyPurpose, field: string): number {
    return this.#keyset.primary(purpose, field).version
  }

  /** Whether new tokens, or new sealed values, of the field are made under the version. */
  isPrimary(purpose: KeyPurpose, field: string, version: number): boolean {
    return this.#keyset.find({ purpose, field, version })?.status === 'primary'
  }

  /** @returns undefined where no usable token key of the version is held */
  tokenKey(field: string, keyVersion: number): TokenKey | undefined {
    return this.#cached(this.#tokenKeys, 'token', field, keyVersion, key => {
      return new TokenKey(key, { tenant: this.#tenant, field, keyVersion })
    })
  }

  /** The versions other than the primary one whose tokens can be made, the newest first: with them earlier values are found. */
  otherTokenKeys(field: string): readonly { readonly version: number; readonly tokenKey: TokenKey }[] {
    const others = this.#keyset.usable('token', field).filter(({ status }) => status !== 'primary')
    return others.map(({ version }) => ({ version, tokenKey: this.tokenKey(field, version)! })).reverse()
  }

  /** Every version of the field's token key that is held, oldest first. */
  tokenKeys(field: string): readonly TokenKey[] {
    return this.#keyset.usable('token', field).map(({ version }) => this.tokenKey(field, version)!)
  }

  /** Token keys of the field whose tokens are being replaced, oldest first. */
  movingTokenKeys(field: string): readonly { readonly version: number; readonly tokenKey: TokenKey }[] {
    return this.#keyset.moving(field).map(({ version }) => ({ version, tokenKey: this.tokenKey(field, version)! }))
  }

  /** Seals ids of earlier tokens, each bound to the token of the version that took over. @returns undefined where no such key is held */
  aliasSealer(field: string, keyVersion: number): Sealer | undefined {
    return this.#cached(this.#aliasSealers, 'token', field, keyVersion, key => {
      return new Sealer(key, { label: aliasLabel, tenant: this.#tenant, field, keyVersion })
    })
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
    return this.signerOf(logName, this.#signingVersion())!
  }

  /**
   * The signing key of a version, also a disabled one: what was committed while it signed may wait for its receipt yet.
   *
   * @returns undefined where it is not held
   */
  signerOf(logName: string, version: number): NoteSigner | undefined {
    const name = formatKeyName({ purpose: 'signing', field: '', version })
    const material = this.#keyset.all().find(key => formatKeyName(key) === name)?.material
    if (material === undefined) return undefined
    const known = this.#signers.get(`${version} ${logName}`)
    if (known?.material.equals(material)) return known.made
    const seed = material.export()
    try {
      const made = createNoteSigner(logName, seed)
      this.#signers.set(`${version} ${logName}`, { material, made })
      return made
    } finally {
      seed.fill(0)
    }
  }

  /** Every signing key that is held. */
  signers(logName: string): readonly NoteSigner[] {
    const versions = this.#keyset.all().flatMap(({ purpose, version }) => (purpose === 'signing' ? [version] : []))
    return versions.map(version => this.signerOf(logName, version)!)
  }

  #signingVersion(): number {
    try {
      return this.#keyset.primary('signing', '').version
    } catch (cause) {
      // Earlier vaults have none, and the catalogue's remedy would send their operators to a backup.
      throw new TokenvaultError('keyset_incomplete', 'no signing key: `tokenvault migrate` of this release makes it', {
        cause,
      })
    }
  }

  #cached<T>(
    cache: Map<string, Made<T>>,
    purpose: KeyPurpose,
    field: string,
    version: number,
    make: (key: ReturnType<typeof sivOf>) => T,
  ): T | undefined {
    const key = this.#keyset.find({ purpose, field, version })
    if (key === undefined) return undefined
    const name = `${field}/${version}`
    const known = cache.get(name)
    // The same key may come again with another status; what was made of another one is of no use.
    if (known?.material.equals(key.material)) return known.made
    const made = make(sivOf(key))
    cache.set(name, { material: key.material, made })
    return made
  }
}

/** What was made of a key. */
interface Made<T> {
  readonly material: KeyObject
  readonly made: T
}

function digestsOf(keyset: Keyset): [TokenDigest, readonly TokenDigest[]] {
  const digests = new Map(keyset.usable('audit', '').map(key => [key.version, new TokenDigest(key.material.export())]))
  return [digests.get(keyset.primary('audit', '').version)!, [...digests.values()]]
}
