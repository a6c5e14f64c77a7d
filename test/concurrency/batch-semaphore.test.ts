import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { PassThrough } from 'node:stream'
import t from 'tap'
import { createBatchSemaphore } from '../../src/concurrency/batch-semaphore.ts'
import type { DetokenizeRequest } from '../../src/vault/tokens/detokenize.ts'
import { post, receipt, startApp } from '../helpers/http/http-app.ts'
import { signJwt } from '../helpers/http/jwks-server.ts'

/** A semaphore, and work that goes on until it is told to end. */
function start(maxItems: number) {
  const semaphore = createBatchSemaphore(maxItems)
  const running = new Map<string, { items: number; end: () => void; fail: (error: Error) => void }>()
  const begin = (name: string, items: number, destination = new PassThrough()) => {
    const done = semaphore.run(items, destination, async () => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      running.set(name, { items, end: resolve, fail: reject })
      await promise.finally(() => running.delete(name))
      return name
    })
    return { done, waits: () => destination.listenerCount('close') > 0, leave: () => destination.destroy() }
  }
  return {
    begin,
    running: () => [...running.keys()].join(''),
    at: (name: string) => running.get(name)!,
    settled: () => new Promise(setImmediate),
  }
}

t.test('items that fit run at once, and the others wait in order', async t => {
  const { begin, running, at, settled } = start(10)
  const calls = (
    [
      ['a', 4],
      ['b', 6],
      ['c', 5],
      ['d', 1],
      ['e', 9],
    ] as const
  ).map(([name, items]) => begin(name, items))
  await settled()
  t.equal(running(), 'ab')
  at('a').end()
  await settled()
  t.equal(running(), 'b', 'nobody small overtakes c')
  at('b').end()
  await settled()
  t.equal(running(), 'cd')
  at('c').end()
  await settled()
  t.equal(running(), 'de')
  at('d').end()
  at('e').end()
  t.strictSame(await Promise.all(calls.map(({ done }) => done)), ['a', 'b', 'c', 'd', 'e'])
})

t.test('what fails gives its items back, and what is too large runs alone', async t => {
  const { begin, running, at, settled } = start(10)
  const first = begin('a', 10)
  const second = begin('b', 50)
  await settled()
  at('a').fail(new Error('failed'))
  await t.rejects(first.done, { message: 'failed' })
  await settled()
  t.equal(running(), 'b')
  const third = begin('c', 1)
  await settled()
  t.equal(running(), 'b')
  at('b').end()
  t.equal(await second.done, 'b')
  await settled()
  at('c').end()
  t.equal(await third.done, 'c')
})

t.test('who goes away while waiting gives the place up, and is not worked on', async t => {
  const { begin, running, at, settled } = start(10)
  const first = begin('a', 6)
  const second = begin('b', 10)
  const third = begin('c', 4)
  t.strictSame([first.waits(), second.waits(), third.waits()], [false, true, true], 'only who waits is listened to')
  second.leave()
  await t.rejects(second.done, { code: 'overloaded' })
  await settled()
  t.equal(running(), 'ac')
  first.leave()
  for (const { waits } of [first, second, third]) t.notOk(waits(), 'who is worked on is let be')
  at('a').end()
  at('c').end()
  t.strictSame(await Promise.all([first.done, third.done]), ['a', 'c'])
  await t.rejects(begin('d', 1, new PassThrough().destroy()).done, { code: 'overloaded' }, 'gone before')
  t.equal(running(), '')
})

t.test('however many calls come at once, no more items than the bound are in work', async t => {
  let items = 0
  let most = 0
  let calls = 0
  const work = async <T>(count: number, result: T) => {
    calls += 1
    items += count
    most = Math.max(most, items)
    await new Promise(setImmediate)
    items -= count
    if (calls % 5 === 0) throw new Error('some fail')
    return result
  }
  const app = await startApp(t, {
    maxItemsAtOnce: 250,
    verbs: {
      detokenize: (_, { tokens }) => work(tokens.length, { outcome: 'complete', items: [], receipt }),
      tokenize: (_, { values }) => work(values.length, { outcome: 'complete', stored: false, items: [], receipt }),
    },
  })
  const jwt = await signJwt(app.key)
  const purpose = 'fraud_investigation'
  const replies = await Promise.all(
    Array.from({ length: 60 }, (_, n) =>
      n % 2 === 0
        ? post(app, '/v1/detokenize', { purpose, tokens: Array(100).fill('x') }, { jwt })
        : post(app, '/v1/tokenize', { purpose, values: Array(80).fill({ field: 'ip', value: 'x' }) }, { jwt }),
    ),
  )
  t.ok(replies.every(({ status }) => status === 200 || status === 500))
  t.equal(calls, 60)
  t.ok(most > 100 && most <= 250, `at most ${most} at once`)
})

t.test('a caller that hangs up while it waits is never worked on, and those behind it are', async t => {
  const going = Promise.withResolvers<void>()
  const entered = Promise.withResolvers<void>()
  const purposes: string[] = []
  const app = await startApp(t, {
    maxItemsAtOnce: 1,
    verbs: {
      detokenize: async (_, { purpose }: DetokenizeRequest) => {
        purposes.push(purpose)
        entered.resolve()
        await going.promise
        return { outcome: 'complete', items: [], receipt }
      },
    },
  })
  const jwt = await signJwt(app.key)
  const first = post(app, '/v1/detokenize', { purpose: 'first', tokens: ['x'] }, { jwt })
  await entered.promise
  const arrived = once(app.app.server, 'request')
  const leaving = httpRequest(`${app.origin}/v1/detokenize`, {
    method: 'POST',
    agent: false,
    headers: { authorization: `Bearer ${jwt}`, 'content-type': 'application/json' },
  }).on('error', () => {})
  leaving.end(JSON.stringify({ purpose: 'leaving', tokens: ['x'] }))
  const [, response] = await arrived
  // It waits, once its going away is waited for.
  while (!response.listeners('close').some(({ name }: { name: string }) => name === 'leave'))
    await new Promise(setImmediate)
  const left = once(response, 'close')
  leaving.destroy()
  await left
  const last = post(app, '/v1/detokenize', { purpose: 'last', tokens: ['x'] }, { jwt })
  going.resolve()
  t.strictSame([(await first).status, (await last).status], [200, 200])
  t.strictSame(purposes, ['first', 'last'])
})
