import type { LoginRow, TokenizedMessage } from '../../../src/ingest/ports.ts'
import type { SealQuarantined } from '../../../src/vault/quarantine/sealed-bodies.ts'
import type { TokenizedValue } from '../../../src/vault/tokens/ports.ts'
import type { Tokenizer } from '../../../src/vault/tokens/tokenizer.ts'

/** UTC day, `offset` days from today, YYYY-MM-DD. */
export function day(offset = 0): string {
  return new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10)
}

/** A login of an address and a device that are chosen by number, so that tests decide what overlaps. */
export function loginRow(tokenizer: Tokenizer, n: number, changes: Partial<LoginRow> = {}): LoginRow {
  const token = (field: string, value: string) => tokenizer.tokenizeValues(field, [value])[0] as TokenizedValue
  return {
    userId: `user-${n}`,
    deviceType: 'android',
    locale: n % 3 === 0 ? null : 'PT',
    appVersion: 2,
    createDate: day(),
    tokens: [token('ip', `10.0.${n >> 8}.${n & 255}`), token('device_id', `593-47-${n}`)],
    ...changes,
  }
}

/** A message that held one login. */
export function messageOf(messageId: string, row: LoginRow, changes: Partial<TokenizedMessage> = {}): TokenizedMessage {
  return { messageId, sentOn: row.createDate, rows: [row], quarantined: [], ...changes }
}

/** A message that held no event. */
export function quarantinedMessage(sealQuarantined: SealQuarantined, messageId: string): TokenizedMessage {
  const [sealed] = sealQuarantined(['no event'])
  return { messageId, sentOn: day(), rows: [], quarantined: [{ ...sealed!, eventIndex: 0, reason: 'json_invalid' }] }
}
