import { writeFileSync } from 'node:fs'
import type { Command } from 'commander'
import { openSigningVault } from '../../compose/vault.ts'
import { loadConfig } from '../../config/load.ts'
import { TokenvaultError } from '../../errors.ts'
import { createAuditReader } from '../../store/audit-reader.ts'
import { type Checkpoint, openCheckpoint } from '../../tlog/checkpoint.ts'
import { followHandOvers, formatLogKeys, type LogVerifier } from '../../tlog/key-history.ts'
import { checkProof, type Proven } from '../../tlog/proof.ts'
import { readVerifierOf } from '../../vault/admission/log-signer.ts'
import type { HandOverReader } from '../../vault/admission/ports.ts'
import { createProver } from '../../vault/evidence/prove.ts'
import { withAuditorDatabase } from '../local/auditor-database.ts'
import {
  needVerifierKey,
  readJsonFile,
  readKeptCheckpoints,
  readKeptKeys,
  readVerifierKey,
} from '../local/evidence-files.ts'
import { dataDirOption, environmentHelp, wholeNumber } from '../terminal/options.ts'
import { printable } from '../terminal/print.ts'
import { addAuditSearch } from './audit-search.ts'
import { addAuditVerify } from './audit-verify.ts'

interface ProveOptions {
  readonly from?: number
  readonly to?: number
  readonly size?: number
  readonly event: boolean
  readonly out?: string
  readonly key?: string
  readonly dataDir: string
}

/** Of events; an event's sequence too. */
const eventCount = wholeNumber(0, 999_999_999_999_999, 'It must be a number from 0.')

/** `tokenvault audit …`: what auditors, and outsiders with a verifier key, do with the evidence. */
export function configure(audit: Command): void {
  addAuditVerify(audit)
  addAuditSearch(audit)
  audit
    .command('prove [sequence]')
    .addOption(dataDirOption())
    .description('prove that an event is in the log or, with --from, that one checkpoint grew out of another')
    .option('--size <events>', 'prove it by the checkpoint of this size (default: the newest)', eventCount)
    .option('--no-event', 'leave the event out, and prove its leaf hash alone')
    .option('--from <events>', 'size of the smaller checkpoint', eventCount)
    .option('--to <events>', 'with --from: size of the larger (default: the newest)', eventCount)
    .option('--out <file>', 'write the proof there (default: standard output)')
    .option('--key <key>', 'verifier key of the log, or a file that holds it: also check the stored signature')
    .addHelpText('after', `\nDATABASE_URL is that of role tokenvault_auditor.\n${environmentHelp('audit')}`)
    .action(prove)
  audit
    .command('check <file>')
    .addOption(dataDirOption())
    .description('check a proof with the verifier key alone, without database or API; - reads standard input')
    .option('--key <key>', 'verifier key of the log, or a file that holds it')
    .option('--checkpoint <path>', 'the proof must be for this checkpoint, or for one in this directory')
    .option('--json', 'print one JSON line')
    .action(check)
  audit
    .command('key')
    .addOption(dataDirOption())
    .description(
      'print the verifier key of the log and the hand-overs to later ones, which outsiders need; they are public',
    )
    .addHelpText(
      'after',
      `\nNeeds the variables of \`migrate\`, because it opens the signing key.\n${environmentHelp('migrate')}`,
    )
    .action(printKey)
}

async function prove(sequenceText: string | undefined, options: ProveOptions): Promise<void> {
  const { from, to, size, event, out, dataDir } = options
  if ((sequenceText === undefined) === (from === undefined))
    throw new TokenvaultError('usage', 'name one event by its sequence, or two checkpoints by --from and --to')
  if ((from === undefined && to !== undefined) || (from !== undefined && size !== undefined))
    throw new TokenvaultError('usage', '--to goes with --from, and --size with a sequence')
  const verifier = readVerifierKey(options.key, dataDir)
  const proof = await withAuditorDatabase(
    { applicationName: 'tokenvault audit', environment: process.env, dataDir },
    async ({ database }) => {
      const reader = createAuditReader(database)
      const prover = createProver(reader, verifier && (() => followStored(reader, verifier)))
      if (from !== undefined) return prover.proveConsistency(from, to)
      const whole = await prover.proveInclusion(parseSequence(sequenceText!), size)
      const { event: _, ...bare } = whole
      return event ? whole : bare
    },
  )
  const text = `${JSON.stringify(proof)}\n`
  if (out === undefined) process.stdout.write(text)
  else writeOut(out, text)
}

/** The keys that are known, and those that stored hand-overs lead to. */
async function followStored(reader: HandOverReader, known: LogVerifier): Promise<LogVerifier> {
  const notes = (await reader.readHandOvers()).map(({ note }) => note)
  return followHandOvers(known, notes)
}

function check(file: string, options: { key?: string; checkpoint?: string; json?: true; dataDir: string }): void {
  const verifier = needVerifierKey(options.key, options.dataDir)
  const proven = checkProof(readJsonFile(file, 'the proof'), verifier)
  if (options.checkpoint !== undefined)
    checkIsBy(
      proven,
      readKeptCheckpoints([options.checkpoint]).map(({ note }) => openCheckpoint(note, verifier, { isProven: true })),
    )
  process.stdout.write(options.json ? `${JSON.stringify(summarize(proven))}\n` : describe(proven, verifier.name))
}

/** A proof proves something about its own checkpoint; who kept one wants to know whether it is that. */
function checkIsBy(proven: Proven, kept: readonly Checkpoint[]): void {
  const own = proven.kind === 'inclusion' ? [proven.checkpoint] : [proven.from, proven.to]
  const isBy = own.some(({ treeSize, root }) =>
    kept.some(other => other.treeSize === treeSize && Buffer.compare(other.root, root) === 0),
  )
  if (!isBy) throw new TokenvaultError('receipt_invalid', 'the proof is by another checkpoint than the one given')
}

function summarize(proven: Proven): object {
  const tree = ({ treeSize, root }: Checkpoint) => ({ treeSize, root: Buffer.from(root).toString('base64') })
  if (proven.kind === 'consistency') return { kind: proven.kind, from: tree(proven.from), to: tree(proven.to) }
  const { kind, sequence, leafHash, event, checkpoint } = proven
  return { kind, sequence, leafHash: Buffer.from(leafHash).toString('base64'), event, checkpoint: tree(checkpoint) }
}

function describe(proven: Proven, log: string): string {
  if (proven.kind === 'consistency')
    return `proven: ${log} with ${proven.to.treeSize} events has grown out of ${log} with ${proven.from.treeSize} events\n`
  const { sequence, event, checkpoint } = proven
  const what = `proven: the event stands at sequence ${sequence} of ${log} with ${checkpoint.treeSize} events\n`
  return event === undefined ? what : `${what}${printable(event)}\n`
}

async function printKey({ dataDir }: { dataDir: string }): Promise<void> {
  const { DATABASE_URL: url, DATABASE_URL_FILE: urlFile } = process.env
  const kept = !url && !urlFile ? readKeptKeys(dataDir) : undefined
  if (kept !== undefined) {
    process.stdout.write(kept)
    return
  }
  const { signer, database } = await openSigningVault(loadConfig('migrate', process.env), {
    environment: process.env,
    applicationName: 'tokenvault audit key',
  })
  try {
    const notes = (await createAuditReader(database).readHandOvers()).map(({ note }) => note)
    process.stdout.write(formatLogKeys(await readVerifierOf(signer), notes))
  } finally {
    await database.destroy()
  }
}

function writeOut(path: string, text: string): void {
  try {
    writeFileSync(path, text)
  } catch (cause) {
    throw new TokenvaultError('usage', '--out cannot be written', { cause })
  }
}

function parseSequence(text: string): number {
  if (!/^(0|[1-9]\d{0,14})$/.test(text)) throw new TokenvaultError('usage', 'a sequence is a number from 0')
  return Number(text)
}
