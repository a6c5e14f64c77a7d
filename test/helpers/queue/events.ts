import { createTokenizeMessages } from '../../../src/ingest/batch/tokenize-messages.ts'
import type { ReceivedMessage } from '../../../src/ingest/ports.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { FieldKeys } from '../../../src/vault/keys/field-keys.ts'
import { generateKey, Keyset } from '../../../src/vault/keys/keyset.ts'
import { createSealQuarantined } from '../../../src/vault/quarantine/sealed-bodies.ts'
import { createTokenizer } from '../../../src/vault/tokens/tokenizer.ts'

/** A valid event; `n` makes it one of its own. */
export function loginEvent(n: number, changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    user_id: `user-${n}`,
    app_version: '2.3.0',
    device_type: 'android',
    ip: `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`,
    locale: n % 3 === 0 ? null : 'PT',
    device_id: `593-47-${n}`,
    ...changes,
  }
}

/** Bodies of `count` valid events. */
export function loginBodies(count: number): string[] {
  return Array.from({ length: count }, (_, n) => JSON.stringify(loginEvent(n)))
}

/** A delivery as the queue would give it. */
export function received(messageId: string, body: string, changes: Partial<ReceivedMessage> = {}): ReceivedMessage {
  return {
    messageId,
    body,
    receiptHandle: `handle-${messageId}`,
    sentAtMs: Date.UTC(2026, 1, 28, 23, 59, 59, 999),
    receiveCount: 1,
    receivedAtMs: performance.now(),
    ...changes,
  }
}

/** What the worker takes of a vault, under fresh keys. */
export function freshVault() {
  const names = [...loginFields.keys()].flatMap(field => [
    { purpose: 'token', field, version: 1 } as const,
    { purpose: 'data', field, version: 1 } as const,
  ])
  const vault = [
    { purpose: 'quarantine', field: '', version: 1 },
    { purpose: 'audit', field: '', version: 1 },
  ] as const
  const keyset = new Keyset([...names, ...vault].map(name => generateKey(name, 'primary')))
  const keys = new FieldKeys(keyset, 'default')
  const tokenizer = createTokenizer(keys, loginFields)
  const sealQuarantined = createSealQuarantined(keys)
  return { tokenizer, sealQuarantined, tokenizeMessages: createTokenizeMessages(tokenizer, sealQuarantined) }
}

/**
 * Twelve kinds of what is no event. Each holds `canary-…` where it holds text, so that a leak is found by one search.
 */
export const poison: readonly { readonly body: string; readonly reason: string }[] = [
  { body: '{"user_id": "canary-cut', reason: 'json_invalid' },
  { body: 'canary-no-json', reason: 'json_invalid' },
  { body: '"canary-text"', reason: 'event_not_object' },
  { body: '[]', reason: 'array_empty' },
  { body: '{"foo": "canary-wrong-type"}', reason: 'user_id_missing' },
  { body: JSON.stringify(loginEvent(1, { user_id: `canary-${'x'.repeat(128)}` })), reason: 'user_id_too_long' },
  { body: JSON.stringify(loginEvent(1, { user_id: 'canary-\0' })), reason: 'user_id_invalid' },
  { body: JSON.stringify(loginEvent(1, { ip: 'canary-999.1.1.1' })), reason: 'ip_invalid' },
  { body: JSON.stringify(loginEvent(1, { device_id: `canary-${'d'.repeat(200)}` })), reason: 'device_id_too_long' },
  {
    body: JSON.stringify(loginEvent(1)).replace('{', '{"user_id": "canary-first", '),
    reason: 'name_repeated',
  },
  {
    body: JSON.stringify(loginEvent(1, { device_id: `device_id_v1_canary-${'A'.repeat(15)}` })),
    reason: 'value_is_token',
  },
  { body: `${'['.repeat(20_000)}"canary-deep"${']'.repeat(20_000)}`, reason: 'layers_too_many' },
]
