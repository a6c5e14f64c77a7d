import type { Command } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import { drainOnce } from '../local/drain-once.ts'
import { serveUntilStopped } from '../local/serve.ts'
import type { UpOptions } from '../local/start-up.ts'
import { dataDirOption, wholeNumber } from '../terminal/options.ts'

/** Options and action of `tokenvault up`. */
export function configure(command: Command): void {
  command
    .addOption(dataDirOption('where state is kept (created with mode 0700)'))
    .option(
      '--port <port>',
      'port of the API (default 3000, or a free one where it is taken); 0 takes free ports for all servers',
      wholeNumber(0, 65_535),
    )
    .option('--input <file>', 'send the events of this JSON array to the queue')
    .option('--no-sample', 'do not send sample events to a new vault')
    .option('--policy <file>', 'policy of the API, as POLICY_FILE in production; the API follows its changes')
    .option('--fields <file>', 'fields to tokenize, as FIELDS_FILE in production; missing columns are added')
    .option(
      '--metrics <port>',
      'serve the metrics of the worker on this port; 0 takes a free one',
      wholeNumber(0, 65_535),
    )
    .option('--processes <n>', 'run this many worker processes', wholeNumber(1, 64))
    .option('--drain', 'ingest until the queue is empty, then stop; starts no API and takes free ports')
    .option('--json', 'with --drain: print the summary as one JSON line')
    .action(async (options: UpOptions) => {
      if (options.json && !options.drain) throw new TokenvaultError('usage', '--json goes with --drain')
      const alone = (['policy', 'metrics', 'processes'] as const).find(name => options[name] !== undefined)
      if (options.drain && alone !== undefined)
        throw new TokenvaultError('usage', `--${alone} does not go with --drain`)
      await (options.drain ? drainOnce(options) : serveUntilStopped(options))
    })
}
