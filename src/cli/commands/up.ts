import { type Command, InvalidArgumentError } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import { drainOnce } from '../local/drain-once.ts'
import type { UpOptions } from '../local/options.ts'
import { serveUntilStopped } from '../local/serve.ts'
import { defaultDataDir, parseDataDir } from '../local/state.ts'

export function addUpCommand(program: Command): void {
  program
    .command('up')
    .description('run everything on this machine: Postgres, the queue, worker and API, with sample events')
    .option('--data-dir <dir>', 'where state is kept (created with mode 0700)', parseDataDir, defaultDataDir)
    .option(
      '--port <port>',
      'port of the API (default 3000, or a free one where it is taken); 0 takes free ports for all servers',
      port,
    )
    .option('--input <file>', 'send the events of this JSON array to the queue')
    .option('--no-sample', 'send no sample events to a vault that is empty')
    .option('--drain', 'no API, free ports: ingest until the queue is empty, then stop')
    .option('--json', 'with --drain: print the summary as one JSON line')
    .action(async (options: UpOptions) => {
      if (options.json && !options.drain) throw new TokenvaultError('usage', '--json goes with --drain')
      await (options.drain ? drainOnce(options) : serveUntilStopped(options))
    })
}

function port(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw new InvalidArgumentError('It must be 0 to 65535.')
  return Number(text)
}
