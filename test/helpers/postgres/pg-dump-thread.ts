import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import type { PgDumpThread } from './pg-dump.ts'

/** What the package gives its pg_dump: a server that answers while it is being asked. */
interface Server {
  execProtocolRawStream(bytes: Uint8Array, options: { onRawData: (bytes: Uint8Array) => void }): void
}

type RunPgDump = (options: { pg: Server; args: readonly string[] }) => Promise<{
  exitCode: number
  fileContents: string
  stderr: string
}>

const { directory, args, arrivals } = workerData as PgDumpThread
const port = parentPort!

/**
 * The package exports a function that always asks for INSERT statements, as its own user. The one inside of it takes any arguments:
 * a copy of the module exports that one.
 */
async function loadPgDump(): Promise<RunPgDump> {
  const home = dirname(fileURLToPath(import.meta.resolve('@electric-sql/pglite-tools')))
  const chunk = readdirSync(home).find(name => /^chunk-.*\.js$/.test(name))!
  const text = readFileSync(join(home, chunk), 'utf8')
  const inner = /await (\w+)\(\{pg:\w+,args:/.exec(text)?.[1]
  if (inner === undefined) throw new Error('this version of pglite-tools is made otherwise')
  const path = join(directory, 'pg-dump.mjs')
  writeFileSync(path, `${text.replace(/export\{.*\}/, '')}\nexport { ${inner} as run }\n`)
  copyFileSync(join(home, 'pg_dump.wasm'), join(directory, 'pg_dump.wasm'))
  return (await import(pathToFileURL(path).href)).run
}

/** The next bytes of the server. @throws where it went away */
function receive(): Uint8Array {
  for (;;) {
    const seen = Atomics.load(arrivals, 0)
    const received = receiveMessageOnPort(port)
    if (received?.message === 'end') throw new Error('the server ended the session')
    if (received !== undefined) return received.message
    Atomics.wait(arrivals, 0, seen)
  }
}

/** Takes messages off the front of the bytes: type and body each; the first of a session has no type. */
function* takeMessages(pending: { bytes: Buffer; hasType: boolean }): Generator<{ type: string; body: Buffer }> {
  for (;;) {
    const start = pending.hasType ? 1 : 0
    if (pending.bytes.length < start + 4) return
    const end = start + pending.bytes.readUInt32BE(start)
    if (pending.bytes.length < end) return
    const type = pending.hasType ? String.fromCharCode(pending.bytes[0]!) : ''
    const body = pending.bytes.subarray(start + 4, end)
    pending.bytes = pending.bytes.subarray(end)
    pending.hasType = true
    yield { type, body }
  }
}

const asked = { bytes: Buffer.alloc(0), hasType: false }
const answered = { bytes: Buffer.alloc(0), hasType: true }

/** Whether pg_dump has to go on: the server is ready, asks for the next step of the login, or refused it. */
function isAnswer({ type, body }: { type: string; body: Buffer }, isLogin: boolean): boolean {
  const asksOn = type === 'R' && ![0, 12].includes(body.readUInt32BE(0))
  return type === 'Z' || asksOn || (type === 'E' && isLogin)
}

const server: Server = {
  execProtocolRawStream(bytes, { onRawData }) {
    // The memory is the program's own, and may grow.
    const copy = Uint8Array.from(bytes)
    port.postMessage(copy)
    asked.bytes = Buffer.concat([asked.bytes, copy])
    for (const { type } of takeMessages(asked)) {
      if (!['', 'p', 'Q', 'S', 'F'].includes(type)) continue
      for (let isOver = false; !isOver; ) {
        const data = Buffer.from(receive())
        onRawData(data)
        answered.bytes = Buffer.concat([answered.bytes, data])
        for (const message of takeMessages(answered)) isOver ||= isAnswer(message, type === '' || type === 'p')
      }
    }
  },
}

const run = await loadPgDump()
const { exitCode, fileContents, stderr } = await run({ pg: server, args: [...args, '-f', '/tmp/out.sql'] })
port.postMessage(exitCode === 0 ? { dump: Buffer.from(fileContents, 'utf8') } : { failed: stderr })
