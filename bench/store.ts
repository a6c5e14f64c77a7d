import { load } from './detokenize/load.ts'
import { openSetting, type Setting } from './detokenize/setting.ts'
import { median } from './measure.ts'
import { openPlainInsert } from './store/plain-insert.ts'

const callSize = 10_000
const connections = 4
const seconds = 4
const rounds = 5

/**
 * Values stored a second by one client: calls of 10,000 values that were never sent before, each answered once its event and
 * its originals are committed. Beside it, in turns: rows of the same size that one connection inserts as Postgres takes them
 * fastest from a client, and a bare Fastify route that checks the same JWT and sends the same body back.
 */
export async function benchStore(): Promise<Record<string, number>> {
  const setting = await openSetting()
  const plain = await openPlainInsert(setting.databaseUrl, callSize)
  try {
    const rates = { stored: [] as number[], oneByOne: [] as number[], plain: [] as number[], bare: [] as number[] }
    const next = requestsOf(setting)
    // The first two rounds warm up.
    for (let round = -2; round < rounds; round++) {
      const rate = async (port: number, path: string, count: number) =>
        callSize *
        (await load(port, () => next(path), { connections: count, seconds, isPatient: true })).requestsPerSecond
      const measured = {
        stored: await rate(setting.apiPort, '/v1/tokenize', connections),
        oneByOne: await rate(setting.apiPort, '/v1/tokenize', 1),
        plain: await plain.run(seconds),
        bare: await rate(setting.bareFastifyPort, '/v1/detokenize', connections),
      }
      if (round < 0) continue
      for (const name of Object.keys(rates) as (keyof typeof rates)[]) rates[name].push(measured[name])
    }
    const stored = median(rates.stored)
    return {
      stored,
      oneConnection: median(rates.oneByOne),
      plainInsert: median(rates.plain),
      toPlainInsert: stored / median(rates.plain),
      bareFastify: median(rates.bare),
      toBareFastify: stored / median(rates.bare),
    }
  } finally {
    await plain.close()
    await setting.close()
  }
}

/** Whole requests of values that differ from all before, of the shape of a device id. */
function requestsOf({ jwt }: Setting): (path: string) => Buffer {
  let calls = 0
  return path => {
    calls += 1
    const call = calls.toString(16).padStart(8, '0')
    const values = Array.from({ length: callSize }, (_, n) => {
      return `{"field":"device_id","value":"${call}-7b1d-4f8e-9a6c-${n.toString(16).padStart(12, '0')}"}`
    })
    const body = `{"purpose":"bench","store":true,"values":[${values.join(',')}]}`
    return Buffer.from(
      `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${jwt}\r\n` +
        `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    )
  }
}
