import { load, type Measured } from './detokenize/load.ts'
import { openSetting, type Setting } from './detokenize/setting.ts'
import { median } from './measure.ts'

const connections = 16
const seconds = 4
const rounds = 5
const batchSize = 1000
const batchConnections = 4
const originalsBefore = 100_000
const originalsAfter = 10_000_000

/**
 * Requests of one token a second over 16 keep-alive connections, each with its audit event committed, beside pgbench with the
 * same two statements and beside a bare Fastify route that checks the same JWT; then tokens a second in batches of 1,000.
 *
 * @param options.large measures reads at 100,000 and at 10,000,000 originals instead; takes minutes
 */
export async function benchDetokenize({ large = false } = {}): Promise<Record<string, number>> {
  const setting = await openSetting()
  try {
    return large ? await measureLarge(setting) : await measureAll(setting)
  } finally {
    await setting.close()
  }
}

async function measureAll(setting: Setting): Promise<Record<string, number>> {
  const single = requestsOf(setting, 1)
  const batch = requestsOf(setting, batchSize)
  const singles: Measured[] = []
  const bare: number[] = []
  const batches: number[] = []
  const pgbench: number[] = []
  // The first two rounds warm up: V8 goes on compiling for some ten seconds of calls.
  for (let round = -2; round < rounds; round++) {
    const measured = await load(setting.apiPort, single, { connections, seconds })
    const rival = await setting.pgbench.run({ connections, seconds })
    const { requestsPerSecond: bareRate } = await load(setting.bareFastifyPort, single, { connections, seconds })
    const { requestsPerSecond: batchRate } = await load(setting.apiPort, batch, {
      connections: batchConnections,
      seconds,
    })
    if (round < 0) continue
    singles.push(measured)
    bare.push(bareRate)
    batches.push(batchRate * batchSize)
    if (rival !== undefined) pgbench.push(rival)
  }
  const requests = median(singles.map(({ requestsPerSecond }) => requestsPerSecond))
  return {
    requests,
    p50: median(singles.map(({ p50 }) => p50)),
    p99: median(singles.map(({ p99 }) => p99)),
    ...(pgbench.length === 0 ? {} : { pgbench: median(pgbench), toPgbench: requests / median(pgbench) }),
    bareFastify: median(bare),
    toBareFastify: requests / median(bare),
    batchTokens: median(batches),
  }
}

async function measureLarge(setting: Setting): Promise<Record<string, number>> {
  const measure = async () => {
    const rates: number[] = []
    for (let round = -2; round < rounds; round++) {
      const { requestsPerSecond } = await load(setting.apiPort, requestsOf(setting, 1), { connections, seconds })
      if (round >= 0) rates.push(requestsPerSecond)
    }
    return median(rates)
  }
  const before = await measure()
  await setting.growOriginals(originalsAfter - originalsBefore)
  const after = await measure()
  return { requests100k: before, requests10M: after, large: after / before }
}

/** Whole requests for so many tokens, which walk through the vault so that no page is always the same. */
function requestsOf({ jwt, tokens }: Setting, size: number): () => Buffer {
  let first = 0
  return () => {
    // A prime step, so that neighbours in the vault are not asked for together.
    const asked = Array.from({ length: size }, (_, index) => tokens[(first + index * 7919) % tokens.length]!)
    first += size * 7919
    const body = JSON.stringify({ purpose: 'bench', tokens: asked })
    return Buffer.from(
      `POST /v1/detokenize HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${jwt}\r\n` +
        `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    )
  }
}
