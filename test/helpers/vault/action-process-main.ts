import { once } from 'node:events'
import { createActionLog } from '../../../src/store/action-log.ts'
import { createDatabase } from '../../../src/store/postgres/database.ts'
import type { ActionJob } from './action-process.ts'
import { makeAction, principalNamed } from './actions.ts'

/** The child of action-process.ts: says that it is ready, waits for a line, commits actions, and prints what became of them. */
const { url, name, actions, callers, charge, givesNothing, killedAfter }: ActionJob = JSON.parse(process.argv[2]!)
const database = createDatabase({ url, poolMax: 1, applicationName: `tokenvault test ${name}` })
const log = createActionLog(database)
await log.commit(makeAction(`${name} is ready`, { principal: principalNamed(name) }))
process.stdout.write('ready\n')
await once(process.stdin, 'data')

const committed: [sequence: number, requestId: string, leafHash: string][] = []
let refused = 0
let counted = 0
let left = actions
// A pipe is written at once, so the line is out before a kill.
const report = () => process.stdout.write(`${JSON.stringify({ committed, refused, counted })}\n`)
async function call(): Promise<void> {
  while (left > 0) {
    left -= 1
    const requestId = `${name}-${left}`
    const action = await log.commit(makeAction(requestId, { charge, givesNothing: givesNothing === true }))
    if ('isCounted' in action) counted += 1
    else committed.push([action.sequence, requestId, Buffer.from(action.leafHash).toString('hex')])
    if (!action.admission.allowed) refused += 1
    if (committed.length + counted === killedAfter) {
      report()
      process.kill(process.pid, 'SIGKILL')
    }
  }
}
await Promise.all(Array.from({ length: callers }, call))
report()
await database.destroy()
process.stdin.destroy()
