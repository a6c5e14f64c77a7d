import { createCipheriv, createDecipheriv, createHash, createPublicKey, verify } from 'node:crypto'

/*
 * A reader of the formats, written from docs/formats.md and the RFCs that it names. It imports nothing of src, so that it
 * finds out whether the page says enough. It is slow and simple, and compares in the open: it is for tests.
 */

const sha256 = (...parts: readonly (Uint8Array | string)[]) =>
  createHash('sha256')
    .update(Buffer.concat(parts.map(part => Buffer.from(part as Uint8Array))))
    .digest()

function aes(key: Uint8Array, block: Uint8Array): Buffer {
  return createCipheriv(`aes-${key.length * 8}-ecb`, key, null)
    .setAutoPadding(false)
    .update(block)
}

function xor(a: Uint8Array, b: Uint8Array): Buffer {
  return Buffer.from(a.map((byte, index) => byte ^ b[index]!))
}

/** Multiplication by x in GF(2^128) (RFC 4493, 2.3; RFC 5297, 2.3). */
function double(block: Uint8Array): Buffer {
  const shifted = (BigInt(`0x${Buffer.from(block).toString('hex')}`) << 1n) & ((1n << 128n) - 1n)
  const reduced = block[0]! & 0x80 ? shifted ^ 0x87n : shifted
  return Buffer.from(reduced.toString(16).padStart(32, '0'), 'hex')
}

function pad(block: Uint8Array): Buffer {
  return Buffer.concat([block, Buffer.of(0x80), Buffer.alloc(15 - block.length)])
}

/** RFC 4493, 2.4. */
export function cmac(key: Uint8Array, message: Uint8Array): Buffer {
  const complete = double(aes(key, Buffer.alloc(16)))
  const count = Math.max(1, Math.ceil(message.length / 16))
  const last = message.subarray((count - 1) * 16)
  const closed = last.length === 16 ? xor(last, complete) : xor(pad(last), double(complete))
  let chain: Buffer = Buffer.alloc(16)
  for (let index = 0; index < count - 1; index++)
    chain = aes(key, xor(chain, message.subarray(index * 16, index * 16 + 16)))
  return aes(key, xor(chain, closed))
}

/** RFC 5297, 2.4. */
function s2v(key: Uint8Array, associatedData: readonly Uint8Array[], plaintext: Uint8Array): Buffer {
  let d = cmac(key, Buffer.alloc(16))
  for (const part of associatedData) d = xor(double(d), cmac(key, part))
  if (plaintext.length < 16) return cmac(key, xor(double(d), pad(plaintext)))
  const end = plaintext.length - 16
  return cmac(key, Buffer.concat([plaintext.subarray(0, end), xor(plaintext.subarray(end), d)]))
}

function ctr(key: Uint8Array, siv: Uint8Array, text: Uint8Array): Buffer {
  const counter = Buffer.from(siv)
  counter[8]! &= 0x7f
  counter[12]! &= 0x7f
  return createCipheriv('aes-256-ctr', key, counter).update(text)
}

/** @returns SIV ‖ ciphertext */
function sivSeal(key: Uint8Array, associatedData: readonly Uint8Array[], plaintext: Uint8Array): Buffer {
  const siv = s2v(key.subarray(0, 32), associatedData, plaintext)
  return Buffer.concat([siv, ctr(key.subarray(32), siv, plaintext)])
}

/** @throws Error for what is not authentic */
function sivOpen(key: Uint8Array, associatedData: readonly Uint8Array[], sealed: Uint8Array): Buffer {
  const plaintext = ctr(key.subarray(32), sealed.subarray(0, 16), sealed.subarray(16))
  if (!sivSeal(key, associatedData, plaintext).equals(sealed)) throw new Error('not authentic')
  return plaintext
}

/** Binding. */
export function bindingOf(label: string, tenant: string, field: string, keyVersion: number): Buffer {
  const parts = [label, tenant, field, String(keyVersion)].map(text => Buffer.from(text))
  return Buffer.concat(
    parts.flatMap(part => {
      const length = Buffer.alloc(4)
      length.writeUInt32BE(part.length)
      return [length, part]
    }),
  )
}

/** Wrapped keys. */
export function wrapAssociatedData(tenant: string, name: string): Buffer {
  return Buffer.from(`tokenvault/key/v1\0${tenant}\0${name}`)
}

export function kekIdOf(kek: Uint8Array): string {
  return `local:${sha256('tokenvault/kek-id/v1', kek).toString('hex').slice(0, 16)}`
}

export function unwrapKey(kek: Uint8Array, wrapped: Uint8Array, tenant: string, name: string): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', kek, wrapped.subarray(0, 12), { authTagLength: 16 })
  decipher.setAAD(wrapAssociatedData(tenant, name)).setAuthTag(wrapped.subarray(-16))
  return Buffer.concat([decipher.update(wrapped.subarray(12, -16)), decipher.final()])
}

/** Tokens. */
export function takeTokenApart(token: string) {
  const [, field, version, letters] = /^([a-z][a-z0-9_]*?)_v([0-9]+)_([A-Za-z0-9_-]{22})$/.exec(token)!
  return { field: field!, keyVersion: Number(version), id: Buffer.from(letters!, 'base64url') }
}

export function makeToken(tokenKey: Uint8Array, tenant: string, field: string, version: number, value: string) {
  const encrypted = sivSeal(tokenKey, [bindingOf('tokenvault/token/v1', tenant, field, version)], Buffer.from(value))
  const id = encrypted.subarray(0, 16)
  return { token: `${field}_v${version}_${id.toString('base64url')}`, id, ciphertext: encrypted.subarray(16) }
}

/** Typed tokens. @returns the token's bytes, the rest, and the SIV that both make up */
export function typedOf(format: 'uuid' | 'inet', siv: Uint8Array) {
  const id = Buffer.from(siv)
  if (format === 'inet') {
    id[0] = 0xfd
    const groups = Array.from({ length: 8 }, (_, at) => id.readUInt16BE(at * 2).toString(16))
    return { id, rest: siv[0]!, token: groups.join(':') }
  }
  id[6] = 0x80 | (id[6]! & 0x0f)
  id[8] = 0x80 | (id[8]! & 0x3f)
  const token = id.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  return { id, rest: (siv[6]! >> 4) * 4 + (siv[8]! >> 6), token }
}

export function sivOfTyped(format: 'uuid' | 'inet', id: Uint8Array, rest: number): Buffer {
  const siv = Buffer.from(id)
  if (format === 'inet') siv[0] = rest
  else {
    siv[6] = ((rest >> 2) << 4) | (siv[6]! & 0x0f)
    siv[8] = ((rest & 3) << 6) | (siv[8]! & 0x3f)
  }
  return siv
}

/** Originals: the seal of the data key, and under it AES-SIV with the token id as its SIV. */
export function openOriginal(
  keys: { token: Uint8Array; tokenKeyVersion: number; data: Uint8Array; dataKeyVersion: number },
  { tenant, field, id, siv = id }: { tenant: string; field: string; id: Uint8Array; siv?: Uint8Array },
  sealed: Uint8Array,
): { ciphertext: Buffer; value: string } {
  const dataBinding = bindingOf('tokenvault/original/v1', tenant, field, keys.dataKeyVersion)
  const ciphertext = sivOpen(keys.data, [dataBinding, id], sealed)
  const tokenBinding = bindingOf('tokenvault/token/v1', tenant, field, keys.tokenKeyVersion)
  return { ciphertext, value: sivOpen(keys.token, [tokenBinding], Buffer.concat([siv, ciphertext])).toString('utf8') }
}

/** Quarantined bodies. */
export function openSealed(
  key: Uint8Array,
  place: { label: string; tenant: string; field: string; keyVersion: number; id: Uint8Array },
  sealed: Uint8Array,
): string {
  const binding = bindingOf(place.label, place.tenant, place.field, place.keyVersion)
  return sivOpen(key, [binding, place.id], sealed).toString('utf8')
}

/** First identities. */
export function openMark(quarantineKey: Uint8Array, tenant: string, mark: string, body: string): string {
  const [, version, text] = /^v([0-9]+)_(.*)$/.exec(mark)!
  const id = sha256(body).subarray(0, 16)
  const place = { label: 'tokenvault/origin/v1', tenant, field: '', keyVersion: Number(version), id }
  return openSealed(quarantineKey, place, Buffer.from(text!, 'base64url'))
}

/** Digests of tokens. */
export function digestOf(auditKey: Uint8Array, token: string): string {
  return cmac(auditKey, Buffer.from(token)).toString('base64url')
}

export function jwtDigestOf(auditKey: Uint8Array, jti: string): string {
  return digestOf(auditKey, `tokenvault jwt v1 ${sha256(jti).toString('hex')}`)
}

/** Events and the tree. */
export const leafHash = (event: Uint8Array | string) => sha256(Buffer.of(0), event)
export const node = (left: Uint8Array, right: Uint8Array) => sha256(Buffer.of(1), left, right)

/** Verifier keys and the signatures of notes and receipts. */
export function isSigned(verifierKey: string, text: string, signature: string): boolean {
  const [logName, keyId, ...rest] = verifierKey.split('+')
  const typed = Buffer.from(rest.join('+'), 'base64')
  if (typed[0] !== 1 || sha256(`${logName}\n`, typed).subarray(0, 4).toString('hex') !== keyId) return false
  const bytes = Buffer.from(signature, 'base64')
  const x = typed.subarray(1).toString('base64url')
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
  return bytes.subarray(0, 4).toString('hex') === keyId && verify(null, Buffer.from(text), key, bytes.subarray(4))
}

export function receiptText(receipt: { log: string; sequence: number; leafHash: string }): string {
  return `tokenvault receipt v1\n${receipt.log}\n${receipt.sequence}\n${receipt.leafHash}\n`
}
