import type { Command } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import { createTokenMap, type TokenMap } from '../../store/token-map.ts'
import { formatKeyName, type KeyName } from '../../vault/keys/keyset.ts'
import type { TokenId } from '../../vault/tokens/ports.ts'
import { withKeyAdministrator } from '../local/key-administrator.ts'
import { createTokenMapFile } from '../local/token-map-file.ts'
import { stopSignal } from '../process/stop-signal.ts'
import { dataDirOption, wholeNumber } from '../terminal/options.ts'
import { createProgressBar } from '../terminal/progress-bar.ts'
import { type Output, tell } from '../terminal/tell.ts'

/** Pairs that are in memory at once; of Parquet those of a row group. */
const pageSize = 50_000

interface MapOptions extends Output {
  readonly field: string
  readonly out: string
  readonly dryRun: boolean
  readonly dataDir: string
}

interface RetireOptions extends Output {
  readonly batch: number
  readonly dryRun: boolean
  readonly dataDir: string
}

/** Adds `tokenvault keys token-map` and `tokenvault keys retire`: what is done with the tokens of a token key that was rotated. */
export function addKeysTokens(keys: Command, parseKeyName: (text: string) => KeyName): void {
  keys
    .command('token-map')
    .description('write old_token,new_token of a rotated token key, and nothing else, for tables elsewhere')
    .requiredOption('--field <field>', 'whose tokens')
    .requiredOption('--out <file>', 'where to; .csv or .parquet says which format. It is there whole or not at all')
    .option('--dry-run', 'only count', false)
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line', false)
    .action(writeTokenMap)
  keys
    .command('retire <key>')
    .description('forget the tokens of a token key that was moved away from; they answer token_retired from then on')
    .option('--batch <count>', 'aliases in one transaction', wholeNumber(1, 100_000), 10_000)
    .option('--dry-run', 'only count', false)
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line', false)
    .action((key: string, options: RetireOptions) => retire(parseKeyName(key), options))
}

async function writeTokenMap({ field, out, dryRun, dataDir, ...output }: MapOptions): Promise<void> {
  const signal = stopSignal()
  await withKeyAdministrator(dataDir, async administrator => {
    const map = createTokenMap(administrator.database)
    const moves = await map.readMoves(field)
    if (moves.length === 0)
      throw new TokenvaultError('key_unknown', 'no token key of that field was ever moved away from')
    const total = await map.countPairs(field)
    const isWhole = moves.every(({ isDone }) => isDone)
    if (dryRun) return tell(output, { dryRun, pairs: total, isWhole }, [`${total} pairs of tokens would be written`])
    const file = createTokenMapFile(out)
    try {
      const pairs = await copyPairs(map, field, { file, signal, total, isQuiet: output.json })
      if (pairs === undefined) {
        process.exitCode = 1
        return tell(output, { stopped: true }, ['stopped; nothing was written'])
      }
      const names = moves.map(({ version }): KeyName => ({ purpose: 'token', field, version }))
      // No event, no file.
      await administrator.recordTokens('key_token_map', names, pairs)
      file.finish()
      const more = isWhole
        ? []
        : ['the tokens of a key are still being moved: run this again once `keys retokenize` is done']
      tell(output, { pairs, isWhole }, [`${pairs} pairs of tokens in ${out}`, ...more])
    } finally {
      file.abandon()
    }
  })
}

/** @returns how many; undefined where it was stopped */
async function copyPairs(
  map: TokenMap,
  field: string,
  to: {
    readonly file: ReturnType<typeof createTokenMapFile>
    readonly signal: AbortSignal
    readonly total: number
    readonly isQuiet: boolean
  },
): Promise<number | undefined> {
  const { file, signal, total, isQuiet } = to
  const bar = createProgressBar({ total, unit: 'pairs', isTerminal: process.stderr.isTTY && !isQuiet })
  let [after, done]: [TokenId | undefined, number] = [undefined, 0]
  for (;;) {
    if (signal.aborted) return undefined
    const pairs = await map.readPairs(field, { after, limit: pageSize })
    after = pairs.at(-1)?.tokenId
    if (after === undefined) break
    file.write(pairs)
    done += pairs.length
    bar.update(done)
  }
  bar.end()
  return done
}

async function retire(name: KeyName, { batch, dryRun, dataDir, ...output }: RetireOptions): Promise<void> {
  const { purpose, field, version } = name
  const key = formatKeyName(name)
  if (purpose !== 'token') throw new TokenvaultError('usage', 'only token keys are retired, such as token/ip/v1')
  const signal = stopSignal()
  await withKeyAdministrator(dataDir, async administrator => {
    const map = createTokenMap(administrator.database)
    const move = (await map.readMoves(field)).find(move => move.version === version)
    if (move === undefined)
      throw new TokenvaultError('key_state_invalid', `tokens of ${key} were never moved to another key`)
    if (!move.isDone)
      throw new TokenvaultError(
        'key_state_invalid',
        `tokens of ${key} are still being moved: \`tokenvault keys retokenize\` first`,
      )
    const total = await map.countPairs(field, version)
    if (dryRun)
      return tell(output, { dryRun, key, aliases: total }, [`${total} tokens of ${key} would not open any more`])
    await administrator.recordTokens('key_retire', [name], total)
    if (!(await map.retire(field, version))) throw new TokenvaultError('keys_changed', `the move of ${key} began anew`)
    const bar = createProgressBar({ total, unit: 'aliases', isTerminal: process.stderr.isTTY && !output.json })
    let [after, deleted]: [TokenId | undefined, number] = [undefined, 0]
    while (!signal.aborted) {
      const page = await map.deletePairs({ field, version }, { after, limit: batch })
      deleted += page.deleted
      bar.update(deleted)
      after = page.last
      if (after === undefined) break
    }
    bar.end()
    const isWhole = !signal.aborted
    if (!isWhole) process.exitCode = 1
    const says = isWhole ? `${key} is retired` : 'stopped; run the same command again to go on'
    tell(output, { key, aliases: deleted, isWhole }, [`${deleted} aliases deleted`, says])
  })
}
