/** The queue server, in a process of its own so that its CPU is not the measured process's. */
import { startFauxqs } from 'fauxqs'
import { bodyOf } from '../../src/cli/local/input-events.ts'
import { sampleEvents } from '../../src/cli/local/sample-events.ts'

/** Makes a queue and fills it; the answer is a `FilledQueue`. */
export interface FillRequest {
  readonly name: string
  readonly messages: number
  readonly eventsPerMessage: number
  readonly seed: number
}

export interface FilledQueue {
  readonly queueUrl: string
  readonly endpoint: string
}

const server = await startFauxqs({ port: 0, logger: false })

process.on('message', ({ name, messages, eventsPerMessage, seed }: FillRequest) => {
  const { queueUrl } = server.createQueue(name, { attributes: { VisibilityTimeout: '600' } })
  let events: unknown[] = []
  for (const event of sampleEvents(messages * eventsPerMessage, seed)) {
    events.push(event)
    if (events.length < eventsPerMessage) continue
    server.sendMessage(name, bodyOf(eventsPerMessage === 1 ? event : events))
    events = []
  }
  process.send!({ queueUrl, endpoint: `http://127.0.0.1:${server.port}` } satisfies FilledQueue)
})
process.on('disconnect', () => process.exit())
