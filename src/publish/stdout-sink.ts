import type { Writable } from 'node:stream'
import type { CheckpointSink } from '../vault/evidence/ports.ts'
import { publishError } from './naming.ts'

/**
 * One JSON line a checkpoint, `{"event":"checkpoint","treeSize":…,"note":…}`, for those whose log collector is out of
 * reach of the database's administrators. What starts anew tells the newest one again.
 *
 * @param stream standard output
 * @returns a sink that throws TokenvaultError `checkpoint_unavailable`
 */
export function createStdoutSink(stream: Writable): CheckpointSink {
  // A reader that goes away is told to the write below; unheard, its event would end the process.
  stream.on('error', () => {})
  return {
    async publish({ treeSize, note }) {
      const line = `${JSON.stringify({ event: 'checkpoint', treeSize, note })}\n`
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      stream.write(line, error => (error ? reject(publishError('standard output', error)) : resolve()))
      await promise
    },
  }
}
