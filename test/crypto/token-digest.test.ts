import { cmac } from '@noble/ciphers/aes.js'
import t from 'tap'
import { TokenDigest } from '../../src/crypto/token-digest.ts'

const key = new Uint8Array(32).fill(3)

t.test('a digest is the AES-256-CMAC of the token’s text, one by one or many', async t => {
  const tokens = ['ip_v1_short', `device_id_v1_${'A'.repeat(200)}`, 'ip_v2_other', 'ip_v1_short']
  const digests = new TokenDigest(key).digest(tokens)
  t.same(
    digests,
    tokens.map(token => Buffer.from(cmac(Buffer.from(token), key)).toString('base64url')),
  )
  t.equal(digests[0], digests[3], 'equal tokens, equal digests')
  t.equal(new Set(digests).size, 3)
  t.ok(digests.every(digest => /^[A-Za-z0-9_-]{22}$/.test(digest)))
  t.same(new TokenDigest(key).digest(tokens.slice(0, 1)), digests.slice(0, 1))
  t.same(new TokenDigest(key).digest([]), [])
})

t.test('another key gives another digest', async t => {
  t.strictNotSame(new TokenDigest(key).digest(['ip_v1_x']), new TokenDigest(new Uint8Array(32)).digest(['ip_v1_x']))
})
