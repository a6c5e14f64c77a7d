import { randomInt } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Command } from 'commander'
import { composeSink } from '../../compose/evidence.ts'
import { openDumpFile } from '../../compose/recover/dump-file.ts'
import { recover } from '../../compose/recover/recover.ts'
import type { RecoveryReport } from '../../compose/recover/report.ts'
import { type Environment, loadConfig } from '../../config/load.ts'
import { TokenvaultError } from '../../errors.ts'
import { unmarkRestored } from '../../store/restore/restore-dump.ts'
import type { KeyEncryptionKey } from '../../vault/keys/ports.ts'
import { describeUnreadable } from '../terminal/failure.ts'
import { wholeNumber } from '../terminal/options.ts'
import { printable } from '../terminal/print.ts'
import { createProgressBar } from '../terminal/progress-bar.ts'
import { type Output, tell } from '../terminal/tell.ts'
import { readVerifierKey } from './evidence-files.ts'
import { writeWhole } from './state.ts'

/** What `recover` and `drill` share. */
export interface RecoveryFlags extends Output {
  readonly dump?: string
  readonly identity?: string
  readonly recovery?: string
  readonly checkpoints?: string
  readonly key?: string
  readonly sample: number
  readonly seed?: number
  readonly report?: string
}

export function addRecoveryOptions(command: Command): void {
  command
    .option('--dump <path>', 'what pg_dump wrote: SQL, also .gz or .zst; other formats with the help of pg_restore')
    .option('--identity <file>', 'age identity of a recovery recipient; without it the KEK opens the keys of the dump')
    .option('--recovery <file>', 'the recovery.age that was published beside the checkpoints, where it is newer')
    .option('--checkpoints <place>', 'checkpoints that were published: a directory, file:///… or s3://bucket/prefix')
    .option('--key <key>', 'verifier key of the log, or a file that holds it')
    .option('--sample <count>', 'how many originals of each field are opened', wholeNumber(1, 9_999), 100)
    .option('--seed <number>', 'picks them; of a report, to pick the same ones again', wholeNumber(0, 2 ** 31))
    .option('--report <file>', 'where the signed report is written')
    .option('--json', 'print one JSON line', false)
}

/** A database to restore into, and the KEK of what is made there. */
export interface RecoveryPlace {
  readonly url: string
  readonly kek: KeyEncryptionKey
}

/**
 * The environment without what names the production that was lost.
 *
 * @param own variables that count instead
 */
export function recoveryEnvironment(environment: Environment, own: Environment): Environment {
  const lost = ['DATABASE_URL', 'DATABASE_URL_FILE', 'CHECKPOINT_URL', 'CHECKPOINT_URL_FILE']
  return { ...Object.fromEntries(Object.entries(environment).filter(([name]) => !lost.includes(name))), ...own }
}

/**
 * Recovers and tells what was found; sets the exit code to 1 where anything is not as it has to be.
 *
 * @throws TokenvaultError as recover; `usage`
 */
export async function runRecovery(
  kind: RecoveryReport['kind'],
  flags: RecoveryFlags,
  place: RecoveryPlace,
  deps: { readonly environment: Environment; readonly signal: AbortSignal; readonly reportDirectory?: string },
): Promise<void> {
  const { signal } = deps
  const published = publishedUrl(flags.checkpoints)
  const named = { DATABASE_URL: place.url, ...(published === undefined ? {} : { CHECKPOINT_URL: published }) }
  const environment = recoveryEnvironment(deps.environment, named)
  const dump = await openDumpFile(needDump(flags), { environment, signal })
  const sink = published === undefined ? undefined : await openPublished(published, environment)
  const isTerminal = process.stderr.isTTY === true && !flags.json
  const bar = createProgressBar({ total: Math.ceil(dump.bytes / 1e6), unit: 'MB', isTerminal })
  try {
    const { report, note } = await recover({
      kind,
      ...place,
      dump,
      identityPath: flags.identity,
      recovery: readRecoveryFile(flags.recovery),
      config: loadConfig('migrate', environment),
      environment,
      published: sink?.published,
      verifier: flags.key === undefined ? undefined : readVerifierKey(flags.key, '.'),
      sample: { count: flags.sample, seed: flags.seed ?? randomInt(2 ** 31) },
      signal,
      onStep(name) {
        bar.end()
        if (!flags.json) process.stderr.write(`${name} …\n`)
      },
      onProgress: bytes => {
        if (!flags.json) bar.update(Math.floor(bytes / 1e6))
      },
    })
    if (flags.report !== undefined) keepReport(flags.report, note)
    await unmarkRestored(place.url)
    if (!report.isSound) process.exitCode = 1
    tell(flags, report, describeReport(report))
  } finally {
    bar.end()
    sink?.close()
  }
}

/** @throws TokenvaultError `usage`; the same command with another path makes it again */
function keepReport(path: string, note: string): void {
  try {
    writeWhole(resolve(path), note)
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown'
    throw new TokenvaultError('usage', `--report cannot be written (${code}): all else is done`, { cause })
  }
}

function needDump({ dump }: RecoveryFlags): string {
  if (dump === undefined) throw new TokenvaultError('usage', '--dump is missing: what pg_dump wrote')
  return dump
}

function readRecoveryFile(path: string | undefined): Buffer | undefined {
  try {
    return path === undefined ? undefined : readFileSync(path)
  } catch (cause) {
    throw new TokenvaultError('usage', `--recovery ${describeUnreadable(cause)}`, { cause })
  }
}

/** @throws TokenvaultError `usage` */
function publishedUrl(place: string | undefined): string | undefined {
  if (place === undefined) return undefined
  const isDirectory = statSync(place, { throwIfNoEntry: false })?.isDirectory() === true
  const url = isDirectory ? `${pathToFileURL(resolve(place)).href}/` : place
  if (/^(file:\/\/\/|s3:\/\/)/.test(url)) return url
  throw new TokenvaultError('usage', '--checkpoints is neither a directory nor file:///… or s3://…')
}

function openPublished(url: string, environment: Environment) {
  const { AWS_REGION, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3 } = environment
  const aws = { AWS_REGION, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3 }
  return composeSink({ ...aws, CHECKPOINT_URL: url }, environment)
}

/** A line for each thing that was looked at. */
export function describeReport(report: RecoveryReport): string[] {
  const { dump, keys, audit, originals, reconciliation, erasures, isSound } = report
  const total = Object.values(report.seconds).reduce((sum, seconds) => sum + seconds, 0)
  const compared = audit.comparedAt === undefined ? 'with no published checkpoint' : `with that of ${audit.comparedAt}`
  const lost = audit.eventsAfterBackup === undefined ? '' : `; ${audit.eventsAfterBackup} were signed after the backup`
  const changed = [...keys.destroyed.map(name => `${name} stays destroyed`), ...keys.added.map(name => `${name} added`)]
  return [
    `dump: ${dump.format}, ${dump.bytes} bytes, sha256 ${dump.sha256}`,
    `keys: ${keys.count}, opened by ${openers[keys.openedBy]}, now under ${keys.kekId}`,
    ...changed.map(line => `keys: ${printable(line)}`),
    `audit log: ${audit.isIntact ? 'intact' : `NOT intact (${audit.findings.join(', ')})`}, ${audit.events} events, compared ${compared}${lost}`,
    ...originals.map(({ field, count, tried, opened, refused }) => {
      const why = Object.entries(refused).map(([code, times]) => `, ${times} ${code}`)
      return printable(`${field}: ${count} originals, ${opened} of ${tried} tried open${why.join('')}`)
    }),
    `rows and delivery records: ${reconciliation.isConsistent ? 'consistent' : 'NOT consistent, see `tokenvault reconcile`'}`,
    ...(erasures === undefined
      ? []
      : [
          `erasures made again: ${Object.entries(erasures)
            .map(([what, count]) => `${count} ${what}`)
            .join(', ')}`,
        ]),
    `${isSound ? 'sound' : 'NOT sound'}, in ${total.toFixed(1)} s`,
  ]
}

const openers: Readonly<Record<RecoveryReport['keys']['openedBy'], string>> = {
  dump: 'the recovery in the dump',
  file: 'the recovery that was given',
  kek: 'the KEK',
}
