import { openSync } from 'node:fs'
import { devNull } from 'node:os'
import { pino } from 'pino'
import { composeWorker } from '../../src/compose/worker.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createLog } from '../../src/log.ts'
import type { Candidate } from './candidate.ts'

/** `tokenvault worker` as it is; its log lines go nowhere. */
export const ourWorker: Candidate = async ({ worker: environment }, done, stop) => {
  const log = createLog('info', pino.destination({ fd: openSync(devNull, 'w') }))
  const worker = await composeWorker(loadConfig('worker', environment), {
    log,
    environment,
    observe: event => {
      if (event.kind === 'batch') done(event.messages - event.released - event.undeleted)
    },
  })
  await worker.run({ drain: false, signal: stop })
  await worker.close()
}
