import type { Command } from 'commander'
import { recallMonth } from '../../compose/archive.ts'
import { withArchivist } from '../local/key-administrator.ts'
import { month } from '../terminal/month.ts'
import { dataDirOption, environmentHelp } from '../terminal/options.ts'
import { type Output, tell } from '../terminal/tell.ts'

interface RecallOptions extends Output {
  readonly month: string
  readonly from?: string
  readonly dataDir: string
}

/** Options and action of `tokenvault recall`. */
export function configure(command: Command): void {
  command
    .requiredOption('--month <month>', 'the month to bring back, such as 2025-11', month)
    .option('--from <url>', 'where its files are now; where they were written to when absent')
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line', false)
    .addHelpText('after', `\nDATABASE_URL is that of \`tokenvault migrate\`.\n${environmentHelp('migrate')}`)
    .action(recall)
}

async function recall(options: RecallOptions): Promise<void> {
  const { month, from, dataDir } = options
  await withArchivist(dataDir, async opened => {
    const { rows, parts, tokens } = await opened.store.holding(() => recallMonth(opened, { month, from }))
    const lines = [`${month}: ${rows} rows are in the database again`]
    if (tokens.translated > 0) lines.push(`${tokens.translated} tokens were replaced by their successors`)
    if (tokens.left > 0) lines.push(`${tokens.left} tokens are of a retired key and stay as they are`)
    tell(options, { month, rows, parts, tokens }, lines)
  })
}
