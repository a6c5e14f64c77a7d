import t from 'tap'
import { createFieldSchema, type FieldDefinition, loginFields } from '../../../src/vault/fields/fields.ts'

const ip: FieldDefinition = { name: 'ip', rule: 'ip.v1', column: 'masked_ip' }

t.test('the login fields are ip and device_id, in this order', async t => {
  t.same(
    [...loginFields.values()].map(({ name, column }) => [name, column]),
    [
      ['ip', 'masked_ip'],
      ['device_id', 'masked_device_id'],
    ],
  )
  t.equal(loginFields.get('__proto__'), undefined)
  t.ok(Object.isFrozen(loginFields.get('ip')))
})

t.test('a field whose name would make tokens readable in two ways is refused', async t => {
  for (const name of [
    'ip_v1',
    'ip_v1_x',
    'a_v0',
    'a_v12_',
    '',
    'Ip',
    '1p',
    '_ip',
    'i-p',
    'ip ',
    'ip\n',
    'f'.repeat(33),
  ]) {
    t.throws(() => createFieldSchema([{ ...ip, name }]), { code: 'config_invalid' }, JSON.stringify(name))
  }
  for (const name of ['v1', 'ip_v', 'ip_va1', 'ip_v1a', 'f'.repeat(32)]) {
    t.ok(createFieldSchema([{ ...ip, name }]).has(name), name)
  }
})

t.test('every other wrong entry is refused and named', async t => {
  const wrong: Record<string, readonly FieldDefinition[]> = {
    'a column that needs quotes': [{ ...ip, column: 'masked ip' }],
    'a column with a quote in it': [{ ...ip, column: 'masked_ip"' }],
    'a rule that does not exist': [{ ...ip, rule: 'ip.v9' as FieldDefinition['rule'] }],
    'a name twice': [ip, { ...ip, column: 'other' }],
    'a column twice': [ip, { ...ip, name: 'other' }],
    'no column': [{ name: 'ip', rule: 'ip.v1' }],
    'derived by a rule that derives nothing': [ip, { name: 'other', rule: 'text.v1', derivedFrom: 'ip' }],
    'derived from nothing': [{ name: 'other', rule: 'network.v1', derivedFrom: 'ip' }, ip],
  }
  for (const [title, fields] of Object.entries(wrong)) {
    t.throws(() => createFieldSchema(fields), { code: 'config_invalid', message: /^field (ip|other)/ }, title)
  }
})
