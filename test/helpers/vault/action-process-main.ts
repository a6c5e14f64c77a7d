import { once } from 'node:events'
import { createActLog } from '../../../src/store/action-log.ts'
import { createDatabase } from '../../../src/store/postgres/database.ts'
import type { ActJob } from './action-process.ts'
import { makeAct, principalNamed } from './actions.ts'

/** The child of act-process.ts: says that it is ready, waits for a line, commits acts, and prints what became of them. */
const { url, name, acts, callers, charge }: ActJob = JSON.parse(process.argv[2]!)
const database = createDatabase({ url, poolMax: 1, applicationName: `tokenvault test ${name}` })
const log = createActLog(database)
await log.commit(makeAct(`${name} is ready`, { principal: principalNamed(name) }))
process.stdout.write('ready\n')
await once(process.stdin, 'data')

const committed: [sequence: number, requestId: string, leafHash: string][] = []
let refused = 0
let left = acts
async function call(): Promise<void> {
  while (left > 0) {
    left -= 1
    const requestId = `${name}-${left}`
    const { ruling, sequence, leafHash } = await log.commit(makeAct(requestId, { charge }))
    committed.push([sequence, requestId, Buffer.from(leafHash).toString('hex')])
    if (!ruling.allowed) refused += 1
  }
}
await Promise.all(Array.from({ length: callers }, call))
process.stdout.write(`${JSON.stringify({ committed, refused })}\n`)
await database.destroy()
process.stdin.destroy()
