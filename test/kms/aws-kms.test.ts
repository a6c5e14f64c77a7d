import fc from 'fast-check'
import t, { type Test } from 'tap'
import { createAwsKmsKek } from '../../src/kms/aws-kms.ts'
import { everyBitFlipped, pooled } from '../helpers/crypto/bytes.ts'
import { bytesUpTo, checkProperty } from '../helpers/crypto/property.ts'
import { type KmsBehaviour, type KmsUnderTest, keyArn, otherKeyArn, startKms } from '../helpers/kms/kms-server.ts'

const material = new Uint8Array(64).fill(8)
const place = Buffer.from('token/ip/v1')

function openKek(kms: KmsUnderTest, options: Partial<Parameters<typeof createAwsKmsKek>[0]> = {}) {
  return createAwsKmsKek({
    region: 'eu-central-1',
    endpoint: kms.endpoint,
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' },
    keyArn,
    tenant: 'acme',
    ...options,
  })
}

/** A test with a KMS of its own, at the end of which every call had the form that KMS documents. */
function withKms(name: string, body: (t: Test, kms: KmsUnderTest) => Promise<void>): void {
  t.test(name, async t => {
    const kms = await startKms(t)
    await body(t, kms)
    t.same(kms.faults, [], 'every call had the form that KMS documents')
  })
}

withKms('what a KEK in KMS wraps it unwraps, for the same place only', async (t, kms) => {
  const kek = openKek(kms)
  await checkProperty(
    t,
    'any key, any associated data, from any view',
    fc.asyncProperty(bytesUpTo(100), bytesUpTo(40), async (key, data) => {
      const wrapped = await kek.wrap(pooled(key), pooled(data))
      return Buffer.from(await kek.unwrap(pooled(wrapped), data)).equals(key)
    }),
  )
  const wrapped = await kek.wrap(material, place)
  await t.rejects(kek.unwrap(wrapped, Buffer.from('token/ip/v2')), { code: 'kek_mismatch' }, 'another place')
  t.notOk(Buffer.from(wrapped).includes(Buffer.from(material)), 'nothing of the key stands in clear')
  t.equal(kek.id, 'aws-kms:1234abcd-12ab-34cd-56ef-1234567890ab')
})

withKms('a keyset costs one call to write and one to open, however many keys it has', async (t, kms) => {
  const kek = openKek(kms)
  const wrapped = await Promise.all(Array.from({ length: 20 }, () => kek.wrap(material, place)))
  t.same(
    kms.calls.map(({ operation }) => operation),
    ['GenerateDataKey'],
  )
  const opener = openKek(kms)
  await Promise.all(wrapped.map(key => opener.unwrap(key, place)))
  await Promise.all(wrapped.map(key => opener.unwrap(key, place)))
  t.same(
    kms.calls.map(({ operation }) => operation),
    ['GenerateDataKey', 'Decrypt'],
  )
  const said = { keyId: keyArn, context: { product: 'tokenvault', tenant: 'acme' } }
  t.match(kms.calls, [said, said], 'the context holds the product and the tenant, and nothing else')
})

withKms('another key, another tenant or a changed byte opens nothing', async (t, kms) => {
  const wrapped = await openKek(kms).wrap(material, place)
  for (const [what, other] of [
    ['key', { keyArn: otherKeyArn }],
    ['tenant', { tenant: 'evil' }],
  ] as const)
    await t.rejects(openKek(kms, other).unwrap(wrapped, place), { code: 'kek_mismatch' }, `another ${what}`)
  const kek = openKek(kms)
  const forged = [
    ...everyBitFlipped(wrapped).filter((_, index) => index % 7 === 0),
    ...Array.from({ length: wrapped.length }, (_, length) => wrapped.subarray(0, length)),
    Buffer.concat([wrapped, Buffer.alloc(1)]),
    Buffer.from([1, 0, 0, 1, 2, 3]),
  ]
  const answers = await Promise.all(
    forged.map(bytes =>
      kek.unwrap(bytes, place).then(
        () => 'unwrapped',
        error => `${error.code}: ${error.message}`,
      ),
    ),
  )
  t.equal(new Set(answers).size, 1, [...new Set(answers)].join())
  t.match(answers[0], /^kek_mismatch: /)
})

withKms(
  'a KMS that cannot answer is an unavailable KEK, told by name and remedy and without what it said',
  async (t, kms) => {
    const wrapped = await openKek(kms).wrap(material, place)
    const cases: [KmsBehaviour, RegExp][] = [
      [{ exception: 'AccessDeniedException' }, /Decrypt: AccessDeniedException \(the credentials lack this permission/],
      [{ exception: 'DisabledException' }, /DisabledException \(.*enable it/],
      [{ exception: 'KMSInvalidStateException' }, /KMSInvalidStateException/],
      [{ exception: 'NotFoundException' }, /NotFoundException/],
      [{ exception: 'KMSInternalException', status: 500 }, /KMSInternalException/],
      [{ exception: 'User: secret-name is not authorized', status: 400 }, /: \w+$/],
      ['hang', /TimeoutError/],
      ['no_json', /Decrypt/],
      ['short_plaintext', /form that it does not document/],
    ]
    for (const [how, says] of cases) {
      kms.behave(how)
      const error = await openKek(kms)
        .unwrap(wrapped, place)
        .then(
          () => undefined,
          reason => reason,
        )
      t.match(error, { code: 'kek_unavailable', message: says }, JSON.stringify(how))
      t.notMatch(error?.message, /secret-name/, 'and repeats nothing')
    }
    const gone = openKek(kms, { endpoint: 'http://127.0.0.1:9' })
    await t.rejects(gone.unwrap(wrapped, place), { code: 'kek_unavailable', message: /ECONNREFUSED/ }, 'nobody listens')
  },
)

withKms('an answer of another key is never used', async (t, kms) => {
  const kek = openKek(kms)
  const wrapped = await kek.wrap(material, place)
  kms.behave('answer_of_another_key')
  await t.rejects(openKek(kms).unwrap(wrapped, place), { code: 'kek_mismatch', message: /another key/ })
  await t.rejects(openKek(kms).wrap(material, place), { code: 'kek_mismatch', message: /another key/ })
})

withKms('throttled calls are tried again, and a call that failed is made anew', async (t, kms) => {
  const kek = openKek(kms)
  kms.behave('throttle_twice')
  const wrapped = await kek.wrap(material, place)
  kms.behave({ exception: 'DisabledException' })
  const opener = openKek(kms)
  await t.rejects(opener.unwrap(wrapped, place), { code: 'kek_unavailable' })
  kms.behave('well')
  t.same(await opener.unwrap(wrapped, place), Buffer.from(material), 'as soon as the key is enabled again')
  kms.behave({ exception: 'DisabledException' })
  const maker = openKek(kms)
  await t.rejects(maker.wrap(material, place), { code: 'kek_unavailable' })
  kms.behave('well')
  await t.resolves(maker.wrap(material, place))
})
