import t from 'tap'
import { seededRandom } from './random.ts'
import { compare, threshold, welchT } from './welch.ts'

const seed = Number(process.env['FC_SEED'] ?? 20260712)
t.comment(`FC_SEED=${seed}`)

/** Milliseconds as a busy machine gives them: a floor, noise around a millisecond, and now and then a long pause. */
function latencies(count: number, random: () => number, slower = 0): number[] {
  return Array.from({ length: count }, () => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
    const pause = random() < 0.02 ? 30 * random() : 0
    return 2 + Math.exp(normal * 0.6) + pause + slower
  })
}

t.test('the statistic is that of the textbook', async t => {
  // Example 1 of the article on Welch's t-test in Wikipedia.
  const a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4]
  const b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4]
  t.equal(welchT(a, b).toFixed(2), '-2.46')
  t.equal(welchT(b, a), -welchT(a, b))
  t.equal(welchT([1, 1, 1], [1, 1, 1]), 0)
})

t.test('classes that take equally long are not told apart', async t => {
  const random = seededRandom(seed)
  for (let round = 0; round < 10; round++) {
    const { t: worst } = compare(latencies(2000, random), latencies(2000, random))
    t.ok(Math.abs(worst) < threshold, worst.toFixed(2))
  }
})

t.test('a difference that the pauses of a machine hide is found', async t => {
  const random = seededRandom(seed)
  for (const [slower, count] of [
    [1, 1000],
    [0.1, 8000],
  ] as const) {
    const { t: worst } = compare(latencies(count, random, slower), latencies(count, random))
    t.ok(worst > threshold, `${slower} ms, ${count} samples: ${worst.toFixed(2)}`)
  }
  const rare = latencies(4000, random).map(value => (random() < 0.1 ? value + 1.5 : value))
  t.ok(compare(rare, latencies(4000, random)).t > threshold, 'a way that is taken one time in ten')
})

t.test('cropping shows what the whole does not', async t => {
  const random = seededRandom(seed)
  const first = latencies(4000, random, 0.15).map((value, index) => (index % 50 === 0 ? value + 400 * random() : value))
  const second = latencies(4000, random).map((value, index) => (index % 50 === 0 ? value + 400 * random() : value))
  t.ok(Math.abs(welchT(first, second)) < threshold)
  const { t: worst, kept } = compare(first, second)
  t.ok(worst > threshold && kept < 1, `${worst.toFixed(2)} of ${kept.toFixed(2)}`)
})
