import { type Command, InvalidArgumentError, Option } from 'commander'
import { addApiOptions } from '../api-client.ts'
import { formats } from '../import/open-file.ts'
import { type ImportOptions, type ImportReport, type ImportWatcher, runImport } from '../import/run-import.ts'
import { tokenFormats } from '../import/verify-result.ts'
import { batchLimits } from '../local/read-values.ts'
import { wholeNumber } from '../terminal/options.ts'
import { print, printable } from '../terminal/print.ts'
import { createProgressBar } from '../terminal/progress-bar.ts'

const help = `
Reads all of FILE first; a broken one is refused with line and column, before anything is stored. Empty cells and
placeholders stay or become empty; tokens of the field stay, so that importing a result again changes nothing.

What is done stands in the folder FILE.import, or beside the result in OUT.import: tokens and counts, no value. After
an interruption of any kind, run the same command again. The result has mode 0600 and appears when it is whole.

--verify proves that input and result have the same rows, that everything but the column is the same, that the column
holds tokens of the field or nothing, and that no value of it stands anywhere in the result as a whole cell. With a
result that is there already it only proves, and stores nothing.`

/** Arguments, options and action of `tokenvault import`. */
export function configure(command: Command): void {
  command
    .argument('<file>', 'CSV with a header, JSONL, or Parquet')
    .requiredOption('--field <field>', 'field of the values, e.g. ip')
    .requiredOption('--column <column>', 'column that holds them: name in the header, member, or Parquet column')
    .requiredOption('--purpose <purpose>', 'why, e.g. account_migration; it goes into the evidence')
    .option('--ticket <ticket>', 'under which you act, e.g. SEC-1234; it goes into the evidence')
    .option('--out <file>', 'write the file with tokens in place of the values there')
    .option('--verify', 'prove that no value of the column is left in the result', false)
    .addOption(
      new Option('--token-format <format>', 'of the tokens of the field, for --verify')
        .choices(tokenFormats)
        .default('text'),
    )
    .addOption(
      new Option('--on-invalid <way>', 'refuse the import, or empty the cell')
        .choices(['refuse', 'null'])
        .default('refuse'),
    )
    .addOption(new Option('--format <format>', 'format of the file (default: by its name)').choices(formats))
    .option(
      '--delimiter <character>',
      'between cells of CSV; tab for a tab (default: comma, or tab in .tsv)',
      parseDelimiter,
    )
    .option('--batch <rows>', 'rows of one call', wholeNumber(1, batchLimits.values), batchLimits.values)
    .option('--retry-for <seconds>', 'how long to wait for an API that is away', wholeNumber(0, 86_400), 300)
    .option('--restart', 'forget what an earlier run did, and write over its result', false)
    .addHelpText('after', help)
  addApiOptions(command, 'a storing service').action(importFile)
}

function parseDelimiter(text: string): string {
  const delimiter = text === 'tab' || text === '\\t' ? '\t' : text
  if (!/^[\t -~]$/.test(delimiter) || /["A-Za-z0-9_]/.test(delimiter))
    throw new InvalidArgumentError('It must be one character, such as ; or |, or the word tab.')
  return delimiter
}

async function importFile(path: string, options: ImportOptions & { retryFor: number }): Promise<void> {
  const watcher = createWatcher()
  try {
    const report = await runImport(path, { ...options, retrySeconds: options.retryFor }, watcher)
    watcher.end()
    if (options.json) print(JSON.stringify(report))
    else print(describe(report))
  } finally {
    watcher.end()
  }
}

function createWatcher(): ImportWatcher & { end(): void } {
  const isTerminal = process.stderr.isTTY === true
  let bar: (ReturnType<typeof createProgressBar> & { readonly unit: string }) | undefined
  return {
    progress(done, total, unit) {
      if (bar?.unit !== unit) {
        bar?.end()
        bar = { ...createProgressBar({ total, unit, isTerminal }), unit }
      }
      bar.update(done)
    },
    tell(text) {
      bar?.end()
      process.stderr.write(`tokenvault: ${printable(text)}\n`)
    },
    end: () => bar?.end(),
  }
}

function describe({ rows, counts, out, verification }: ImportReport): string {
  const lines: string[] = []
  if (counts !== undefined) {
    const { tokenized, empty, placeholders, alreadyTokens, invalid } = counts
    const others = [
      ...(empty > 0 ? [`${empty} empty`] : []),
      ...(placeholders > 0 ? [counted(placeholders, 'placeholder')] : []),
      ...(alreadyTokens > 0 ? [`${counted(alreadyTokens, 'token')} already`] : []),
      ...(invalid > 0 ? [`${invalid} invalid and left empty`] : []),
    ]
    lines.push(`stored ${tokenized} of ${rows} rows${others.length > 0 ? `; ${others.join(', ')}` : ''}`)
    if (out !== undefined) lines.push(`written ${printable(out)}`)
  }
  if (verification !== undefined)
    lines.push(
      `proven for ${counted(rows, 'row')}: ${counted(verification.tokens, 'token')}, ${counted(verification.empty, 'empty cell')}, and no value of the column`,
    )
  return lines.join('\n')
}

function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
