import t from 'tap'
import { coalesce } from '../../src/concurrency/coalesce.ts'

/** Work that ends when the test says so, and remembers its groups. */
function heldWork() {
  const groups: number[][] = []
  const held: PromiseWithResolvers<readonly string[]>[] = []
  return {
    groups,
    work(group: readonly number[]) {
      groups.push([...group])
      const end = Promise.withResolvers<readonly string[]>()
      held.push(end)
      return end.promise
    },
    finish(index: number) {
      held[index]!.resolve(groups[index]!.map(item => `result of ${item}`))
    },
    fail(index: number, error: Error) {
      held[index]!.reject(error)
    },
  }
}

const oneEach = { weigh: () => 1, maxWeight: 1_000 }

t.test('what comes in one turn of the event loop is one group, and each gets its own result', async t => {
  const { groups, work, finish } = heldWork()
  const submit = coalesce({ lanes: 1, ...oneEach }, work)
  const results = [1, 2].map(submit)
  await null
  results.push(submit(3))
  t.strictSame(groups, [], 'nothing starts before the turn is over')
  await new Promise(setImmediate)
  t.strictSame(groups, [[1, 2, 3]])
  finish(0)
  t.strictSame(await Promise.all(results), ['result of 1', 'result of 2', 'result of 3'])
})

t.test('what comes while every lane works waits, in order, and shares the next group', async t => {
  const { groups, work, finish } = heldWork()
  const submit = coalesce({ lanes: 2, ...oneEach }, work)
  const results: Promise<string>[] = []
  for (const item of [1, 2, 3, 4]) {
    results.push(submit(item))
    await new Promise(setImmediate)
  }
  t.strictSame(groups, [[1], [2]], 'both lanes work')
  finish(1)
  t.equal(await results[1], 'result of 2')
  t.strictSame(groups, [[1], [2], [3, 4]], 'whichever lane is free first')
  finish(2)
  finish(0)
  t.strictSame(
    await Promise.all(results),
    [1, 2, 3, 4].map(item => `result of ${item}`),
  )
})

t.test('a group is bounded by weight and by number, and one item may be heavier than all that', async t => {
  const groups: number[][] = []
  const work = async (group: readonly number[]) => {
    groups.push([...group])
    return group
  }
  const byWeight = coalesce({ lanes: 1, weigh: (item: number) => item, maxWeight: 10 }, work)
  await Promise.all([4, 6, 1, 99, 10, 1, 2].map(byWeight))
  t.strictSame(groups, [[4, 6], [1], [99], [10], [1, 2]])

  groups.length = 0
  const byNumber = coalesce({ lanes: 1, maxItems: 2, ...oneEach }, work)
  await Promise.all([1, 2, 3, 4, 5].map(byNumber))
  t.strictSame(groups, [[1, 2], [3, 4], [5]])
})

t.test('work that fails fails for its whole group, and for nobody else', async t => {
  const { groups, work, finish, fail } = heldWork()
  const submit = coalesce({ lanes: 1, maxItems: 2, ...oneEach }, work)
  const settled = Promise.allSettled([1, 2, 3].map(submit))
  await new Promise(setImmediate)
  fail(0, new Error('away'))
  await new Promise(setImmediate)
  t.strictSame(groups, [[1, 2], [3]])
  finish(1)
  t.match(await settled, [
    { status: 'rejected', reason: { message: 'away' } },
    { status: 'rejected', reason: { message: 'away' } },
    { status: 'fulfilled', value: 'result of 3' },
  ])
  const next = submit(4)
  await new Promise(setImmediate)
  finish(2)
  t.equal(await next, 'result of 4', 'and a lane that ended starts again')
})
