import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

export const keyArn = 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'
export const otherKeyArn = 'arn:aws:kms:eu-central-1:111122223333:key/ffffffff-12ab-34cd-56ef-1234567890ab'

/** How KMS answers: as it should, or by one of its exceptions, or in ways that no KMS should. */
export type KmsBehaviour =
  | 'well'
  | 'hang'
  | 'throttle_twice'
  | 'answer_of_another_key'
  | 'short_plaintext'
  | 'no_json'
  | { readonly exception: string; readonly status?: number }

export interface KmsUnderTest {
  readonly endpoint: string
  /** Calls that came in, with what each said in clear. */
  readonly calls: { readonly operation: string; readonly keyId: string; readonly context: unknown }[]
  /** What was wrong with the form of a call: empty at the end of every test. */
  readonly faults: string[]
  behave(how: KmsBehaviour): void
}

/**
 * A KMS of the suite's own: TrentService in JSON 1.1, which checks the form of each call (target, content type, Signature
 * Version 4 for kms in the key's region, members of the body), and encrypts with the encryption context as associated data.
 */
export async function startKms(t: Pick<Test, 'teardown'>): Promise<KmsUnderTest> {
  const masters = new Map([keyArn, otherKeyArn].map(arn => [arn, randomBytes(32)]))
  const calls: KmsUnderTest['calls'] = []
  const faults: string[] = []
  let how: KmsBehaviour = 'well'
  let throttled = 0

  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = JSON.parse(Buffer.concat(chunks).toString('utf8'))
    const operation = String(request.headers['x-amz-target']).replace(/^TrentService\./, '')
    faults.push(...findFaults(request, operation, body))
    calls.push({ operation, keyId: body.KeyId, context: body.EncryptionContext })
    if (how === 'hang') return
    if (how === 'no_json') return void response.writeHead(200).end('<html>')
    if (how === 'throttle_twice' && throttled++ < 2) return refuse(response, 'ThrottlingException')
    if (typeof how === 'object') return refuse(response, how.exception, how.status)
    const context = Buffer.from(JSON.stringify(Object.entries(body.EncryptionContext ?? {}).sort()))
    const KeyId = how === 'answer_of_another_key' ? otherKeyArn : body.KeyId
    const plaintext =
      operation === 'Decrypt'
        ? decrypt(masters.get(body.KeyId)!, Buffer.from(body.CiphertextBlob, 'base64'), context)
        : randomBytes(32)
    if (plaintext === undefined) return refuse(response, 'InvalidCiphertextException')
    const blob =
      operation === 'Decrypt' ? {} : { CiphertextBlob: encrypt(masters.get(body.KeyId)!, plaintext, context) }
    const Plaintext = plaintext.subarray(0, how === 'short_plaintext' ? 16 : 32).toString('base64')
    response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' })
    response.end(JSON.stringify({ KeyId, Plaintext, ...blob }))
  }
  const server = createServer((request, response) => {
    serve(request, response).catch(error => {
      faults.push(String(error))
      response.destroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    faults,
    behave: next => {
      how = next
      throttled = 0
    },
  }
}

/** Members of each operation's request that we mean to send (KMS API reference). */
const members = new Map([
  ['Decrypt', ['CiphertextBlob', 'EncryptionContext', 'KeyId']],
  ['GenerateDataKey', ['EncryptionContext', 'KeyId', 'KeySpec']],
])

function findFaults({ method, url, headers }: IncomingMessage, operation: string, body: object): string[] {
  const scope =
    /^AWS4-HMAC-SHA256 Credential=[^/]+\/\d{8}\/eu-central-1\/kms\/aws4_request, SignedHeaders=\S+, Signature=[0-9a-f]{64}$/
  const checks: [string, boolean][] = [
    ['method and path', method === 'POST' && url === '/'],
    ['content type', headers['content-type'] === 'application/x-amz-json-1.1'],
    ['signature', scope.test(headers.authorization ?? '')],
    ['members', JSON.stringify(Object.keys(body).sort()) === JSON.stringify(members.get(operation))],
  ]
  return checks.filter(([, holds]) => !holds).map(([what]) => `${operation}: ${what}`)
}

function encrypt(key: Buffer, plaintext: Buffer, context: Buffer): string {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(context)
  return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]).toString('base64')
}

function decrypt(key: Buffer, blob: Buffer, context: Buffer): Buffer | undefined {
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, blob.subarray(0, 12)).setAAD(context)
    decipher.setAuthTag(blob.subarray(-16))
    return Buffer.concat([decipher.update(blob.subarray(12, -16)), decipher.final()])
  } catch {
    return undefined
  }
}

function refuse(response: ServerResponse, exception: string, status = 400): void {
  response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' })
  // The message of the real one quotes ARNs of users and keys.
  response.end(
    JSON.stringify({ __type: exception, message: 'User: arn:aws:iam::111122223333:user/secret-name is not …' }),
  )
}
