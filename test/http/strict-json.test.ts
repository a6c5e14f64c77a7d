import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { parseStrictJson } from '../../src/http/strict-json.ts'
import { checkProperty } from '../helpers/crypto/property.ts'

t.test('what JSON.stringify writes is read as JSON.parse reads it', async t => {
  const withoutProto = (_: string, value: unknown) => value
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), text => {
      if (text.includes('"__proto__"')) return
      t.strictSame(parseStrictJson(text, 64), JSON.parse(text, withoutProto))
    }),
  )
})

t.test('a name that stands twice is refused wherever and however it is written', async t => {
  for (const text of [
    '{"a":1,"a":1}',
    '{"a":1,"b":[{"c":1 , "c" : 2}]}',
    '{"a":1,"\\u0061":2}',
    '{"a\\"":1,"a\\u0022":2}',
    '{"":1,"":2}',
    '{"a":{"x":1},"a":{"y":1}}',
    '{"__proto__":{}}',
    '[{"\\u005f_proto__":1}]',
    '{"a":[],"a":1}',
    '{"a":{},"a":1}',
    '{"a":"x,","a":1}',
    '{ "a" : 1 ,\n\t"a" : 2 }',
    '[[{"b":[{"a":1}],"a":1,"a":2}]]',
  ]) {
    t.throws(() => parseStrictJson(text, 64), SyntaxError, text)
  }
})

t.test('names that only look alike pass', async t => {
  for (const text of [
    '{"a":1,"A":2}',
    '{"a":{"a":{"a":1}}}',
    '[{"a":1},{"a":2}]',
    '{"a":"a\\":","b":"{\\"a\\":1,\\"a\\":2}"}',
    '{"a":"\\\\","b":"\\\\\\"","c":["a","a"]}',
    '{"a":["a","a",{"a":"a"},"a"],"b":"a"}',
    '{"a":[[],{},"b"],"b":[{}]}',
    '"a:"',
  ]) {
    t.strictSame(parseStrictJson(text, 64), JSON.parse(text), text)
  }
})

t.test('nesting is bounded', async t => {
  t.strictSame(parseStrictJson('[[[]]]', 3), [[[]]])
  t.throws(() => parseStrictJson('[[[[]]]]', 3), SyntaxError)
  t.throws(() => parseStrictJson('{"a":[{"b":{}}]}', 3), SyntaxError)
  t.strictSame(parseStrictJson('[[],[],[],[]]', 2), [[], [], [], []])
})

t.test('text that is no JSON is refused as JSON.parse refuses it, however it confuses the scan', async t => {
  const broken = fc.string({ unit: fc.constantFrom(...'{}[],:"\\a1 '), maxLength: 24 })
  await checkProperty(
    t,
    'refused by both, or strictly read',
    fc.property(broken, text => {
      let native: { value: unknown } | undefined
      let strict: { value: unknown } | undefined
      try {
        native = { value: JSON.parse(text) }
      } catch {}
      try {
        strict = { value: parseStrictJson(text, 64) }
      } catch {}
      return native === undefined ? strict === undefined : strict === undefined || isDeepStrictEqual(strict, native)
    }),
    20_000,
  )
  for (const text of ['', '"', '{"', '{"a', '{"a\\', '"\\', '}', ']]]', '{,"', '{"\\x":1,"\\x":1}']) {
    t.throws(() => parseStrictJson(text, 64), SyntaxError, text)
  }
})
