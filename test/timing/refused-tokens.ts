import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { signJwt } from '../helpers/http/jwks-server.ts'
import { startVaultApi } from '../helpers/http/vault-api.ts'
import { seededRandom, shuffle } from './random.ts'
import { compare, threshold } from './welch.ts'

/**
 * `npm run test:timing`: does the time of a reply tell why a token was refused, and above all whether the vault holds a token
 * that the caller may not reveal? Every request is a whole one: JWT, policy, look-up, audit event committed, reply.
 * TIMING_SAMPLES requests a class, in an order that TIMING_SEED decides.
 */
const samples = Number(process.env['TIMING_SAMPLES'] ?? 5000)
const seed = Number(process.env['TIMING_SEED'] ?? randomInt(2 ** 31))
const warmUps = 500
const stored = 200

const policy = `
version: 1
roles:
  devices: { reveal: { device_id: full }, purposes: ["*"] }
`

t.test(`TIMING_SEED=${seed} TIMING_SAMPLES=${samples}`, { timeout: 3_600_000 }, async t => {
  const random = seededRandom(seed)
  const api = await startVaultApi(t, { policy, originals: stored, environment: { LOG_LEVEL: 'error' } })
  const absent = (field: string, count: number, value: (index: number) => string) =>
    api.vault.tokenizer
      .tokenizeValues(
        field,
        Array.from({ length: count }, (_, index) => value(index)),
      )
      .map(result => {
        if (!('token' in result)) throw new Error('a test value was refused')
        return result.token
      })
  const unknown = absent('device_id', stored, index => `b-${String(index).padStart(4, '0')}`)
  const classes: Readonly<Record<string, readonly string[]>> = {
    'unknown token': unknown,
    'malformed token': unknown.map(token => `${token.slice(0, -2)}!!`),
    'token of a field not permitted, in the vault': api.tokens,
    'token of a field not permitted, not in the vault': absent('ip', stored, index => `10.9.0.${index}`),
  }
  const jwt = await signJwt(api.key, { sub: 'casey', roles: ['devices'], exp: Math.floor(Date.now() / 1000) + 3500 })
  const socket = connect(Number(new URL(api.origin).port), '127.0.0.1').setNoDelay(true)
  await once(socket, 'connect')
  t.teardown(() => socket.destroy())

  const names = Object.keys(classes)
  const order = shuffle(
    names.flatMap(name => Array<string>(samples).fill(name)),
    random,
  )
  const warm = shuffle(
    names.flatMap(name => Array<string>(warmUps).fill(name)),
    random,
  )
  const times = new Map(names.map(name => [name, [] as number[]]))
  for (const [index, name] of [...warm, ...order].entries()) {
    const tokens = classes[name]!
    const milliseconds = await ask(socket, request(jwt, tokens[Math.floor(random() * tokens.length)]!))
    if (index >= warm.length) times.get(name)!.push(milliseconds)
  }

  for (const [name, measured] of times) {
    const sorted = measured.toSorted((a, b) => a - b)
    const at = (share: number) => sorted[Math.floor(share * sorted.length)]!.toFixed(3)
    t.comment(`${name}: median ${at(0.5)} ms, 5 % ${at(0.05)}, 95 % ${at(0.95)}`)
  }
  for (const [index, first] of names.entries()) {
    for (const second of names.slice(index + 1)) {
      const { t: worst, kept } = compare(times.get(first)!, times.get(second)!)
      t.ok(
        Math.abs(worst) < threshold,
        `t = ${worst.toFixed(2)} (${(kept * 100).toFixed(0)} % kept): ${first} / ${second}`,
      )
    }
  }
})

/** Requests of equal length, whatever the length of the token. */
function request(jwt: string, token: string): string {
  const body = JSON.stringify({ purpose: 'timing', tokens: [token] }).padEnd(200)
  const head = [
    'POST /v1/detokenize HTTP/1.1',
    'host: a',
    `authorization: Bearer ${jwt}`,
    'content-type: application/json',
  ]
  return `${[...head, `content-length: ${body.length}`].join('\r\n')}\r\n\r\n${body}`
}

/** @returns milliseconds from the first byte written to the last byte read */
async function ask(socket: Socket, text: string): Promise<number> {
  let reply = ''
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const begun = process.hrtime.bigint()
  const read = (chunk: Buffer) => {
    const now = process.hrtime.bigint()
    reply += chunk.toString('latin1')
    const end = reply.indexOf('\r\n\r\n')
    const length = Number(/content-length: (\d+)/i.exec(reply)?.[1] ?? Number.NaN)
    if (end === -1 || !(reply.length >= end + 4 + length)) return
    socket.off('data', read)
    if (reply.startsWith('HTTP/1.1 200 ')) resolve(Number(now - begun) / 1e6)
    else reject(new Error(reply.slice(0, 400)))
  }
  socket.on('data', read).write(text)
  return promise
}
