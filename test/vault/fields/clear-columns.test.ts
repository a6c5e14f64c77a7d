import fc from 'fast-check'
import t from 'tap'
import { createClearColumns } from '../../../src/vault/fields/clear-columns.ts'
import { parseClearType } from '../../../src/vault/fields/clear-types.ts'
import { convertClearValue } from '../../../src/vault/fields/clear-values.ts'
import { parseFieldsFile } from '../../../src/vault/files/fields-file.ts'
import { checkProperty } from '../../helpers/crypto/property.ts'
import { createTestDatabase } from '../../helpers/postgres/embedded-postgres.ts'
import { connectTo } from '../../helpers/postgres/vault-database.ts'

const convert = (type: string, value: unknown) => convertClearValue(parseClearType(type)!, value)

t.test('values become text that their column takes, and null where they do not fit', async t => {
  const cases: readonly (readonly [type: string, value: unknown, expected: string | null])[] = [
    ['varchar(5)', '2.3.0', '2.3.0'],
    ['varchar(5)', '2.3.10', null],
    ['varchar(2)', '😀😀', '😀😀'],
    ['varchar(2)', '😀😀😀', null],
    ['varchar(5)', 7, '7'],
    ['varchar(5)', true, 'true'],
    ['text', '', ''],
    ['text', 'a\0', null],
    ['text', '\ud800', null],
    ['text', ['a'], null],
    ['text', { a: 1 }, null],
    ['text', null, null],
    ['integer', 2_147_483_647, '2147483647'],
    ['integer', 2_147_483_648, null],
    ['integer', ' -7 ', '-7'],
    ['integer', '7.0', '7'],
    ['integer', 7.5, null],
    ['integer', 'seven', null],
    ['integer', '', null],
    ['bigint', '9223372036854775807', '9223372036854775807'],
    ['bigint', '9223372036854775808', null],
    ['bigint', 2 ** 53, null],
    ['numeric(4,2)', 12.345, '12.35'],
    ['numeric(4,2)', '-0.005', '-0.01'],
    ['numeric(4,2)', '99.994', '99.99'],
    ['numeric(4,2)', '99.995', null],
    ['numeric(4,0)', '1e3', '1000'],
    ['numeric(4,2)', '9'.repeat(500), null],
    ['numeric(4,2)', 1e-300, '0.00'],
    ['double precision', '1e400', null],
    ['double precision', 5e-324, '5e-324'],
    ['double precision', '0x10', null],
    ['double precision', 'NaN', null],
    ['boolean', 'TRUE', 'true'],
    ['boolean', 1, null],
    ['date', '2026-02-28', '2026-02-28'],
    ['date', '2026-02-30', null],
    ['date', '0000-01-01', null],
    ['date', 'today', null],
    ['timestamptz', '2026-02-28T23:59:59.1234567+05:30', '2026-02-28T18:29:59.123456Z'],
    ['timestamptz', '2026-02-28T23:59:59Z', '2026-02-28T23:59:59.0Z'],
    ['timestamptz', '2026-02-30T00:00:00Z', null],
    ['timestamptz', '9999-12-31T23:59:59-01:00', null],
    ['timestamptz', '2026-02-28T23:59:60Z', null],
    ['timestamptz', '2026-02-28 23:59:59', null],
    ['timestamptz', 'infinity', null],
  ]
  for (const [type, value, expected] of cases)
    t.equal(convert(type, value), expected, `${type} ${JSON.stringify(value)?.slice(0, 40)}`)
})

t.test('Postgres takes every text that a value becomes, and reads a number as what it was', async t => {
  const client = await connectTo(t, (await createTestDatabase(t)).adminUrl)
  const types = [
    ...['text', 'varchar(3)', 'integer', 'bigint', 'numeric(38,0)', 'numeric(5,5)', 'numeric(9,2)'],
    ...['double precision', 'boolean', 'date', 'timestamptz'],
  ]
  const digits = fc.string({ unit: fc.constantFrom(...'0123456789.+-eE '), maxLength: 24 })
  const times = fc
    .tuple(fc.date({ noInvalidDate: true }), fc.constantFrom('Z', 'z', '+14:00', '-12:59', '+23:59'))
    .map(([date, zone]) => date.toISOString().replace('Z', zone))
  const value = fc.oneof(
    fc.jsonValue(),
    fc.double(),
    fc.integer(),
    fc.bigInt({ min: -(2n ** 66n), max: 2n ** 66n }).map(String),
    digits,
    times,
    times.map(text => text.slice(0, 10)),
    fc.string({ unit: 'binary', maxLength: 5 }),
  )
  await checkProperty(
    t,
    'whatever the value',
    fc.asyncProperty(fc.array(value, { minLength: 1, maxLength: 30 }), async values => {
      for (const type of types) {
        const texts = values.map(each => convert(type, each))
        const read = `SELECT unnest($1::text[])::${type}::text AS text, pg_input_is_valid(unnest($1::text[]), $2) AS valid`
        const { rows } = await client.query(read, [texts, type])
        for (const [index, { text, valid }] of rows.entries()) {
          if (texts[index] === null) continue
          if (!valid) return false
          if (['text', 'varchar(3)', 'integer', 'bigint', 'numeric(9,2)'].includes(type) && text !== texts[index])
            return false
        }
      }
      return true
    }),
    25,
  )
})

const file = (clear: string) => `version: 1
fields:
  - { name: ip, rule: ip.v1, column: masked_ip }
  - { name: email, rule: email.v1, column: masked_email }
  - { name: network, derive: network.v1, from: ip }
clear:
${clear}`

t.test('clear columns are read from FIELDS_FILE', async t => {
  const { clear } = parseFieldsFile(
    file(`  - { property: app_version, column: app_version_full, type: varchar(32) }
  - { property: "Battery Level", column: battery, type: "numeric(5, 2)" }
`),
  )
  t.match(clear, [
    { property: 'app_version', column: 'app_version_full', type: 'character varying(32)' },
    { property: 'Battery Level', column: 'battery', type: 'numeric(5,2)' },
  ])
  t.same(parseFieldsFile(file('  []')).clear, [])
  t.equal(createClearColumns([{ property: 'a', column: 'b', type: 'integer' }])[0]!.convert('7'), '7')
})

t.test('a clear column that would show a value, or hide another column, is refused by line and column', async t => {
  const entry = (property: string, column: string, type: string) =>
    `  - { property: ${property}, column: ${column}, type: ${type} }\n`
  const wrong: readonly (readonly [clear: string, problem: RegExp])[] = [
    ...['ip', 'IP', '" ip "', 'email', 'network', 'device_id', 'Device_ID'].map(
      name => [entry(name, 'a', 'text'), /line 7, column 17: property is tokenized/] as const,
    ),
    ...['client_ip', 'ipAddress', 'x-real-ip', 'peer.ipv6', 'ip_addr', 'clientIp'].map(
      name => [entry(name, 'a', 'text'), /line 7, column 17: property is called an IP address/] as const,
    ),
    [entry('user_id', 'a', 'text'), /property is stored in clear as user_id already/],
    [entry('""', 'a', 'text'), /property is not a name of a property/],
    [entry('a', 'a', 'text') + entry('a', 'b', 'text'), /line 8, column 17: property stands twice/],
    [entry('a', 'c', 'text') + entry('b', 'c', 'text'), /line 8, column 28: column stands twice/],
    ...['login_id', 'create_date', 'masked_ip', 'masked_device_id', 'masked_email', 'locale'].map(
      name => [entry('a', name, 'text'), /column of login_details holds something else/] as const,
    ),
    ...['ctid', 'xmin', 'user', 'order', 'select'].map(
      name => [entry('a', name, 'text'), /column is a word of Postgres/] as const,
    ),
    [entry('a', '"b c"', 'text'), /column is not a plain name/],
    ...['json', 'varchar', 'varchar(0)', 'VARCHAR(3)', '"text[]"', '"text; drop table x"', 'numeric', 'inet'].map(
      type => [entry('a', 'b', type), /type is not one of text, varchar\(n\)/] as const,
    ),
    [entry('a', 'b', '"numeric(39,0)"'), /type has more than 38 digits/],
    [entry('a', 'b', '"numeric(3,4)"'), /type has more than 38 digits, or more behind/],
    ['  - { property: a, column: b }\n', /a clear column has no type/],
    [Array.from({ length: 65 }, (_, n) => entry(`p${n}`, `c${n}`, 'text')).join(''), /clear/],
  ]
  for (const [clear, problem] of wrong)
    t.throws(() => parseFieldsFile(file(clear)), { code: 'config_invalid', message: problem }, clear.slice(0, 80))
  for (const name of ['zip', 'ship_date', 'tip', 'description', 'ipad_model'])
    t.doesNotThrow(() => parseFieldsFile(file(entry(name, 'a', 'text'))), name)
})

t.test('every reserved word of this server is refused as a column', async t => {
  const client = await connectTo(t, (await createTestDatabase(t)).adminUrl)
  const { rows } = await client.query<{ word: string }>(
    `SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T') UNION SELECT attname FROM pg_attribute
     WHERE attrelid = 'pg_class'::regclass AND attnum < 0`,
  )
  t.ok(rows.length > 90)
  for (const { word } of rows)
    t.throws(() => parseFieldsFile(file(`  - { property: a, column: "${word}", type: text }`)), word)
})
