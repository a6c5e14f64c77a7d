import { createSecretKey } from 'node:crypto'
import t from 'tap'
import { packText } from '../../../src/crypto/byte-column.ts'
import {
  formatKeyName,
  generateKey,
  type Key,
  type KeyPurpose,
  Keyset,
  keyBytes,
  maxKeyVersion,
  sivOf,
} from '../../../src/vault/keys/keyset.ts'

const make = (version: number, status: Key['status'], purpose: KeyPurpose = 'token', field = 'ip') =>
  generateKey({ purpose, field, version }, status)

t.test('a keyset', async t => {
  const primary = make(2, 'primary')
  const active = make(1, 'active')
  const disabled = make(3, 'disabled')
  const other = make(1, 'primary', 'token', 'device_id')
  const keyset = new Keyset([active, primary, disabled, other])
  t.equal(keyset.primary('token', 'ip'), primary, 'writes with its primary, not with its newest')
  t.equal(keyset.primary('token', 'device_id'), other, 'each field has a primary of its own')
  t.equal(keyset.find({ purpose: 'token', field: 'ip', version: 2 }), primary, 'reads under the primary')
  t.equal(keyset.find({ purpose: 'token', field: 'ip', version: 1 }), active, 'reads under an active key')
  t.equal(keyset.find({ purpose: 'token', field: 'ip', version: 3 }), undefined, 'does nothing under a disabled key')
  t.equal(keyset.find({ purpose: 'token', field: 'ip', version: 4 }), undefined)
  t.equal(keyset.find({ purpose: 'data', field: 'ip', version: 1 }), undefined, 'a key serves one purpose')
  t.equal(keyset.find({ purpose: 'token', field: '__proto__', version: 1 }), undefined)
})

t.test('a keyset without a primary key for a purpose says which', async t => {
  t.throws(() => new Keyset([]).primary('audit', ''), { code: 'keyset_incomplete', message: /audit\// })
  const keyset = new Keyset([make(1, 'active'), make(2, 'disabled')])
  t.throws(() => keyset.primary('token', 'ip'), { code: 'keyset_incomplete', message: /token\/ip/ })
})

t.test('a keyset that breaks its rules is refused and the key named', async t => {
  const broken: Record<string, { keys: Key[]; message: RegExp }> = {
    'two primaries': { keys: [make(1, 'primary'), make(2, 'primary')], message: /token\/ip has two primary keys/ },
    'one version twice': { keys: [make(1, 'primary'), make(1, 'active')], message: /token\/ip\/v1 stands twice/ },
    'one version twice, once disabled': {
      keys: [make(1, 'disabled'), make(1, 'active')],
      message: /token\/ip\/v1 stands twice/,
    },
    'version 0': { keys: [make(0, 'active')], message: /v0: version is wrong/ },
    'a fraction of a version': { keys: [make(1.5, 'active')], message: /version is wrong/ },
    'a version with no room in a token': { keys: [make(maxKeyVersion + 1, 'active')], message: /version is wrong/ },
  }
  for (const purpose of ['token', 'data', 'quarantine', 'audit', 'signing'] as const) {
    for (const bytes of [0, 16, 32, 48, 63, 64, 65].filter(length => length !== keyBytes(purpose))) {
      broken[`${purpose} key of ${bytes} bytes`] = {
        keys: [{ purpose, field: '', version: 1, status: 'active', material: createSecretKey(Buffer.alloc(bytes)) }],
        message: /length is wrong/,
      }
    }
  }
  for (const [title, { keys, message }] of Object.entries(broken)) {
    t.throws(() => new Keyset(keys), { code: 'keyset_invalid', message }, title)
  }
})

t.test('generated keys have the length of their purpose and are never alike', async t => {
  const names = (['token', 'data', 'quarantine', 'audit', 'signing'] as const).map(purpose => ({
    purpose,
    field: '',
    version: 1,
  }))
  const keys = [...names, ...names].map(name => generateKey(name, 'primary'))
  t.same(
    keys.map(({ material }) => material.symmetricKeySize),
    [64, 64, 64, 32, 32, 64, 64, 64, 32, 32],
  )
  t.equal(new Set(keys.map(({ material }) => material.export().toString('hex'))).size, 10)
  t.equal(formatKeyName(names[3]!), 'audit//v1')
})

t.test('the primitive of a key works after the exported bytes were overwritten', async t => {
  const key = make(1, 'primary')
  const encrypt = () =>
    Buffer.from(
      sivOf(key)
        .bind()
        .encrypt(packText(['203.0.113.7'])).bytes,
    ).toString('hex')
  t.equal(encrypt(), encrypt())
  t.throws(() => sivOf(make(1, 'primary', 'audit')), { code: 'key_length_invalid' })
})

t.test('usable keys are those that are not disabled, oldest first, of one place only', async t => {
  const keyset = new Keyset([
    make(10, 'primary'),
    make(2, 'active'),
    make(3, 'disabled'),
    make(1, 'active'),
    make(1, 'primary', 'audit'),
  ])
  t.same(
    keyset.usable('token', 'ip').map(({ version }) => version),
    [1, 2, 10],
  )
  t.same(keyset.usable('token', '__proto__'), [])
})
