import type { Command } from 'commander'
import { archiveMonth, loginRows } from '../../compose/archive.ts'
import { readFieldsFile } from '../../compose/fields.ts'
import { type Retained, retain } from '../../compose/retain.ts'
import { TokenvaultError } from '../../errors.ts'
import { withArchivist, withKeyAdministrator } from '../local/key-administrator.ts'
import { stopSignal } from '../process/stop-signal.ts'
import { dataDirOption, environmentHelp } from '../terminal/options.ts'
import { createProgressBar } from '../terminal/progress-bar.ts'
import { type Output, tell } from '../terminal/tell.ts'

interface RetainCommand extends Output {
  readonly dryRun: boolean
  readonly dataDir: string
}

/** Options and action of `tokenvault retain`. */
export function configure(command: Command): void {
  command
    .option('--dry-run', 'only count what would be removed', false)
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line', false)
    .addHelpText(
      'after',
      `\nTo be run every day. What ages, and when, is \`retention\` of FIELDS_FILE; DATABASE_URL is that of \`tokenvault migrate\`.\n${environmentHelp('migrate')}`,
    )
    .action(run)
}

async function run(options: RetainCommand): Promise<void> {
  const { dryRun: isTrial, dataDir, json } = options
  const signal = stopSignal()
  await withKeyAdministrator(dataDir, async administrator => {
    const { fields, retention } = readFieldsFile(administrator.config)
    if (retention === undefined)
      throw new TokenvaultError(
        'usage',
        'FIELDS_FILE has no `retention`, so nothing ages; docs/production.md says what it may be',
      )
    const bar = createProgressBar({
      total: 0,
      unit: 'rows and originals looked at',
      isTerminal: process.stderr.isTTY && !json,
    })
    let seen = 0
    const onProgress = (count: number) => {
      seen += count
      bar.update(seen)
    }
    const archive = (month: string, target: string) =>
      withArchivist(dataDir, async archivist => {
        const place = await archivist.openPlace(target)
        try {
          return loginRows(await archiveMonth({ ...archivist, onProgress }, place, { month, target }))
        } finally {
          place.close()
        }
      })
    const { database, keys } = administrator
    const done = await retain({
      database,
      keys,
      fields,
      retention,
      today: new Date(),
      isTrial,
      signal,
      archive,
      onProgress,
    })
    bar.end()
    if (signal.aborted) process.exitCode = 1
    tell(
      options,
      { dryRun: isTrial, ...done, isWhole: !signal.aborted },
      describe(done, { isTrial, isStopped: signal.aborted }),
    )
  })
}

function describe(
  done: Retained,
  { isTrial, isStopped }: { readonly isTrial: boolean; readonly isStopped: boolean },
): string[] {
  const would = isTrial ? 'would be ' : ''
  const counted = [
    ...Object.entries(done.originals).map(([field, count]) => [count, `originals of ${field}`, 'deleted'] as const),
    [done.quarantined, 'quarantined bodies', 'erased'] as const,
    [done.approvals, 'requests for approval', 'deleted'] as const,
  ].filter(([count]) => count > 0)
  const lines = [
    ...done.months.map(({ month, rows, afterwards }) => `${month}: ${rows} rows ${would}${afterwards}`),
    ...counted.map(([count, what, how]) => `${count} ${what} ${would}${how}`),
    ...(done.heldMonths.length === 0
      ? []
      : [`person_held: rows of people under a legal hold stay in ${done.heldMonths.join(', ')}`]),
    ...(done.quarantineHeld ? ['person_held: no quarantined body is erased while somebody is under a legal hold'] : []),
    ...(isStopped ? ['stopped; run the same command again to go on'] : []),
  ]
  return lines.length === 0 ? ['nothing is old enough'] : lines
}
