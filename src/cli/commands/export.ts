import type { Command } from 'commander'
import { exportMonths, loginRows } from '../../compose/archive.ts'
import { withArchivist } from '../local/key-administrator.ts'
import { megabytes, month } from '../terminal/month.ts'
import { dataDirOption, environmentHelp } from '../terminal/options.ts'
import { createProgressBar } from '../terminal/progress-bar.ts'
import { type Output, tell } from '../terminal/tell.ts'

interface ExportOptions extends Output {
  readonly since: string
  readonly to: string
  readonly dryRun: boolean
  readonly dataDir: string
}

/** Options and action of `tokenvault export`. */
export function configure(command: Command): void {
  command
    .requiredOption('--since <month>', 'copy this month and all after it, such as 2025-11', month)
    .requiredOption('--to <url>', 'where to: file:///directory/ or s3://bucket/prefix; another place than an archive')
    .option('--dry-run', 'only list the months', false)
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line', false)
    .addHelpText('after', `\nDATABASE_URL is that of \`tokenvault migrate\`.\n${environmentHelp('migrate')}`)
    .action(exportRows)
}

async function exportRows(options: ExportOptions): Promise<void> {
  const { since, to: target, dryRun, dataDir, json } = options
  await withArchivist(dataDir, async opened => {
    const months = (await opened.store.monthsBefore('9999-12')).filter(each => each >= since)
    if (dryRun) return tell(options, { dryRun, months }, [`would be copied: ${months.join(', ') || 'no month'}`])
    const bar = createProgressBar({
      total: 0,
      unit: 'rows written and read back',
      isTerminal: process.stderr.isTTY && !json,
    })
    let seen = 0
    const onProgress = (more: number) => {
      seen += more
      bar.update(seen)
    }
    const manifests = await opened.store.holding(() => exportMonths({ ...opened, onProgress }, { months, target }))
    bar.end()
    const copied = manifests.map(({ month, files }) => {
      return { month, rows: loginRows({ files }), bytes: files.reduce((sum, file) => sum + file.bytes, 0) }
    })
    const lines = copied.map(({ month, rows, bytes }) => `${month}: ${rows} rows copied, ${megabytes(bytes)}`)
    tell(options, { months: copied }, lines.length > 0 ? lines : ['there are no rows'])
  })
}
