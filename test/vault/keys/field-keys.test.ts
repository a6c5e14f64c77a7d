import t from 'tap'
import { encodeBinding } from '../../../src/crypto/associated-data.ts'
import { packText, unpackText } from '../../../src/crypto/byte-column.ts'
import { createNoteVerifier } from '../../../src/tlog/signed-note.ts'
import { FieldKeys } from '../../../src/vault/keys/field-keys.ts'
import { Keyset, sivOf } from '../../../src/vault/keys/keyset.ts'
import { freshKeys, withStatus } from '../../helpers/vault/vault-world.ts'

t.test('keys are made ready once', async t => {
  const keys = new FieldKeys(new Keyset(freshKeys()), 'default')
  t.equal(keys.tokenKey('ip', 1), keys.tokenKey('ip', 1))
  t.equal(keys.sealer('data', 'ip', 1), keys.sealer('data', 'ip', 1))
  t.not(keys.sealer('data', 'ip', 1), keys.sealer('data', 'device_id', 1))
  t.equal(keys.primaryVersion('token', 'ip'), 1)
})

t.test('sealed values are bound to what the format says, which never changes', async t => {
  const keyset = new Keyset(freshKeys())
  const keys = new FieldKeys(keyset, 'a-tenant')
  const id = '0123456789abcdef'.repeat(2)
  const places = [
    { purpose: 'data', field: 'ip', label: 'tokenvault/original/v1' },
    { purpose: 'quarantine', field: '', label: 'tokenvault/quarantine/v1' },
  ] as const
  for (const { purpose, field, label } of places) {
    const sealed = keys.sealer(purpose, field, 1)!.seal(packText(['203.0.113.7']), [id])
    const siv = sivOf(keyset.primary(purpose, field))
    const bound = siv.bind(encodeBinding({ label, tenant: 'a-tenant', field, keyVersion: 1 }), Buffer.from(id, 'hex'))
    t.same(unpackText(bound.decrypt(sealed).plaintexts), ['203.0.113.7'], label)
  }
})

t.test('keys that are not held, or are disabled, make nothing', async t => {
  const keys = new FieldKeys(
    new Keyset(withStatus(freshKeys(), key => (key.field === 'ip' ? 'disabled' : key.status))),
    'default',
  )
  t.equal(keys.tokenKey('ip', 1), undefined)
  t.equal(keys.sealer('data', 'ip', 1), undefined)
  t.equal(keys.tokenKey('device_id', 2), undefined)
  t.equal(keys.tokenKey('__proto__', 1), undefined)
  t.throws(() => keys.primaryVersion('token', 'ip'), { code: 'keyset_incomplete' })
})

t.test('without an audit key nothing is ready', async t => {
  const keys = freshKeys().filter(({ purpose }) => purpose !== 'audit')
  t.throws(() => new FieldKeys(new Keyset(keys), 'default'), { code: 'keyset_incomplete', message: /audit/ })
})

t.test('the signer has one key for the vault and the name it is given', async t => {
  const keys = freshKeys()
  const fieldKeys = new FieldKeys(new Keyset(keys), 'default')
  const signer = fieldKeys.signer('tokenvault/default')
  t.equal(signer.name, 'tokenvault/default')
  t.equal(fieldKeys.signer('tokenvault/default').verifierKey, signer.verifierKey)
  t.ok(createNoteVerifier(signer.verifierKey).verify('text\n', signer.sign('text\n')))
  t.throws(() => fieldKeys.signer('a name'), { code: 'config_invalid' })
  const without = new FieldKeys(new Keyset(keys.filter(({ purpose }) => purpose !== 'signing')), 'default')
  t.throws(() => without.signer('tokenvault/default'), {
    code: 'keyset_incomplete',
    message: /^no signing key: `tokenvault migrate`/,
  })
})

t.test('of a key that is gone nothing stays in memory', async t => {
  const held = freshKeys()
  const keys = new FieldKeys(new Keyset(held), 'default')
  const made = [keys.tokenKey('ip', 1), keys.sealer('data', 'ip', 1), keys.firstIdentitySealer(1)]
  keys.replace(new Keyset(held.filter(({ purpose }) => purpose === 'audit')))
  keys.replace(new Keyset(held))
  const again = [keys.tokenKey('ip', 1), keys.sealer('data', 'ip', 1), keys.firstIdentitySealer(1)]
  for (const [index, one] of again.entries()) t.not(one, made[index], 'made anew, since nothing was kept')
})
