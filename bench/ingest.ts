import { type Drained, openSetting, type Runner, type Setting, startRunner } from './ingest/setting.ts'
import { median } from './measure.ts'

const rounds = 5
/** Rounds that warm up; V8 needs some 50,000 messages until it has compiled what matters. */
const warmups = 2
const messages = 30_000
/** Messages of one short queue when memory is measured. */
const shortQueue = 10_000
/** The naive loop commits and deletes one by one; more messages would only take longer. */
const naiveMessages = 500
const arrayMessages = 300
const eventsPerMessage = 100

/**
 * Messages a second through the bare SDK, our worker and the naive loop, in turns, each on a queue of its own.
 *
 * @param options.memory measures the worker's memory instead, at 10,000 and at 1,000,000 queued messages; takes minutes
 */
export async function benchIngest({ memory = false } = {}): Promise<Record<string, number>> {
  const setting = await openSetting()
  try {
    return memory ? await measureMemory(setting) : await measureSpeed(setting)
  } finally {
    await setting.close()
  }
}

async function measureSpeed(setting: Setting) {
  const runners = {
    bareDrain: startRunner('bareDrain'),
    worker: startRunner('worker'),
    naive: startRunner('naive'),
    processes2: startRunner('worker', 2),
    arrays: startRunner('worker'),
  }
  const candidates: Record<keyof typeof runners, () => Promise<Drained>> = {
    bareDrain: async () => runners.bareDrain.drain(await setting.fill(messages), messages),
    worker: async () => runners.worker.drain(await setting.fill(messages), messages),
    naive: async () => runners.naive.drain(await setting.fill(naiveMessages), naiveMessages),
    processes2: async () => runners.processes2.drain(await setting.fill(messages), messages),
    arrays: async () => runners.arrays.drain(await setting.fill(arrayMessages, eventsPerMessage), arrayMessages),
  }
  const drained = new Map<string, Drained[]>(Object.keys(candidates).map(name => [name, []]))
  for (let round = -warmups; round < rounds; round++) {
    for (const [name, run] of Object.entries(candidates)) {
      const result = await run()
      if (round >= 0) drained.get(name)!.push(result)
    }
  }
  for (const runner of Object.values<Runner>(runners)) runner.close()
  const medianOf = (name: keyof typeof candidates, figure: keyof Drained) =>
    median(drained.get(name)!.map(result => result[figure]))
  const rate = (name: keyof typeof candidates) => medianOf(name, 'messagesPerSecond')
  const [bareDrain, worker, naive] = [rate('bareDrain'), rate('worker'), rate('naive')]
  return {
    bareDrain,
    worker,
    naive,
    workerToBare: worker / bareDrain,
    workerToNaive: worker / naive,
    rssMb: Math.max(...drained.get('worker')!.map(({ peakRssMb }) => peakRssMb)),
    rssBareMb: Math.max(...drained.get('bareDrain')!.map(({ peakRssMb }) => peakRssMb)),
    cpuMicroseconds: medianOf('worker', 'cpuMicrosecondsPerMessage'),
    cpuMicrosecondsBare: medianOf('bareDrain', 'cpuMicrosecondsPerMessage'),
    processes2: rate('processes2'),
    eventsPerSecond100: rate('arrays') * eventsPerMessage,
  }
}

/**
 * The worker's peak over the same 100,000 messages: of ten queues of 10,000 one after another, and of one that holds
 * 1,000,000. A single queue of 10,000 would end before the heap has its lasting size; all of a million would take fauxqs
 * a quarter of an hour, because it moves the whole array for each message it hands out.
 */
async function measureMemory(setting: Setting) {
  const few = startRunner('worker')
  let small = await few.drain(await setting.fill(shortQueue), shortQueue)
  for (let queue = 1; queue < 10; queue++) small = await few.drain(await setting.fill(shortQueue), shortQueue)
  few.close()
  const many = startRunner('worker')
  const large = await many.drain(await setting.fill(1_000_000), 10 * shortQueue)
  many.close()
  return { rssMb10k: small.peakRssMb, rssMb1M: large.peakRssMb, rss1MTo10k: large.peakRssMb / small.peakRssMb }
}
