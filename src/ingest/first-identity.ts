import { createHash } from 'node:crypto'
import { decodeBase64url, encodeBase64url } from '../crypto/base64url.ts'
import { packBytes, packText, unpackText } from '../crypto/byte-column.ts'
import type { FieldKeys } from '../vault/keys/field-keys.ts'
import { maxKeyVersion } from '../vault/keys/keyset.ts'
import type { FirstIdentitySeal } from './ports.ts'

/**
 * Delivery records are kept for 30 days (ingest.drop_expired_delivery_records), and none is made for a day before that. Two days less
 * leave room for clocks.
 */
const longestAgeMs = 28 * 24 * 3600 * 1000
const clockSkewMs = 24 * 3600 * 1000

const markShape = /^v([1-9][0-9]{0,8})_([A-Za-z0-9_-]{30,500})$/
const identityShape = /^([1-9][0-9]{0,15}) (.{1,100})$/

/** Seals under the quarantine key, with a label that nothing else has. */
export function createFirstIdentitySeal(keys: FieldKeys): FirstIdentitySeal {
  return {
    seal({ messageId, sentAtMs }, body) {
      const version = keys.primaryVersion('quarantine', '')
      const sealed = keys.firstIdentitySealer(version)!.seal(packText([`${sentAtMs} ${messageId}`]), [digestOf(body)])
      return `v${version}_${encodeBase64url(sealed)[0]}`
    },

    open(mark, body, nowMs) {
      const [, version, text] = markShape.exec(mark) ?? []
      const sealed = text === undefined ? undefined : decodeBase64url(text)
      if (sealed === undefined || Number(version) > maxKeyVersion) return undefined
      const opened = keys.firstIdentitySealer(Number(version))?.open(packBytes([sealed]), [digestOf(body)])
      if (opened?.authentic[0] !== 1) return undefined
      const [, sentAt, messageId] = identityShape.exec(unpackText(opened.plaintexts)[0]!) ?? []
      if (messageId === undefined) return undefined
      const sentAtMs = Number(sentAt)
      const isUsable = sentAtMs >= nowMs - longestAgeMs && sentAtMs <= nowMs + clockSkewMs
      return isUsable ? { messageId, sentAtMs } : undefined
    },
  }
}

/** 128 bits of SHA-256, in hexadecimal digits as seals take an identity. */
function digestOf(body: string): string {
  return createHash('sha256').update(body, 'utf8').digest('hex').slice(0, 32)
}
