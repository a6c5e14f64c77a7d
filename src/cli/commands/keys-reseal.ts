import { type Command, Option } from 'commander'
import { type Resealed, resealField } from '../../compose/reseal.ts'
import { TokenvaultError } from '../../errors.ts'
import { createResealStore } from '../../store/reseal.ts'
import { createQuarantineResealStore } from '../../store/reseal-quarantine.ts'
import type { KeyName } from '../../vault/keys/keyset.ts'
import { withKeyAdministrator } from '../local/key-administrator.ts'
import { stopSignal } from '../process/stop-signal.ts'
import { dataDirOption, wholeNumber } from '../terminal/options.ts'
import { createProgressBar } from '../terminal/progress-bar.ts'
import { type Output, tell } from '../terminal/tell.ts'

interface ResealOptions extends Output {
  readonly kind: 'data' | 'quarantine'
  readonly field?: string
  readonly rate?: number
  readonly batch: number
  readonly dryRun: boolean
  readonly dataDir: string
}

/** Adds `tokenvault keys reseal`. */
export function addKeysReseal(keys: Command): void {
  keys
    .command('reseal')
    .description(
      're-seal originals under the primary data keys, or quarantined bodies; can be stopped and started again at any time',
    )
    .addOption(new Option('--kind <kind>', 'what is re-sealed').choices(['data', 'quarantine']).default('data'))
    .option('--field <field>', 'of data keys: of one field; of all fields when absent')
    .option('--rate <count>', 'most originals in a second', wholeNumber(1, 10_000_000))
    .option('--batch <count>', 'originals in one transaction', wholeNumber(1, 10_000), 5000)
    .option('--dry-run', 'only count', false)
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line', false)
    .action(reseal)
}

async function reseal(options: ResealOptions): Promise<void> {
  const { kind, field, rate: perSecond, batch, dryRun, json, dataDir } = options
  if (field !== undefined && kind !== 'data') throw new TokenvaultError('usage', '--field goes with --kind data')
  const what = kind === 'data' ? 'originals' : 'bodies'
  const signal = stopSignal()
  await withKeyAdministrator(dataDir, async administrator => {
    const store = (kind === 'data' ? createResealStore : createQuarantineResealStore)(administrator.database)
    const chosen = (await administrator.list()).filter(({ purpose, status, field: own }) => {
      return purpose === kind && status === 'primary' && (field === undefined || own === field)
    })
    if (chosen.length === 0) throw new TokenvaultError('key_unknown', 'no such field has a data key')
    let total = 0
    for (const key of chosen) total += await store.countOthers(key.field, key.version)
    if (dryRun) return tell(options, { dryRun, [what]: total }, [`${total} ${what} would be re-sealed`])
    const bar = createProgressBar({ total, unit: what, isTerminal: process.stderr.isTTY && !json })
    let seen = 0
    const onProgress = (originals: number) => {
      seen += originals
      bar.update(seen)
    }
    const done = { resealed: 0, notAuthentic: 0, keyMissing: 0 }
    if (total > 0) await administrator.recordReseal(chosen, 0)
    for (const key of chosen) {
      const result = await resealWhole({ ...administrator, store }, key, {
        purpose: kind,
        batch,
        perSecond,
        signal,
        onProgress,
      })
      for (const name of ['resealed', 'notAuthentic', 'keyMissing'] as const) done[name] += result[name]
    }
    bar.end()
    if (done.resealed > 0) await administrator.recordReseal(chosen, done.resealed)
    let left = 0
    for (const key of chosen) left += await store.countOthers(key.field, key.version)
    const isWhole = left === 0
    if (!isWhole) process.exitCode = 1
    tell(options, { ...done, left, isWhole }, describe(done, left, what, signal.aborted))
  })
}

/**
 * Until nothing is left: a process that was slow to take up the key that writes now may have sealed with the one before it meanwhile,
 * before the place that was reached.
 */
async function resealWhole(
  deps: Parameters<typeof resealField>[0],
  key: KeyName,
  options: Parameters<typeof resealField>[2],
): Promise<Resealed> {
  let resealed = 0
  for (;;) {
    const result = await resealField(deps, key.field, options)
    resealed += result.resealed
    const left = await deps.store.countOthers(key.field, key.version)
    // What cannot be re-sealed stays, however often it is tried.
    const isDone = options.signal.aborted || left <= result.notAuthentic + result.keyMissing
    if (isDone) return { ...result, resealed }
  }
}

function describe(
  { resealed, notAuthentic, keyMissing }: Resealed,
  left: number,
  what: string,
  isStopped: boolean,
): string[] {
  return [
    `${resealed} ${what} re-sealed`,
    ...(notAuthentic > 0
      ? [`${notAuthentic} are not authentic and were left as they are: tell the security team`]
      : []),
    ...(keyMissing > 0 ? [`${keyMissing} were left, because their key is disabled or destroyed`] : []),
    left === 0 ? 'nothing is sealed under earlier keys' : `${left} are left under earlier keys`,
    ...(isStopped ? ['stopped; run the same command again to go on'] : []),
  ]
}
