import fc from 'fast-check'
import t from 'tap'
import { stringify } from 'yaml'
import { TokenvaultError } from '../../../src/errors.ts'
import { eventFields, loginFields } from '../../../src/vault/fields/fields.ts'
import { parseFieldsFile } from '../../../src/vault/files/fields-file.ts'
import { checkProperty } from '../../helpers/crypto/property.ts'

const parseFields = (text: string) => parseFieldsFile(text).fields

/** The problems of a file, one a line, each without the name of its variable. */
function problems(text: string): string[] {
  try {
    parseFields(text)
    return []
  } catch (error) {
    if (!(error instanceof TokenvaultError) || error.code !== 'config_invalid') throw error
    const lines = error.message.split('\n')
    const told = lines.length === 1 ? lines : lines.slice(1)
    return told.map(line => line.trim().replace(/^FIELDS_FILE /, ''))
  }
}

const three = `# the fields of login events
version: 1
fields:
  - { name: ip, rule: ip.v1, column: masked_ip }
  - { name: device_id, rule: device_id.v1, column: masked_device_id }
  - name: email
    rule: email.v1
    column: masked_email
`

t.test('fields stand in the order of the file, in YAML and in JSON', async t => {
  const fields = parseFields(three)
  t.same([...fields.keys()], ['ip', 'device_id', 'email'])
  t.match(fields.get('email'), { name: 'email', rule: 'email.v1', column: 'masked_email', required: true })
  const entries = [...loginFields.values()].map(({ inetPrefix, ...field }) => {
    return { ...field, placeholders: [...field.placeholders] }
  })
  const json = JSON.stringify({ version: 1, fields: entries })
  t.same([...parseFields(json)], [...loginFields], 'what holds without a file can be written as one')
})

t.test('a field says whether it is required, and what its placeholders are', async t => {
  const fields = parseFields(`version: 1
fields:
  - { name: ip, rule: ip.v1, column: a, required: false, placeholders: ["::FFFF:127.0.0.1", Nowhere] }
  - { name: device_id, rule: device_id.v1, column: b, required: true, placeholders: [] }
`)
  t.match(fields.get('ip'), { required: false, placeholders: new Set(['127.0.0.1', 'nowhere']) })
  t.match(fields.get('device_id'), { required: true, placeholders: new Set() })
})

t.test('a field says how its tokens are spelled', async t => {
  const fields = parseFields(`version: 1
fields:
  - { name: ip, rule: ip.v1, column: a, format: inet }
  - { name: gateway, rule: ip.v1, column: b, format: inet, inet_prefix: "fc00::/8" }
  - { name: device_id, rule: device_id.v1, column: c, format: uuid }
  - { name: email, rule: email.v1, column: d, format: text }
  - { name: name, rule: text.v1, column: e }
`)
  t.same(
    [...fields.values()].map(({ format, inetPrefix }) => [format, inetPrefix]),
    [['inet', 'fd00::/8'], ['inet', 'fc00::/8'], ['uuid', 'fd00::/8'], ['text', 'fd00::/8'], ['text', 'fd00::/8']], // biome-ignore format: a table
  )
})

t.test('each mistake is told by line and column, and why', async t => {
  const field = '{ name: a, rule: text.v1, column: b }'
  const file = (entry: string) => `version: 1\nfields:\n  - ${field}\n  - ${entry}\n`
  const wrong: Readonly<Record<string, RegExp>> = {
    '': /^line 1, column 1: the file is not a mapping with the keys version, fields, clear, retention$/,
    'just text': /^line 1, column 1: the file is not a mapping/,
    [`fields: [${field}]`]: /^line 1, column 1: the file has no version$/,
    'version: 1': /^line 1, column 1: the file has no fields$/,
    [`version: 2\nfields: [${field}]`]: /^line 1, column 10: version is not 1$/,
    [`version: "1"\nfields: [${field}]`]: /^line 1, column 10: version is not 1$/,
    [`version: 1\nfields: [${field}]\nextra: 1`]:
      /^line 3, column 1: this key of the file is unknown; there are version, fields, clear, retention$/,
    'version: 1\nfields: []': /^line 2, column 9: fields is empty$/,
    'version: 1\nfields: { a: b }': /^line 2, column 9: fields is not a list/,
    'version: 1\nfields:': /^line 2, column 8: fields is not a list/,
    [file('ip')]:
      /^line 4, column 5: a field is not a mapping with the keys name, rule, column, derive, from, required, placeholders, format, inet_prefix$/,
    [file('{ name: c, rule: text.v1 }')]: /^line 4, column 5: a field has no column$/,
    [file('{ name: c, rule: text.v1, column: d, key: 1 }')]: /^line 4, column 42: this key of a field is unknown/,
    [file('{ name: c, rule: text.v9, column: d }')]:
      /^line 4, column 22: rule is not one of ip\.v1, device_id\.v1, email\.v1, text\.v1, network\.v1$/,
    [file('{ name: C, rule: text.v1, column: d }')]: /^line 4, column 13: name is not usable in a token: 1 to 32/,
    [file('{ name: a_v1, rule: text.v1, column: d }')]: /^line 4, column 13: name is not usable in a token/,
    [file('{ name: user_id, rule: text.v1, column: d }')]: /^line 4, column 13: name is of a property stored in clear$/,
    [file('{ name: 7, rule: text.v1, column: d }')]: /^line 4, column 13: name is not text$/,
    [file('{ name: , rule: text.v1, column: d }')]: /^line 4, column 13: name is not text$/,
    [file('{ name: [c], rule: text.v1, column: d }')]: /^line 4, column 13: name is not text$/,
    [file('{ name: a, rule: text.v1, column: d }')]: /^line 4, column 13: name stands twice$/,
    [file('{ name: c, rule: text.v1, column: b }')]: /^line 4, column 39: column stands twice$/,
    [file('{ name: c, rule: text.v1, column: "b c" }')]: /^line 4, column 39: column is not a plain name/,
    [file('{ name: c, rule: text.v1, column: create_date }')]:
      /^line 4, column 39: column of user_logins holds something/,
    [file('{ name: c, rule: text.v1, column: d, required: 1 }')]:
      /^line 4, column 52: required is neither true nor false$/,
    [file('{ name: c, rule: text.v1, column: d, required: }')]:
      /^line 4, column 52: required is neither true nor false$/,
    [file('{ name: c, rule: text.v1, column: d, placeholders: unknown }')]:
      /^line 4, column 56: placeholders is not a list$/,
    [file('{ name: c, rule: text.v1, column: d, placeholders: [x, 0] }')]:
      /^line 4, column 60: a placeholder is not text$/,
    [file('{ name: c, rule: text.v1, column: d, placeholders: [null] }')]:
      /^line 4, column 57: a placeholder is not text$/,
    [file('{ name: c, rule: text.v1, column: d, placeholders: [x, " "] }')]:
      /^line 4, column 60: a placeholder is empty$/,
    [file('{ name: c, rule: text.v1, column: d, format: hex }')]:
      /^line 4, column 50: format is not one of text, uuid, inet$/,
    [file('{ name: c, rule: text.v1, column: d, format: inet, inet_prefix: "fe80::/10" }')]:
      /^line 4, column 69: inet_prefix is not one of fd00::\/8, fc00::\/8$/,
    [file('{ name: c, rule: text.v1, column: d, inet_prefix: "fd00::/8" }')]:
      /^line 4, column 55: inet_prefix is for fields of format inet$/,
    [file('{ name: c, rule: text.v1, column: d, format: uuid, inet_prefix: "fd00::/8" }')]:
      /^line 4, column 69: inet_prefix is for fields of format inet$/,
    [file('{ name: c, name: d, rule: text.v1, column: d }')]:
      /^line 4, column 16: is not valid YAML \(duplicate key\)$/,
    [file('{ name: c')]: /^line 5, column 1: is not valid YAML \([a-z ]+\)$/,
    [`${file('{ name: c, rule: text.v1, column: d }')}---\nmore: 1\n`]:
      /^line 5, column 1: is not valid YAML \(multiple docs\)$/,
    [`version: 1\nfields:\n\t- ${field}`]: /^line 3, column 1: is not valid YAML/,
    [`version: 1\nfields:\n  - &x ${field}\n  - *x`]: /^line 4, column 5: is an alias; write out what it stands for$/,
  }
  for (const [text, expected] of Object.entries(wrong)) {
    const found = problems(text)
    t.ok(
      found.some(problem => expected.test(problem)),
      JSON.stringify({ text, found }),
    )
  }
})

t.test('a field may be derived from another one', async t => {
  const text = (more: string) =>
    `version: 1\nfields:\n  - { name: ip, rule: ip.v1, column: masked_ip }\n  - { name: email, rule: email.v1, column: b }\n${more}`
  const fields = parseFields(text('  - { name: network, derive: network.v1, from: ip }'))
  t.match(fields.get('network'), { name: 'network', rule: 'network.v1', derivedFrom: 'ip', column: undefined })
  t.same(
    eventFields(fields).map(({ name }) => name),
    ['ip', 'email'],
  )
  const wrong: Readonly<Record<string, RegExp>> = {
    '{ name: n, derive: network.v1 }': /^line 5, column 5: a derived field has no from$/,
    '{ name: n, from: ip }': /^line 5, column 5: a derived field has no derive$/,
    '{ derive: network.v1, from: ip }': /^line 5, column 5: a field has no name$/,
    '{ name: n, derive: ip.v1, from: ip }': /^line 5, column 24: derive is not one of network\.v1$/,
    '{ name: n, derive: [x], from: ip }': /^line 5, column 24: derive is not one of network\.v1$/,
    '{ name: n, derive: network.v1, from: 1 }': /^line 5, column 42: from is not text$/,
    '{ name: n, derive: network.v1, from: gone }': /^line 5, column 42: from is not a field that stands before this/,
    '{ name: n, derive: network.v1, from: __proto__ }': /^line 5, column 42: from is not a field that stands before/,
    '{ name: n, derive: network.v1, from: n }': /^line 5, column 42: from is not a field that stands before this one$/,
    '{ name: n, derive: network.v1, from: email }': /^line 5, column 42: from is a field of another rule than ip\.v1$/,
    '{ name: n, derive: network.v1, from: ip }\n  - { name: m, derive: network.v1, from: ip }':
      /^line 6, column 42: from has a derived field already$/,
    '{ name: n, derive: network.v1, from: ip }\n  - { name: m, derive: network.v1, from: n }':
      /^line 6, column 42: from is a derived field itself$/,
    '{ name: ip, derive: network.v1, from: ip }': /^line 5, column 13: name stands twice$/,
    '{ name: locale, derive: network.v1, from: ip }': /^line 5, column 13: name is of a property stored in clear$/,
    '{ name: n, derive: network.v1, from: ip, rule: network.v1 }': /^line 5, column 46: rule does not go with derive$/,
    '{ name: n, derive: network.v1, from: ip, column: c }': /^line 5, column 46: column does not go with derive$/,
    '{ name: n, derive: network.v1, from: ip, required: true }': /^line 5, column 46: required does not go with/,
    '{ name: n, derive: network.v1, from: ip, placeholders: [] }': /^line 5, column 46: placeholders does not go/,
  }
  for (const [entry, expected] of Object.entries(wrong)) t.match(problems(text(`  - ${entry}`)), [expected], entry)
  t.match(
    problems(
      'version: 1\nfields:\n  - { name: n, derive: network.v1, from: ip }\n  - { name: ip, rule: ip.v1, column: a }',
    ),
    [/^line 3, column 42: from is not a field that stands before this one$/],
  )
})

t.test('every mistake is told at once, from top to bottom', async t => {
  const found = problems(`
version: 2
fields:
  - { name: Ip, rule: ip.v2, column: masked ip }
  - { nam: email, rule: email.v1, column: masked_email }
`)
  t.match(found, [
    /^line 2, column 10: version/,
    /^line 4, column 13: name/,
    /^line 4, column 23: rule/,
    /^line 4, column 38: column/,
    /^line 5, column 5: a field has no name/,
    /^line 5, column 7: this key/,
  ])
})

t.test('of another file, given by mistake, nothing is repeated', async t => {
  const secrets = [
    'postgres://worker:hunter2@db.test/vault',
    'password: hunter2',
    '- hunter2: [hunter2',
    '"hunter2',
    '%hunter2\n!hunter2 hunter2',
    'version: 1\nfields: [{ name: hunter2 hunter2, rule: hunter2, column: hunter 2, hunter2: 1 }]',
    '*hunter2',
  ]
  for (const text of secrets) {
    const found = problems(text)
    t.ok(found.length > 0 && !found.join().includes('hunter'), found.join())
  }
})

t.test('hostile files', async t => {
  await checkProperty(
    t,
    'any text gives fields, or problems with a place',
    fc.property(
      fc.oneof(
        fc.string({ unit: fc.constantFrom(...'abn:-[]{},"\'*&!#|>\n\t 1'), maxLength: 60 }),
        fc.jsonValue().map(value => stringify({ version: 1, fields: value })),
        fc.jsonValue().map(value => JSON.stringify({ version: 1, fields: [value] })),
      ),
      text => problems(text).every(problem => /^line \d+, column \d+: /.test(problem)),
    ),
    500,
  )
  const bomb = `a: &a [${'x,'.repeat(9)}x]\n${'bcdefgh'
    .split('')
    .map((name, i) => `${name}: &${name} [${`*${'abcdefgh'[i]},`.repeat(9)}*a]`)
    .join('\n')}`
  t.ok(problems(bomb).length > 0, 'aliases are never expanded')
})
