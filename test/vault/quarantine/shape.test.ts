import t from 'tap'
import { describeShape } from '../../../src/vault/quarantine/shape.ts'

const known = ['user_id', 'ip']

t.test('a shape tells types and counts, and neither a value nor a name that a producer chose', async t => {
  const body = '{"ip":["canary-1"],"canary-2":1,"__proto__":{"canary-3":0},"user_id":null,"toString":2}'
  const shape = describeShape(body, known)
  t.strictSame(shape, {
    json: 'object',
    properties: [
      { name: 'user_id', type: 'null' },
      { name: 'ip', type: 'array' },
    ],
    otherProperties: 3,
  })
  t.notMatch(JSON.stringify(shape), /canary|toString/)
})

t.test('whatever the body is, it has a shape', async t => {
  t.strictSame(describeShape('{"canary', known), { json: 'invalid' })
  t.strictSame(describeShape('', known), { json: 'invalid' })
  t.strictSame(describeShape('[{},1]', known), { json: 'array', elements: 2 })
  for (const [body, json] of [
    ['"canary"', 'string'],
    ['1', 'number'],
    ['true', 'boolean'],
    ['null', 'null'],
  ] as const)
    t.strictSame(describeShape(body, known), { json })
  t.strictSame(describeShape(`${'['.repeat(20_000)}${']'.repeat(20_000)}`, known), { json: 'array', elements: 1 })
  t.strictSame(describeShape('{"constructor":1}', ['constructor', 'valueOf']).properties, [
    { name: 'constructor', type: 'number' },
    { name: 'valueOf', type: 'missing' },
  ])
})
