import t from 'tap'
import { readLoginEvent } from '../../../src/ingest/events/login-event.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { loginEvent } from '../../helpers/queue/events.ts'

const fields = [...loginFields.values()]
const read = (changes: Record<string, unknown>) => readLoginEvent(loginEvent(7, changes), fields)

t.test('a login event is taken over in our words', async t => {
  t.same(read({}), {
    userId: 'user-7',
    deviceType: 'android',
    locale: 'PT',
    appVersion: 2,
    values: ['10.0.0.7', '593-47-7'],
  })
  t.match(read({ locale: null }), { locale: null })
  t.match(read({ locale: undefined }), { locale: null }, 'locale may be absent')
  t.match(read({ added_later: { any: 'thing' } }), { userId: 'user-7' }, 'producers may add properties')
})

t.test('app_version is the first number wherever it stands, and null where there is none', async t => {
  const versions: readonly (readonly [unknown, number | null])[] = [
    ['2.3.0', 2],
    ['0.96', 0],
    ['10', 10],
    ['007.1', 7],
    ['3.0.0-rc.1+build-5', 3],
    ['v2.3', 2],
    ['2.3.0 (1234)', 2],
    ['2.3.0 ', 2],
    [' 2.3.0\n', 2],
    ['release-12', 12],
    ['Version 4, build 77', 4],
    ['2,3', 2],
    ['.5', 5],
    ['a\x003.1', 3],
    ['\ud8003', 3],
    [`1.${'0'.repeat(5000)}`, 1],
    ['2147483647.0', 2_147_483_647],
    [7, 7],
    [2.3, 2],
    [0, 0],
    [0.96, 0],
    [2_147_483_647.5, 2_147_483_647],
    ['2147483648', null],
    ['99999999999', null],
    ['9'.repeat(1000), null],
    [2_147_483_648, null],
    [Number.POSITIVE_INFINITY, null],
    [-1, null],
    [-0.5, null],
    ['-1', null],
    [' -1', null],
    ['', null],
    [' ', null],
    ['unknown', null],
    ['٢.3', null],
    [null, null],
    [undefined, null],
    [true, null],
    [[2], null],
    [{ major: 2 }, null],
  ]
  for (const [version, number] of versions) {
    const event = read({ app_version: version })
    t.equal(typeof event === 'object' && event.appVersion, number, JSON.stringify(version))
  }
})

t.test('no property that only describes a login keeps it out: what cannot be stored is null', async t => {
  for (const [name, property] of [
    ['device_type', 'deviceType'],
    ['locale', 'locale'],
  ] as const) {
    const longest = '😀'.repeat(32)
    t.match(read({ [name]: longest }), { [property]: longest }, `${name} counts characters as varchar does`)
    for (const value of [
      undefined,
      null,
      `${longest}😀`,
      'x'.repeat(33),
      'a\0b',
      '\ud800',
      'a\udc00b',
      5,
      true,
      {},
      ['ios'],
    ]) {
      t.match(read({ [name]: value }), { userId: 'user-7', [property]: null }, JSON.stringify(value))
    }
  }
  t.same(
    readLoginEvent({ user_id: 'u', ip: '10.0.0.1', device_id: 'd' }, fields),
    { userId: 'u', deviceType: null, locale: null, appVersion: null, values: ['10.0.0.1', 'd'] },
    'user_id and the fields are enough',
  )
})

t.test('without a user or a value to tokenize it is refused by the name of the property', async t => {
  t.not(typeof read({ user_id: '😀'.repeat(128) }), 'string', 'characters are counted as varchar does')
  t.equal(read({ user_id: '😀'.repeat(129) }), 'user_id_too_long')
  t.equal(read({ user_id: 'x'.repeat(129) }), 'user_id_too_long')
  for (const value of ['', 'a\0b', '\ud800', 'a\udc00b', 5, true, {}, []]) {
    t.equal(read({ user_id: value }), 'user_id_invalid', JSON.stringify(value))
  }
  for (const name of ['user_id', 'ip', 'device_id']) {
    t.equal(read({ [name]: undefined }), `${name}_missing`)
    t.equal(read({ [name]: null }), `${name}_missing`)
  }
  for (const value of [1, {}, ['10.0.0.1'], false, '10.0.0.1\0', '\udfff']) t.equal(read({ ip: value }), 'ip_invalid')
})

t.test('what is no object is no event', async t => {
  for (const value of [null, 1, 'text', true, [], [loginEvent(1)]]) {
    t.equal(readLoginEvent(value, fields), 'event_not_object')
  }
})

t.test('__proto__ and inherited names give nothing', async t => {
  const polluted = JSON.parse(`{"__proto__": ${JSON.stringify(loginEvent(1))}}`)
  t.equal(readLoginEvent(polluted, fields), 'user_id_missing')
  t.equal(readLoginEvent(loginEvent(1), [{ name: 'constructor', required: true }]), 'constructor_missing')
  const beside = JSON.parse(JSON.stringify(loginEvent(1)).replace('{', '{"__proto__": {"user_id": "other"}, '))
  t.match(readLoginEvent(beside, fields), { userId: 'user-1' })
  t.equal(Object.hasOwn(Object.prototype, 'user_id'), false)
})
