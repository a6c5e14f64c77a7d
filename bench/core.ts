import { randomBytes } from 'node:crypto'
import { aessiv } from '@noble/ciphers/aes.js'
import { createAesSiv } from '../src/crypto/aes-siv.ts'
import { encodeBinding } from '../src/crypto/associated-data.ts'
import { packText, valueAt } from '../src/crypto/byte-column.ts'
import { originalLabel, Sealer } from '../src/crypto/seal.ts'
import { TokenKey, tokenLabel } from '../src/crypto/token.ts'
import { textSpelling } from '../src/crypto/typed-token.ts'
import { measureRates } from './measure.ts'

const batchSize = 1000

/**
 * Value text in, token text out; then the same with the original sealed under the data key, as the worker does it. Values a second: whole
 * batches, one value a call, and @noble/ciphers one by one.
 */
export function benchCore(): Record<string, number> {
  const [tokenBytes, dataBytes] = [randomBytes(64), randomBytes(64)]
  const binding = { tenant: 'default', field: 'ip', keyVersion: 1 }
  const tokenKey = new TokenKey(createAesSiv(tokenBytes), binding)
  const sealer = new Sealer(createAesSiv(dataBytes), { label: originalLabel, ...binding })
  const tokenBinding = encodeBinding({ label: tokenLabel, ...binding })
  const dataBinding = encodeBinding({ label: originalLabel, ...binding })
  const values = Array.from(
    { length: batchSize },
    (_, index) => `203.${index >> 8}.${index & 255}.${(index * 7) & 255}`,
  )
  const store = (values: readonly string[]) => {
    const { tokens, ids, ciphertexts } = tokenKey.tokenize(packText(values), textSpelling)
    return { tokens, sealed: sealer.seal(ciphertexts, ids) }
  }
  const encrypted = (value: string) => Buffer.from(aessiv(tokenBytes, tokenBinding).encrypt(Buffer.from(value, 'utf8')))
  const nobleToken = (value: string) => `ip_v1_${encrypted(value).toString('base64url', 0, 16)}`
  const nobleStored = (value: string) => {
    const whole = encrypted(value)
    const sealed = aessiv(dataBytes, dataBinding, whole.subarray(0, 16)).encrypt(whole.subarray(16))
    return { token: `ip_v1_${whole.toString('base64url', 0, 16)}`, sealed }
  }

  const mine = store(values)
  for (const [index, value] of values.entries()) {
    const { token, sealed } = nobleStored(value)
    const isEqual = token === mine.tokens[index] && Buffer.from(sealed).equals(valueAt(mine.sealed, index))
    if (!isEqual || nobleToken(value) !== token) throw new Error('the two disagree')
  }

  const tokens = (values: readonly string[]) => tokenKey.tokensOf(packText(values), textSpelling)
  const { batch, single, noble } = measureRates(batchSize, {
    batch: () => tokens(values),
    single: () => values.map(value => tokens([value])),
    noble: () => values.map(nobleToken),
  })
  const sealed = measureRates(batchSize, {
    batch: () => store(values),
    single: () => values.map(value => store([value])),
    noble: () => values.map(nobleStored),
  })
  return {
    batch,
    single,
    noble,
    ratioToNoble: batch / noble,
    sealedBatch: sealed.batch,
    sealedSingle: sealed.single,
    sealedNoble: sealed.noble,
    sealedRatioToNoble: sealed.batch / sealed.noble,
  }
}
