import type { Command } from 'commander'
import { readFields } from '../../compose/fields.ts'
import { type Retokenized, retokenizeField } from '../../compose/retokenize.ts'
import { loadConfig } from '../../config/load.ts'
import { createRetokenizeStore } from '../../store/retokenize.ts'
import { administratorEnvironment, withKeyAdministrator } from '../local/key-administrator.ts'
import { stopSignal } from '../process/stop-signal.ts'
import { dataDirOption, wholeNumber } from '../terminal/options.ts'
import { createProgressBar } from '../terminal/progress-bar.ts'
import { type Output, tell } from '../terminal/tell.ts'

interface RetokenizeOptions extends Output {
  readonly field: string
  readonly rate?: number
  readonly batch: number
  readonly dryRun: boolean
  readonly dataDir: string
}

/** Adds `tokenvault keys retokenize`. */
export function addKeysRetokenize(keys: Command): void {
  keys
    .command('retokenize')
    .description('replace the tokens of earlier token keys; can be stopped and started again at any time')
    .requiredOption('--field <field>', 'of this field')
    .option('--rate <count>', 'most originals or rows in a second', wholeNumber(1, 10_000_000))
    .option('--batch <count>', 'originals or rows in one transaction', wholeNumber(1, 10_000), 2000)
    .option('--dry-run', 'only count', false)
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line', false)
    .action(retokenize)
}

async function retokenize(options: RetokenizeOptions): Promise<void> {
  const { field, rate: perSecond, batch, dryRun, json, dataDir } = options
  const signal = stopSignal()
  const fields = readFields(loadConfig('migrate', administratorEnvironment(dataDir)))
  await withKeyAdministrator(dataDir, async administrator => {
    const store = createRetokenizeStore(administrator.database)
    const moves = await store.readMoves(field)
    const names = moves.map(({ version }) => ({ purpose: 'token' as const, field, version }))
    let total = 0
    for (const move of moves) total += await store.countOriginals(field, move.version)
    if (dryRun || moves.length === 0)
      return tell(options, { dryRun, originals: total }, [`the tokens of ${total} originals would be replaced`])
    const bar = createProgressBar({ total, unit: 'originals', isTerminal: process.stderr.isTTY && !json })
    let seen = 0
    const onProgress = (step: 'originals' | 'rows', count: number) => {
      if (step !== 'originals') return
      seen += count
      bar.update(seen)
    }
    // Before the first is replaced, so that a job that is killed is on record too.
    await administrator.recordRetokenize(names, total)
    const done = await retokenizeField({ ...administrator, fields }, field, { batch, perSecond, signal, onProgress })
    bar.end()
    await administrator.recordRetokenize(names, done.originals)
    if (!done.isWhole) process.exitCode = 1
    tell(options, { ...done }, describe(done, signal.aborted))
  })
}

function describe(done: Retokenized, isStopped: boolean): string[] {
  const { originals, rows, deleted, notAuthentic, keyMissing, isWhole } = done
  return [
    `${originals} originals have new tokens, ${rows} rows have them in place of the earlier ones, ${deleted} earlier originals are gone`,
    ...(notAuthentic > 0
      ? [`${notAuthentic} are not authentic and were left as they are: tell the security team`]
      : []),
    ...(keyMissing > 0 ? [`${keyMissing} were left, because a key of them is disabled or destroyed`] : []),
    ...(isStopped ? ['stopped; run the same command again to go on'] : []),
    ...(isWhole
      ? ['nothing of the earlier token keys is left; what others keep of their tokens opens by its alias']
      : []),
  ]
}
