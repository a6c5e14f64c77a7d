import type { Command } from 'commander'
import type { Manifest } from '../../archive/manifest.ts'
import { type Archivist, archiveMonth, loginRows, removeObsolete } from '../../compose/archive.ts'
import { TokenvaultError } from '../../errors.ts'
import type { FilePlace } from '../../publish/place.ts'
import { withArchivist } from '../local/key-administrator.ts'
import { megabytes, month, presentMonth } from '../terminal/month.ts'
import { dataDirOption, environmentHelp } from '../terminal/options.ts'
import { createProgressBar } from '../terminal/progress-bar.ts'
import { type Output, tell } from '../terminal/tell.ts'

interface ArchiveOptions extends Output {
  readonly before: string
  readonly to: string
  readonly dryRun: boolean
  readonly dataDir: string
}

/** Options and action of `tokenvault archive`. */
export function configure(command: Command): void {
  command
    .requiredOption('--before <month>', 'move the months before this one, such as 2026-01', month)
    .requiredOption('--to <url>', 'where to: file:///directory/ or s3://bucket/prefix')
    .option('--dry-run', 'only list the months', false)
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line', false)
    .addHelpText('after', `\nDATABASE_URL is that of \`tokenvault migrate\`.\n${environmentHelp('migrate')}`)
    .action(archive)
}

async function archive(options: ArchiveOptions): Promise<void> {
  const { before, to: target, dryRun, dataDir } = options
  if (before > presentMonth())
    throw new TokenvaultError('usage', '--before is a later month than the present one, whose rows are still coming in')
  await withArchivist(dataDir, async opened => {
    const months = await opened.store.monthsBefore(before)
    if (dryRun) return tell(options, { dryRun, months }, [`would be moved: ${months.join(', ') || 'no month'}`])
    const place = await opened.openPlace(target)
    try {
      const done = await opened.store.holding(() => archiveMonths(opened, place, { months, target, options }))
      const moved = done.map(({ month, part, files }) => {
        const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
        return { month, part, rows: loginRows({ files }), bytes }
      })
      const lines = moved.map(({ month, part, rows, bytes }) => {
        return `${month}: ${rows} rows moved, ${megabytes(bytes)}${part > 1 ? `, part ${part}` : ''}`
      })
      tell(options, { months: moved }, lines.length > 0 ? lines : ['no rows are older'])
    } finally {
      place.close()
    }
  })
}

async function archiveMonths(
  opened: Archivist,
  place: FilePlace,
  job: { readonly months: readonly string[]; readonly target: string; readonly options: ArchiveOptions },
): Promise<readonly Manifest[]> {
  const { months, target, options } = job
  for (const part of await opened.store.readParts()) await removeObsolete(opened, part)
  const done: Manifest[] = []
  for (const each of months) {
    const isTerminal = process.stderr.isTTY && !options.json
    const bar = createProgressBar({ total: 0, unit: `rows of ${each} written and read back`, isTerminal })
    let rows = 0
    const onProgress = (more: number) => {
      rows += more
      bar.update(rows)
    }
    done.push(await archiveMonth({ ...opened, onProgress }, place, { month: each, target }))
    bar.end()
  }
  return done
}
