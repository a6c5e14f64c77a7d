import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Command, InvalidArgumentError } from 'commander'
import { sampleEvents } from '../local/sample-events.ts'

export function addSampleCommand(program: Command): void {
  program
    .command('sample')
    .description('print realistic login events as a JSON array, the same for the same seed')
    .option('--count <n>', 'how many', wholeNumber, 20)
    .option('--seed <n>', 'which ones', wholeNumber, 1)
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

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number of at most nine digits.')
  return Number(text)
}
