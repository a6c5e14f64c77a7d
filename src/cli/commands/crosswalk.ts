import { type Command, Option } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import { type ApiOptions, addApiOptions } from '../api-client.ts'
import { callPatiently } from '../call-patiently.ts'
import { readHmacKey } from '../local/hmac-key-file.ts'
import { type Output, outputFile, standardOutput } from '../local/output.ts'
import { stopSignal } from '../process/stop-signal.ts'
import { printable } from '../terminal/print.ts'
import { createProgressBar } from '../terminal/progress-bar.ts'
import { tellRefusedItems } from '../terminal/refused-items.ts'

/** What the API answers for one page; see openapi/openapi.json. */
interface Page {
  readonly pairs: readonly { readonly hash: string; readonly token: string }[]
  readonly withheld: readonly { readonly code: string; readonly items: number }[]
  readonly next?: string
}

/** A scheme, and where the key of one with a key is. */
interface Scheme {
  readonly name: string
  readonly keyFile?: string
}

type Encoding = 'hex' | 'base64'

type Options = ApiOptions & {
  readonly field: string
  readonly scheme: string
  readonly normalize: 'field' | 'none'
  readonly encoding: Encoding
  readonly purpose: string
  readonly ticket?: string
  readonly out?: string
}

/**
 * How long each page is tried, while the API is away or busy, or a budget of a minute is used up: a failure would lose all pages
 * before it, which are charged.
 */
const patienceSeconds = 70

/** Options and action of `tokenvault crosswalk`. */
export function configure(command: Command): void {
  command
    .requiredOption('--field <field>', 'field whose tokens are asked for, e.g. ip')
    .requiredOption(
      '--scheme <scheme>',
      'how the old column was hashed: sha256, md5, or hmac-sha256:FILE with the file that holds the key',
    )
    .requiredOption('--purpose <purpose>', 'why, e.g. migration; it goes into the evidence')
    .option('--ticket <ticket>', 'under which you act, e.g. MIG-1; it goes into the evidence')
    .addOption(
      new Option('--normalize <how>', 'hash each value as the rule of its field has it today, or as the vault holds it')
        .choices(['field', 'none'])
        .default('field'),
    )
    .addOption(new Option('--encoding <encoding>', 'of the hashes').choices(['hex', 'base64']).default('hex'))
    .option('--out <file>', 'write to this file, which appears when it is complete; standard output unless given')
    .addHelpText(
      'after',
      '\nPrints lines hash,token with a header; --json prints the answer to each page as one line. A file of the key must not\nbe readable by others, and the line break at the end of a key of plain text is not part of it.',
    )
  addApiOptions(command, 'a migrator').action(crosswalk)
}

async function crosswalk(options: Options): Promise<void> {
  const { field, normalize, purpose, ticket, out } = options
  const scheme = parseScheme(options.scheme)
  const hmacKey = scheme.keyFile && readHmacKey(scheme.keyFile, 'the file of --scheme').toString('base64')
  const output = out === undefined ? standardOutput() : outputFile(out)
  const signal = stopSignal(output.discard)
  const progress = createProgressBar({ total: 0, unit: 'pairs', isTerminal: process.stderr.isTTY })
  try {
    const body = { purpose, ticket, field, scheme: scheme.name, hmacKey, normalize }
    const { pairs, withheld, isWhole } = await copyPages(options, body, output, signal, progress.update)
    progress.end()
    if (!isWhole) {
      process.stderr.write(`tokenvault: stopped after ${pairs} pairs\n`)
      process.exitCode = 130
      return output.discard()
    }
    output.finish()
    if (withheld.size === 0) return
    const counts = [...withheld].map(([code, items]) => `${items} ${code}`).join(', ')
    process.stderr.write(`tokenvault: ${pairs} pairs, and none for originals that were withheld: ${counts}\n`)
    tellRefusedItems([...withheld.keys()].map(code => ({ error: { code } })))
  } catch (error) {
    progress.end()
    output.discard()
    throw error
  }
}

function tell(text: string): void {
  process.stderr.write(`tokenvault: ${printable(text)}\n`)
}

/** One page after the other, so that memory holds one whatever the field has. */
async function copyPages(
  options: Options,
  body: object,
  output: Output,
  signal: AbortSignal,
  onPairs: (pairs: number) => void,
): Promise<{ readonly pairs: number; readonly withheld: ReadonlyMap<string, number>; readonly isWhole: boolean }> {
  const withheld = new Map<string, number>()
  let pairs = 0
  for (let before: string | undefined; ; ) {
    if (signal.aborted) return { pairs, withheld, isWhole: false }
    const call = { method: 'POST', path: '/v1/crosswalk', body: { ...body, before }, roles: ['migrator'] } as const
    const patience = { seconds: patienceSeconds, tell, over: 'api_unavailable', signal } as const
    const page: Page = await callPatiently<Page>(options, call, patience)
    const header = before === undefined && !options.json ? 'hash,token\n' : ''
    await output.write(header + (options.json ? `${JSON.stringify(page)}\n` : formatPairs(page, options.encoding)))
    for (const { code, items } of page.withheld) withheld.set(code, (withheld.get(code) ?? 0) + items)
    pairs += page.pairs.length
    onPairs(pairs)
    if (page.next === undefined) return { pairs, withheld, isWhole: true }
    before = page.next
  }
}

function formatPairs({ pairs }: Page, encoding: Encoding): string {
  const encode = (hash: string) => (encoding === 'hex' ? hash : Buffer.from(hash, 'hex').toString('base64'))
  return pairs.map(({ hash, token }) => `${encode(hash)},${token}\n`).join('')
}

function parseScheme(text: string): Scheme {
  if (text === 'sha256' || text === 'md5') return { name: text }
  const keyed = /^hmac-sha256:(.+)$/s.exec(text)
  if (keyed === null) throw new TokenvaultError('usage', '--scheme is not sha256, md5 or hmac-sha256:FILE')
  return { name: 'hmac-sha256', keyFile: keyed[1]! }
}
