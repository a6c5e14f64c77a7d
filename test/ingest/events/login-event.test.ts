import t from 'tap'
import { readLoginEvent } from '../../../src/ingest/events/login-event.ts'
import { loginEvent } from '../../helpers/queue/events.ts'

const fields = ['ip', 'device_id']
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

t.test('app_version is the first number of the version', async t => {
  for (const [text, number] of [
    ['2.3.0', 2],
    ['0.96', 0],
    ['10', 10],
    ['007.1', 7],
    ['3.0.0-rc.1+build-5', 3],
    ['2147483647.0', 2_147_483_647],
  ]) {
    t.match(read({ app_version: text }), { appVersion: number }, String(text))
  }
  for (const text of ['', 'v2', '.5', '-1', '2,3', '2147483648', '99999999999', '2 3', '٢.3', '2.3\n', '1e3']) {
    t.equal(read({ app_version: text }), 'app_version_invalid', JSON.stringify(text))
  }
  t.equal(read({ app_version: 2.3 }), 'app_version_invalid', 'a number has lost its zeros already')
  t.equal(read({ app_version: `1.${'0'.repeat(63)}` }), 'app_version_too_long')
})

t.test('what the columns cannot hold is refused by the name of the property', async t => {
  for (const [name, limit] of [
    ['user_id', 128],
    ['device_type', 32],
    ['locale', 32],
  ] as const) {
    t.not(typeof read({ [name]: '😀'.repeat(limit) }), 'string', `${name} counts characters as varchar does`)
    t.equal(read({ [name]: '😀'.repeat(limit + 1) }), `${name}_too_long`)
    t.equal(read({ [name]: 'x'.repeat(limit + 1) }), `${name}_too_long`)
    for (const value of ['a\0b', '\ud800', 'a\udc00b', 5, true, {}, []]) {
      t.equal(read({ [name]: value }), `${name}_invalid`, JSON.stringify(value))
    }
  }
  t.equal(read({ user_id: '' }), 'user_id_invalid')
  for (const name of ['user_id', 'device_type', 'app_version', 'ip', 'device_id']) {
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
  t.equal(readLoginEvent(loginEvent(1), ['constructor']), 'constructor_missing')
  const beside = JSON.parse(JSON.stringify(loginEvent(1)).replace('{', '{"__proto__": {"user_id": "other"}, '))
  t.match(readLoginEvent(beside, fields), { userId: 'user-1' })
  t.equal(Object.hasOwn(Object.prototype, 'user_id'), false)
})
