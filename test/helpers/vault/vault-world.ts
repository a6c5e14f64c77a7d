import { createOpenAction } from '../../../src/vault/admission/open-action.ts'
import type { Action, ActionLog, Admission, AuditEvent, Principal } from '../../../src/vault/admission/ports.ts'
import { createFieldSchema, type FieldSchema } from '../../../src/vault/fields/fields.ts'
import { parsePolicyFile } from '../../../src/vault/files/policy-file.ts'
import { FieldKeys } from '../../../src/vault/keys/field-keys.ts'
import { generateKey, type Key, type KeyName, Keyset } from '../../../src/vault/keys/keyset.ts'
import type { KeyWriter, WrappedKey } from '../../../src/vault/keys/ports.ts'
import type { Policy } from '../../../src/vault/policy/policy.ts'
import { createCrosswalk } from '../../../src/vault/tokens/crosswalk.ts'
import { createDetokenize } from '../../../src/vault/tokens/detokenize.ts'
import type {
  FieldOriginals,
  InsertedOriginals,
  OriginalReader,
  OriginalWriter,
  SealedOriginal,
  TokenId,
  TokenizedValue,
} from '../../../src/vault/tokens/ports.ts'
import { createPreviewDetokenize } from '../../../src/vault/tokens/preview.ts'
import { createTokenize } from '../../../src/vault/tokens/tokenize.ts'
import { createTokenizer } from '../../../src/vault/tokens/tokenizer.ts'

/** The login fields, and `email`, which the vault holds and no role permits. */
export const threeFields = createFieldSchema([
  { name: 'ip', rule: 'ip.v1', column: 'masked_ip' },
  { name: 'device_id', rule: 'device_id.v1', column: 'masked_device_id' },
  { name: 'email', rule: 'device_id.v1', column: 'masked_email' },
])

export const investigator: Principal = {
  ...{ issuer: 'https://issuer.test', subject: 'inv-1', roles: ['investigator'], channel: 'http' },
}

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

/** Originals in a Map; `asked` is every id that anybody looked up, `told` what became of each insert. */
export class MapOriginals implements OriginalReader, OriginalWriter, FieldOriginals {
  readonly rows = new Map<TokenId, SealedOriginal>()
  readonly asked: TokenId[] = []
  readonly told: ('inserted' | 'committed' | 'abandoned')[] = []

  async insert(originals: readonly SealedOriginal[]): Promise<InsertedOriginals> {
    this.told.push('inserted')
    return {
      commit: async () => {
        this.told.push('committed')
        for (const original of originals)
          if (!this.rows.has(original.tokenId)) this.rows.set(original.tokenId, original)
      },
      abandon: async () => {
        this.told.push('abandoned')
      },
    }
  }

  async findOriginals(tokenIds: readonly TokenId[]) {
    this.asked.push(...tokenIds)
    return new Map(tokenIds.flatMap(id => (this.rows.has(id) ? [[id, this.rows.get(id)!] as const] : [])))
  }

  async readRetired() {
    return new Set<string>()
  }

  async listOriginals(...[field, { before = 'g', limit }]: Parameters<FieldOriginals['listOriginals']>) {
    const found = [...this.rows].filter(([id, original]) => original.field === field && id < before)
    return found
      .sort(([a], [b]) => (a < b ? 1 : -1))
      .slice(0, limit)
      .map(([, original]) => original)
  }
}

/** Roles that many tests speak of: investigators reveal everything but `email`, without budget or approval. */
export const worldPolicy = parsePolicy(`
version: 1
roles:
  investigator: { reveal: { "*": full, email: none }, tokenize: [ip, device_id], purposes: ["*"] }
  analyst: {}
  auditor: { audit: true }
  operator: { quarantine: true }
`)

/** A policy over the three fields. */
export function parsePolicy(text: string): Policy {
  return parsePolicyFile(text, { source: 'policy.yaml', fields: threeFields })
}

/** Keeps events. Admits as it is told to; `commit` may be replaced to fail. */
export class ListAudit implements ActionLog {
  readonly events: AuditEvent[] = []
  readonly actions: Action[] = []
  admission: Admission = { allowed: true }
  commit: ActionLog['commit'] = async action => {
    this.actions.push(action)
    const { admission } = this
    const { admitted, refused } = action.events
    const approval = admission.allowed && admission.approvalId ? { approval: admission.approvalId } : {}
    const event = admission.allowed ? { ...admitted, ...approval } : { ...refused, code: admission.code }
    const sequence = this.events.push(event) - 1
    return { admission, sequence, leafHash: new Uint8Array(32).fill(sequence) }
  }
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
  shared: {
    originals?: MapOriginals
    tenant?: string
    policy?: Policy | (() => Policy)
    /** Of the names of the three; those, unless a test says how their tokens are spelled. */
    fields?: FieldSchema
  } = {},
) {
  const fieldKeys = new FieldKeys(new Keyset(keys), shared.tenant ?? 'default')
  const originals = shared.originals ?? new MapOriginals()
  const audit = new ListAudit()
  const now = new Date('2026-01-02T03:04:05.678Z')
  const { policy: given = worldPolicy, fields = threeFields } = shared
  const policy = typeof given === 'function' ? given : () => given
  const log: ActionLog = { commit: action => audit.commit(action) }
  const openAction = createOpenAction({ log, keys: fieldKeys, now: () => now, policy })
  const signer = fieldKeys.signer('tokenvault/test')
  const tokenizer = createTokenizer(fieldKeys, fields)
  return {
    fieldKeys,
    originals,
    audit,
    signer,
    tokenizer,
    tokenize: createTokenize({
      ...{ fields, keys: fieldKeys, signer, openAction },
      storing: { tokenizer, writer: originals },
    }),
    detokenize: createDetokenize({ fields, keys: fieldKeys, originals, signer, openAction }),
    previewDetokenize: createPreviewDetokenize({ fields, keys: fieldKeys, originals, signer, openAction }),
    crosswalk: createCrosswalk({ fields, keys: fieldKeys, originals, signer, openAction }),
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
