import { gzipSync } from 'node:zlib'
import type { JWK } from 'jose'
import t, { type Test } from 'tap'
import { post, type RunningApp, startApp } from '../../helpers/http/http-app.ts'
import { createIssuerKey, signJwt } from '../../helpers/http/jwks-server.ts'
import { type Answer, body, endless, keySet, startTroubledIssuer, trickle } from '../../helpers/http/troubled-issuer.ts'

const request = { purpose: 'fraud_investigation', tokens: ['ip_v1_AAAA'] }
const key = await createIssuerKey('key-1')
const good = keySet(key.publicJwk)
const readableBytes = 256 * 1024
const noCooldown = { unknownKidSeconds: 0, failureSeconds: 0 }

const troubles: Record<string, Answer> = {
  'status 500': body('{"keys":[]}', {}, 500),
  'status 404': body('nothing here', {}, 404),
  'status 204': body('', {}, 204),
  'a redirect, even to a good set': (response, { headers }) =>
    response.writeHead(302, { location: `http://${headers.host}/other.json` }).end(),
  'an HTML page': body('<!doctype html><title>Sign in</title>', { 'content-type': 'text/html' }),
  'an empty body': body(''),
  'half a JSON text': body('{"keys":['),
  'bytes that are not UTF-8': body(Buffer.from('{"keys":[],"a":"\xff"}', 'latin1')),
  'text that is no set': body('"keys"'),
  null: body('null'),
  'a list for a set': body('[]'),
  'keys as an object': body('{"keys":{"0":{}}}'),
  'keys of null': body('{"keys":[null]}'),
  'keys of lists': body('{"keys":[[]]}'),
  'no keys property': body('{"Keys":[]}'),
  '60,000 levels of nesting': body(`{"keys":[{"a":${'['.repeat(60_000)}${']'.repeat(60_000)}}]`),
  'a set beyond all bounds': body(`{"keys":[],"pad":"${'x'.repeat(readableBytes)}"}`),
  'a set that swells when decompressed': body(gzipSync(`{"keys":[]${' '.repeat(50_000_000)}}`), {
    'content-encoding': 'gzip',
  }),
  'a compression that it does not have': body('{"keys":[]}', { 'content-encoding': 'gzip' }),
  'fewer bytes than announced': response => {
    response.writeHead(200, { 'content-length': '100' }).write('{"keys":[')
    setImmediate(() => response.destroy())
  },
  'a cut connection': response => response.destroy(),
  'what is no HTTP': response => response.socket?.end('220 mail.test ESMTP\r\n'),
  'headers of 100 KB': body('{"keys":[]}', { 'x-pad': 'x'.repeat(100_000) }),
  'no answer at all': () => undefined,
  'headers and then nothing': response => response.writeHead(200).flushHeaders(),
  'a byte now and then': trickle,
}

const slow = new Set(['no answer at all', 'headers and then nothing', 'a byte now and then'])

/** The app before an issuer in trouble. */
async function start(t: Test, first: Answer, change: Parameters<typeof startApp>[1] = {}) {
  const issuer = await startTroubledIssuer(t, first)
  const running = await startApp(t, {
    ...change,
    jwtChange: { jwksUrl: issuer.url, jwksCooldown: noCooldown, ...change.jwtChange },
  })
  const ask = async (jwt?: string) =>
    (await post(running, '/v1/detokenize', request, { jwt: jwt ?? (await signJwt(key)) })).status
  return { issuer, running, ask }
}

for (const [name, trouble] of Object.entries(troubles)) {
  t.test(`an issuer that answers with ${name}: 503, and well again with the issuer`, async t => {
    // Nothing that answers needs so long, and what hangs is not waited for longer.
    const jwksPatience = { maxAgeSeconds: 600, fetchTimeoutSeconds: slow.has(name) ? 0.2 : 5 }
    const { issuer, running, ask } = await start(t, trouble, { jwtChange: { jwksPatience } })
    await refusedAsUnavailable(t, running)
    issuer.answerWith(good)
    t.equal(await ask(), 200)
    issuer.answerWith(trouble)
    const unknown = await signJwt(key, {}, { kid: 'unknown' })
    t.equal(await ask(unknown), 503, 'nobody can say whether such a key exists')
    t.equal(await ask(), 200, 'known keys go on')
    t.equal(running.calls.length, 2)
  })
}

async function refusedAsUnavailable(t: Test, running: RunningApp) {
  const reply = await post(running, '/v1/detokenize', request, { jwt: await signJwt(key) })
  t.equal(reply.status, 503)
  t.equal(reply.headers.get('content-type'), 'application/problem+json')
  t.ok(reply.headers.get('retry-after'))
  t.match(await reply.json(), { code: 'jwks_unavailable', detail: undefined })
}

t.test('an endless set is read up to its bound and no further', async t => {
  const { issuer, running } = await start(t, endless(' '.repeat(65_536)))
  await refusedAsUnavailable(t, running)
  // What the kernel buffers on the way counts as written too.
  t.ok(issuer.bytesWritten() < 64 * 1024 * 1024, String(issuer.bytesWritten()))
  t.equal(issuer.fetches(), 1)
})

const unusable: Record<string, readonly Record<string, unknown>[]> = {
  'no keys': [],
  'a key without kty': [{ ...key.publicJwk, kty: undefined }],
  'a point that is not on the curve': [{ ...key.publicJwk, x: key.publicJwk.y, y: key.publicJwk.x }],
  'coordinates that are no base64url': [{ ...key.publicJwk, x: '!' }],
  'a coordinate that is a number': [{ ...key.publicJwk, x: 7 }],
  'no coordinates': [{ ...key.publicJwk, x: undefined, y: undefined }],
  'a curve that the algorithm does not use': [{ ...key.publicJwk, crv: 'P-384' }],
  'a key for encryption': [{ ...key.publicJwk, use: 'enc' }],
  'a key that may only sign': [{ ...key.publicJwk, use: undefined, key_ops: ['sign'] }],
  'a key of another alg': [{ ...key.publicJwk, alg: 'ES384' }],
  'a symmetric key': [{ kty: 'oct', k: 'c2VjcmV0', kid: 'key-1', alg: 'ES256' }],
  'one kid twice': [key.publicJwk, key.publicJwk],
  'a kid that is a number': [{ ...key.publicJwk, kid: 1 }],
}

t.test('an entry of the set that is no usable key verifies nothing and harms no other', async t => {
  const { issuer, running, ask } = await start(t, good, {
    jwtChange: { jwksPatience: { maxAgeSeconds: 0, fetchTimeoutSeconds: 5 } },
  })
  const neighbour = await createIssuerKey('key-2')
  for (const [name, keys] of Object.entries(unusable)) {
    issuer.answerWith(keySet(...([...keys, neighbour.publicJwk] as JWK[])))
    t.equal(await ask(), 401, name)
    t.equal(await ask(await signJwt(neighbour)), 200, `${name}: its neighbour`)
  }
  issuer.answerWith(good)
  t.equal(await ask(), 200)
  t.match(running.logged(), /"parameter":"kid","reason":"key_unusable"/)
  t.match(running.logged(), /"parameter":"kid","reason":"ambiguous"/)
})

t.test('a key that cannot be imported does not stop fetches for the others', async t => {
  const broken = { ...key.publicJwk, kid: 'broken', x: '!' }
  const { issuer, ask } = await start(t, keySet(broken), {
    jwtChange: { jwksCooldown: { unknownKidSeconds: 0, failureSeconds: 600 } },
  })
  t.equal(await ask(await signJwt(key, {}, { kid: 'broken' })), 401)
  issuer.answerWith(keySet(broken, key.publicJwk))
  t.equal(await ask(), 200, 'the rotated set was fetched')
})

t.test('1,000 requests with unknown kids cause one fetch, and legitimate ones go on among them', async t => {
  const { issuer, running, ask } = await start(t, good, {
    jwtChange: { jwksCooldown: { unknownKidSeconds: 30, failureSeconds: 30 } },
  })
  t.equal(await ask(), 200)
  const forged = await signJwt(await createIssuerKey('stranger'))
  const [, payload, signature] = forged.split('.')
  const statuses = new Map<number, number>()
  for (let round = 0; round < 20; round++) {
    const flood = Array.from({ length: 50 }, (_, index) => {
      const header = Buffer.from(JSON.stringify({ alg: 'ES256', kid: `guess-${round}-${index}` })).toString('base64url')
      return ask(`${header}.${payload}.${signature}`)
    })
    for (const status of await Promise.all([...flood, ask()])) statuses.set(status, (statuses.get(status) ?? 0) + 1)
  }
  t.strictSame([...statuses].sort(), [
    [200, 20],
    [401, 1000],
  ])
  t.equal(issuer.fetches(), 1)
  t.equal(running.calls.length, 21)
})

t.test(
  'the same flood before an issuer that hangs causes one fetch, and legitimate ones do not wait for it',
  async t => {
    const { issuer, ask } = await start(t, good, {
      jwtChange: {
        jwksCooldown: { unknownKidSeconds: 0, failureSeconds: 30 },
        jwksPatience: { maxAgeSeconds: 600, fetchTimeoutSeconds: 1 },
      },
    })
    t.equal(await ask(), 200)
    issuer.answerWith(() => undefined)
    const unknown = await signJwt(key, {}, { kid: 'unknown' })
    let answered = 0
    const flood = Array.from({ length: 100 }, async () => {
      const status = await ask(unknown)
      answered += 1
      return status
    })
    t.equal(await ask(), 200)
    t.equal(answered, 0, 'a known key was accepted while the fetch hung')
    t.ok((await Promise.all(flood)).every(status => status === 503))
    t.equal(issuer.fetches(), 2)
  },
)

t.test('a withdrawn key is refused once the set is as old as it may be', async t => {
  const { issuer, running, ask } = await start(t, good, {
    jwtChange: {
      jwksCooldown: { unknownKidSeconds: 600, failureSeconds: 0 },
      jwksPatience: { maxAgeSeconds: 0.3, fetchTimeoutSeconds: 5 },
    },
  })
  const jwt = await signJwt(key)
  t.equal(await ask(jwt), 200)
  const next = await createIssuerKey('key-2')
  issuer.answerWith(keySet(next.publicJwk))
  // The very token that was accepted before, whose signature is remembered.
  let status = 200
  while (status === 200) status = await ask(jwt)
  t.equal(status, 401)
  t.equal(issuer.fetches(), 2)
  t.equal(await ask(await signJwt(next)), 200)
  t.ok(running.calls.length >= 2)
})

t.test(
  'a remembered token is refused once its kid names other bytes, and accepted once it names its own again',
  async t => {
    const { issuer, ask } = await start(t, good, {
      jwtChange: { jwksPatience: { maxAgeSeconds: 0, fetchTimeoutSeconds: 5 } },
    })
    const jwt = await signJwt(key)
    const replaced = await createIssuerKey('key-1')
    for (const [set, status] of [
      [good, 200],
      [keySet(replaced.publicJwk), 401],
      [keySet({ ...key.publicJwk, use: 'enc' }), 401],
      [keySet(), 401],
      [good, 200],
    ] as const) {
      issuer.answerWith(set)
      t.equal(await ask(jwt), status)
    }
  },
)

t.test('an issuer that is down when the set is too old: 503, for a withdrawal may be what is missed', async t => {
  const { issuer, ask } = await start(t, good, {
    jwtChange: { jwksPatience: { maxAgeSeconds: 0, fetchTimeoutSeconds: 5 } },
  })
  t.equal(await ask(), 200)
  issuer.answerWith(response => response.destroy())
  t.equal(await ask(), 503)
  issuer.answerWith(good)
  t.equal(await ask(), 200)
})
