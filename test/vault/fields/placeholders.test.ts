import { readFileSync } from 'node:fs'
import t from 'tap'
import { acceptValue, createFieldSchema, type FieldDefinition, loginFields } from '../../../src/vault/fields/fields.ts'
import { defaultPlaceholders } from '../../../src/vault/fields/placeholders.ts'
import { normalizationRules } from '../../../src/vault/fields/rules/index.ts'

const rules = [...normalizationRules.keys()]
const everyRule = createFieldSchema(
  rules.map((rule, n): FieldDefinition => ({ name: `f${n}`, rule, column: `masked_f${n}` })),
)
const fieldOf = (rule: string) => [...everyRule.values()].find(field => field.rule === rule)!
const placeholder = { code: 'value_is_placeholder' }

t.test('docs/normalization.md names the placeholders of each rule, and each of them is one', async t => {
  const text = readFileSync(new URL('../../../docs/normalization.md', import.meta.url), 'utf8')
  for (const rule of rules) {
    const line = text.split('\n').find(line => line.startsWith(`- \`${rule}\`: `)) ?? ''
    const named = [...line.slice(rule.length + 4).matchAll(/`([^`]+)`/g)].map(([, placeholder]) => placeholder!)
    t.strictSame(named.toSorted(), defaultPlaceholders[rule].toSorted(), rule)
    for (const value of named) t.strictSame(acceptValue(fieldOf(rule), value, everyRule), placeholder, value)
  }
})

t.test('a placeholder is one however it is written, and what resembles one is a value', async t => {
  const cases: readonly (readonly [rule: string, placeholders: readonly string[], values: readonly string[]])[] = [
    [
      'ip.v1',
      [' 0.0.0.0\n', '::ffff:0.0.0.0', '0:0:0:0:0:0:0:0', '0000::', 'Unknown', ' N/A ', 'NULL', '-'],
      ['0.0.0.1', '::1', '127.0.0.1', '10.0.0.0', '255.255.255.254'],
    ],
    [
      'device_id.v1',
      [
        '9774D56D682E549C',
        '\t00000000-0000-0000-0000-000000000000',
        'FF:FF:FF:FF:FF:FF',
        '\u00a0unknown\ufeff',
        'None',
      ],
      ['00000000-0000-0000-0000-000000000001', '00', 'unknown-7', 'nullable', '9774d56d682e549', '02:00:00:00:00:01'],
    ],
    ['email.v1', ['Unknown@UNKNOWN', 'n/a'], ['unknown@unknown.example', 'null@example.com']],
    ['text.v1', ['UNKNOWN', '(NULL)'], ['Null', 'None', 'Nan', 'Na', '-', '0.0.0.0']],
  ]
  for (const [rule, placeholders, values] of cases) {
    const accept = (value: string) => acceptValue(fieldOf(rule), value, everyRule)
    for (const value of placeholders) t.strictSame(accept(value), placeholder, JSON.stringify(value))
    for (const value of values) t.type(accept(value), 'string', value)
  }
  t.strictSame(acceptValue(fieldOf('ip.v1'), 'nowhere', everyRule), { code: 'value_invalid' })
  t.strictSame(acceptValue(fieldOf('ip.v1'), '', everyRule), { code: 'value_invalid' })
})

t.test('the list of a field replaces that of its rule; an empty one switches it off', async t => {
  const ip = loginFields.get('ip')!
  const mine = createFieldSchema([{ ...ip, placeholders: ['::FFFF:127.0.0.1', '2001:DB8::0', 'No Address'] }])
  const accept = (value: string, fields = mine) => acceptValue(fields.get('ip')!, value, fields)
  for (const value of ['127.0.0.1', '2001:db8::', 'no address']) t.strictSame(accept(value), placeholder, value)
  t.equal(accept('0.0.0.0'), '0.0.0.0')
  t.strictSame(accept('unknown'), { code: 'value_invalid' })
  const none = createFieldSchema([{ ...ip, placeholders: [] }])
  t.equal(accept('0.0.0.0', none), '0.0.0.0')
  t.strictSame(accept('unknown', none), { code: 'value_invalid' })
  t.strictSame([...createFieldSchema([ip])], [['ip', ip]], 'a field can be given again as it is')
})
