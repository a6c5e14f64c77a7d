import { randomBytes } from 'node:crypto'
import { aessiv } from '@noble/ciphers/aes.js'
import { createAesSiv } from '../src/crypto/aes-siv.ts'
import { encodeBinding } from '../src/crypto/associated-data.ts'
import { packText } from '../src/crypto/byte-column.ts'
import { TokenMint, tokenLabel } from '../src/crypto/token.ts'
import { measureRates } from './measure.ts'

const batchSize = 1000

/** Tokens a second, value text in and token text out: whole batches, one value a call, and @noble/ciphers. */
export function benchCore(): { batch: number; single: number; noble: number; ratioToNoble: number } {
  const key = randomBytes(64)
  const binding = { tenant: 'default', field: 'ip', keyVersion: 1 }
  const mint = new TokenMint(createAesSiv(key), binding)
  const associatedData = encodeBinding({ label: tokenLabel, ...binding })
  const values = Array.from(
    { length: batchSize },
    (_, index) => `203.${index >> 8}.${index & 255}.${(index * 7) & 255}`,
  )
  const nobleToken = (value: string) =>
    `ip_v1_${Buffer.from(aessiv(key, associatedData).encrypt(Buffer.from(value, 'utf8'))).toString('base64url')}`

  const mine = mint.mint(packText(values)).tokens
  if (values.some((value, index) => nobleToken(value) !== mine[index])) throw new Error('the two disagree')

  const { batch, single, noble } = measureRates(batchSize, {
    batch: () => mint.mint(packText(values)).tokens,
    single: () => values.map(value => mint.mint(packText([value])).tokens[0]),
    noble: () => values.map(nobleToken),
  })
  return { batch, single, noble, ratioToNoble: batch / noble }
}
