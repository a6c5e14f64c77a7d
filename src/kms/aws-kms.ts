import { createSecretKey, type KeyObject } from 'node:crypto'
import { DecryptCommand, GenerateDataKeyCommand, KMSClient } from '@aws-sdk/client-kms'
import { type AwsSettings, awsClientConfig } from '../aws/client-settings.ts'
import { TokenvaultError } from '../errors.ts'
import type { KeyEncryptionKey } from '../vault/keys/ports.ts'
import { unwrapUnder, wrapUnder } from './held-key.ts'

export interface AwsKmsOptions extends AwsSettings {
  /** Of a symmetric key: arn:aws:kms:<region>:<account>:key/<id>. An alias could be pointed at another key, and nobody would notice. */
  readonly keyArn: string
  /** Stands in the encryption context, which CloudTrail shows in clear. */
  readonly tenant: string
  /** Milliseconds that one attempt of a call may take; 5,000 when absent. */
  readonly callTimeoutMilliseconds?: number | undefined
}

const formatVersion = 1
const headerBytes = 3

/**
 * A key-encryption key that never leaves AWS KMS. Keys are wrapped under a wrapping key that KMS made (GenerateDataKey) and
 * that stands beside each of them, encrypted by KMS, with the tenant in its encryption context:
 *
 *     01 ‖ length of the blob (2 bytes) ‖ blob of KMS ‖ nonce ‖ ciphertext ‖ tag
 *
 * So a keyset is opened by one call, however many keys it has, and written by another; no value and no message ever costs one.
 *
 * It takes the permissions kms:Decrypt and, where keys are made, kms:GenerateDataKey.
 */
export function createAwsKmsKek(options: AwsKmsOptions): KeyEncryptionKey {
  const { keyArn, tenant } = options
  const client = createKmsClient(options)
  const EncryptionContext = { product: 'tokenvault', tenant }
  const opened = new Map<string, Promise<KeyObject>>()
  let own: Promise<{ readonly blob: Uint8Array; readonly key: KeyObject }> | undefined

  const generate = async () => {
    const reply = await client
      .send(new GenerateDataKeyCommand({ KeyId: keyArn, KeySpec: 'AES_256', EncryptionContext }))
      .catch(error => {
        throw kmsError('GenerateDataKey', error)
      })
    const key = takeKey('GenerateDataKey', reply, keyArn)
    if (reply.CiphertextBlob === undefined) throw strangeAnswer('GenerateDataKey')
    return { blob: reply.CiphertextBlob, key }
  }
  const decrypt = async (CiphertextBlob: Uint8Array) => {
    const reply = await client
      .send(new DecryptCommand({ KeyId: keyArn, CiphertextBlob, EncryptionContext }))
      .catch(error => {
        throw kmsError('Decrypt', error)
      })
    return takeKey('Decrypt', reply, keyArn)
  }

  return {
    id: `aws-kms:${keyArn.slice(keyArn.lastIndexOf('/') + 1)}`,
    async wrap(plaintext, associatedData) {
      own ??= generate().catch(error => {
        own = undefined
        throw error
      })
      const { blob, key } = await own
      const header = Buffer.from([formatVersion, blob.length >> 8, blob.length & 0xff])
      return Buffer.concat([header, blob, wrapUnder(key, plaintext, associatedData)])
    },
    async unwrap(wrapped, associatedData) {
      const bytes = Buffer.from(wrapped.buffer, wrapped.byteOffset, wrapped.byteLength)
      if (bytes.length < headerBytes || bytes[0] !== formatVersion) throw new TokenvaultError('kek_mismatch')
      const end = headerBytes + bytes.readUInt16BE(1)
      if (end === headerBytes || end >= bytes.length) throw new TokenvaultError('kek_mismatch')
      const blob = bytes.subarray(headerBytes, end)
      const name = blob.toString('base64')
      const key = opened.get(name) ?? decrypt(blob)
      opened.set(name, key)
      try {
        return unwrapUnder(await key, bytes.subarray(end), associatedData)
      } catch (error) {
        // A call that failed is made anew next time.
        if (!(error instanceof TokenvaultError) || error.code !== 'kek_mismatch') opened.delete(name)
        throw error
      }
    },
  }
}

/** @throws TokenvaultError `kek_mismatch` where another key has answered: what it made must never be used */
function takeKey(
  operation: string,
  { KeyId, Plaintext }: { readonly KeyId?: string | undefined; readonly Plaintext?: Uint8Array | undefined },
  keyArn: string,
): KeyObject {
  if (KeyId !== keyArn) throw new TokenvaultError('kek_mismatch', `KMS answered ${operation} with another key`)
  if (Plaintext?.length !== 32) throw strangeAnswer(operation)
  const key = createSecretKey(Plaintext)
  Plaintext.fill(0)
  return key
}

function strangeAnswer(operation: string): TokenvaultError {
  return new TokenvaultError('kek_unavailable', `KMS answered ${operation} in a form that it does not document`)
}

/** What is wrong with the ciphertext, and not with the way to KMS. */
const mismatches = new Set(['InvalidCiphertextException', 'IncorrectKeyException'])

/** What to do about the usual refusals; other names are told as they are. */
const remedies = new Map([
  ['AccessDeniedException', 'the credentials lack this permission on the key'],
  ['DisabledException', 'the key is disabled: enable it in KMS'],
  ['KMSInvalidStateException', 'the key is not usable in its state: cancel its deletion, or enable it'],
  ['NotFoundException', 'KMS_KEY_ARN names no key of this account and region'],
  ['ThrottlingException', 'too many calls to KMS: start again later'],
])

function kmsError(operation: string, error: unknown): TokenvaultError {
  const name = nameOf(error)
  if (mismatches.has(name)) return new TokenvaultError('kek_mismatch')
  const remedy = remedies.get(name)
  return new TokenvaultError(
    'kek_unavailable',
    `KMS, ${operation}: ${name}${remedy === undefined ? '' : ` (${remedy})`}`,
  )
}

/** A service says everything by the name of its exception, a connection by its code; nothing else of them is told. */
function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return 'UnknownError'
  const code: unknown = 'code' in error ? error.code : undefined
  const name = error.name === 'Error' || error.name === 'AggregateError' ? code : error.name
  return typeof name === 'string' && /^[A-Za-z][A-Za-z0-9_.]{0,63}$/.test(name) ? name : 'UnknownError'
}

/** An SDK client that cannot hang. Throttled calls are tried again, at longer and longer intervals. */
function createKmsClient(options: AwsKmsOptions): KMSClient {
  const { callTimeoutMilliseconds = 5_000 } = options
  return new KMSClient({
    ...awsClientConfig(options, {
      connectMilliseconds: callTimeoutMilliseconds,
      requestMilliseconds: callTimeoutMilliseconds,
      idleMilliseconds: callTimeoutMilliseconds,
      maxSockets: 2,
    }),
    maxAttempts: 4,
  })
}
