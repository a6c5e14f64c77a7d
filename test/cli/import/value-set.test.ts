import t from 'tap'
import { ValueSet } from '../../../src/cli/import/value-set.ts'

t.test('a set knows what was added and nothing else, however often it grew', async t => {
  const set = new ValueSet()
  const values = Array.from({ length: 20_000 }, (_, n) => `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`)
  for (const value of [...values, ...values]) set.add(value)
  t.equal(set.size, values.length)
  t.ok(values.every(value => set.has(value)))
  t.notOk(values.some(value => set.has(`${value} `) || set.has(`x${value}`)))
  t.notOk(new ValueSet().has(''))
})
