import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Command } from 'commander'
import { sampleEvents } from '../local/sample-events.ts'
import { wholeNumber } from '../terminal/options.ts'

const nineDigits = wholeNumber(0, 999_999_999, 'It must be a whole number of at most nine digits.')

/** Options and action of `tokenvault sample`. */
export function configure(command: Command): void {
  command
    .option('--count <n>', 'number of events', nineDigits, 20)
    .option('--seed <n>', 'chooses the events', nineDigits, 1)
    .action(async ({ count, seed }: { count: number; seed: number }) => {
      await pipeline(Readable.from(lines(count, seed)), process.stdout, { end: false })
    })
}

function* lines(count: number, seed: number): Generator<string> {
  yield '['
  let separator = '\n'
  for (const event of sampleEvents(count, seed)) {
    yield separator + JSON.stringify(event)
    separator = ',\n'
  }
  yield '\n]\n'
}
