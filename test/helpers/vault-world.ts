import { generateKey, type Key, type KeyName, Keyset } from '../../src/crypto/keyset.ts'
import { createRecordAct } from '../../src/vault/audit.ts'
import { createDetokenize } from '../../src/vault/detokenize.ts'
import { FieldKeys } from '../../src/vault/field-keys.ts'
import { createFieldSchema } from '../../src/vault/fields.ts'
import { permittedFields } from '../../src/vault/policy.ts'
import type {
  AuditEvent,
  AuditLog,
  KeyWriter,
  OriginalReader,
  Principal,
  SealedOriginal,
  TokenId,
  TokenizedValue,
  WrappedKey,
} from '../../src/vault/ports.ts'
import { createTokenize } from '../../src/vault/tokenize.ts'
import { createTokenizer } from '../../src/vault/tokenizer.ts'

/** The login fields, and `email`, which the vault holds and no role permits. */
export const threeFields = createFieldSchema([
  { name: 'ip', rule: 'ip.v1', column: 'masked_ip' },
  { name: 'device_id', rule: 'device_id.v1', column: 'masked_device_id' },
  { name: 'email', rule: 'device_id.v1', column: 'masked_email' },
])

export const investigator: Principal = { issuer: 'https://issuer.test', subject: 'inv-1', roles: ['investigator'] }

/** Version 1 of every key that the three fields need, all of them primary. */
export function freshKeys(): Key[] {
  const names: KeyName[] = [
    ...[...threeFields.keys()].flatMap(field => [
      { purpose: 'token', field, version: 1 } as const,
      { purpose: 'data', field, version: 1 } as const,
    ]),
    { purpose: 'quarantine', field: '', version: 1 },
    { purpose: 'audit', field: '', version: 1 },
    { purpose: 'signing', field: '', version: 1 },
  ]
  return names.map(name => generateKey(name, 'primary'))
}

/** The same keys, with the status of some changed. */
export function withStatus(keys: readonly Key[], change: (key: Key) => Key['status']): Key[] {
  return keys.map(key => ({ ...key, status: change(key) }))
}

/** Originals in a Map; `asked` is every id that anybody looked up. */
export class MapOriginals implements OriginalReader {
  readonly rows = new Map<TokenId, SealedOriginal>()
  readonly asked: TokenId[] = []

  async findOriginals(tokenIds: readonly TokenId[]) {
    this.asked.push(...tokenIds)
    return new Map(tokenIds.flatMap(id => (this.rows.has(id) ? [[id, this.rows.get(id)!] as const] : [])))
  }
}

/** A policy under which nobody is permitted `email`. */
const permit: typeof permittedFields = (...asked) =>
  new Set([...permittedFields(...asked)].filter(field => field !== 'email'))

/** Keeps events; `append` may be replaced to fail. */
export class ListAudit implements AuditLog {
  readonly events: AuditEvent[] = []
  append: AuditLog['append'] = async event => ({ sequence: this.events.push(event) })
}

/** Wrapped keys as the port asks: a key that is there is never replaced. */
export class MapKeys implements KeyWriter {
  readonly stored = new Map<string, WrappedKey>()

  async readKeys() {
    return [...this.stored.values()]
  }

  /** Fields that have originals; a test that loses keys says so here. */
  readonly used = new Set<string>()

  async hasContent(field?: string) {
    return field === undefined ? this.used.size > 0 : this.used.has(field)
  }

  /** Whether a checkpoint is stored. */
  hasSigned = false

  async hasCheckpoints() {
    return this.hasSigned
  }

  async insertKeys(keys: readonly WrappedKey[]) {
    for (const key of keys) {
      const name = `${key.purpose}/${key.field}/${key.version}`
      if (!this.stored.has(name)) this.stored.set(name, key)
    }
  }
}

/** The domain's verbs on real keys, with both ports in memory. */
export function createWorld(
  keys: readonly Key[] = freshKeys(),
  shared: { originals?: MapOriginals; tenant?: string } = {},
) {
  const fieldKeys = new FieldKeys(new Keyset(keys), shared.tenant ?? 'default')
  const originals = shared.originals ?? new MapOriginals()
  const audit = new ListAudit()
  const now = new Date('2026-01-02T03:04:05.678Z')
  const recordAct = createRecordAct({ append: event => audit.append(event) }, fieldKeys, () => now)
  const tokenizer = createTokenizer(fieldKeys, threeFields)
  return {
    fieldKeys,
    originals,
    audit,
    tokenizer,
    tokenize: createTokenize({ fields: threeFields, keys: fieldKeys, recordAct, permit }),
    detokenize: createDetokenize({ fields: threeFields, keys: fieldKeys, originals, recordAct, permit }),
    /** Tokenizes values and stores their originals; returns the tokens. */
    store(field: string, values: readonly string[]): string[] {
      return tokenizer.tokenizeValues(field, values).map(result => {
        if (!('token' in result)) throw new Error(`a test value was refused: ${result.code}`)
        originals.rows.set(result.original.tokenId, result.original)
        return result.token
      })
    },
  }
}

export function tokenized(result: TokenizedValue | { readonly code: string } | undefined): TokenizedValue {
  if (result === undefined || !('token' in result)) throw new Error('the value got no token')
  return result
}
