import t from 'tap'
import { Keyset } from '../../src/crypto/keyset.ts'
import { FieldKeys } from '../../src/vault/field-keys.ts'
import { freshKeys, withStatus } from '../helpers/vault-world.ts'

t.test('keys are made ready once', async t => {
  const keys = new FieldKeys(new Keyset(freshKeys()), 'default')
  t.equal(keys.mint('ip', 1), keys.mint('ip', 1))
  t.equal(keys.sealer('data', 'ip', 1), keys.sealer('data', 'ip', 1))
  t.not(keys.sealer('data', 'ip', 1), keys.sealer('data', 'device_id', 1))
  t.equal(keys.primaryVersion('token', 'ip'), 1)
})

t.test('keys that are not held, or are disabled, make nothing', async t => {
  const keys = new FieldKeys(
    new Keyset(withStatus(freshKeys(), key => (key.field === 'ip' ? 'disabled' : key.status))),
    'default',
  )
  t.equal(keys.mint('ip', 1), undefined)
  t.equal(keys.sealer('data', 'ip', 1), undefined)
  t.equal(keys.mint('device_id', 2), undefined)
  t.equal(keys.mint('__proto__', 1), undefined)
  t.throws(() => keys.primaryVersion('token', 'ip'), { code: 'keyset_incomplete' })
})

t.test('without an audit key nothing is ready', async t => {
  const keys = freshKeys().filter(({ purpose }) => purpose !== 'audit')
  t.throws(() => new FieldKeys(new Keyset(keys), 'default'), { code: 'keyset_incomplete', message: /audit/ })
})
