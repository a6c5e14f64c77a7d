import { join } from 'node:path'
import type { Command } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import { createAuditReader } from '../../store/audit-reader.ts'
import { type AuditFinding, auditFindingMeanings } from '../../vault/evidence/verify/findings.ts'
import { type AuditVerification, verifyAudit } from '../../vault/evidence/verify/verify.ts'
import { withAuditorDatabase } from '../local/auditor-database.ts'
import { readCheckpointFolder, readKeptCheckpoints, readVerifierKey } from '../local/evidence-files.ts'
import { dataDirOption, environmentHelp } from '../terminal/options.ts'
import { printable } from '../terminal/print.ts'
import { createProgressBar } from '../terminal/progress-bar.ts'
import { formatPairs } from '../terminal/text-table.ts'

interface Options {
  readonly checkpoint?: readonly string[]
  readonly key?: string
  readonly dataDir: string
  readonly json?: true
}

export function addAuditVerify(audit: Command): void {
  audit
    .command('verify')
    .description('recompute the audit log from its events and say what is wrong, and where; exit code 1 if anything is')
    .option(
      '--checkpoint <path...>',
      'checkpoints kept outside the database: a file with one, or with the API’s lines of standard output, or a directory of *.note',
    )
    .option('--key <key>', 'verifier key of the log, or a file that holds it')
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line')
    .addHelpText(
      'after',
      `
Without --checkpoint it finds a change only if the rest of the database was not adapted to it. The owner of the database
can adapt all of it: only a checkpoint that was kept elsewhere reveals that.

DATABASE_URL is that of role tokenvault_auditor. Without it, the command verifies the log of the \`tokenvault up\` whose state
is in --data-dir, with the key and the checkpoints that are kept there.
${environmentHelp('audit')}`,
    )
    .action(async (options: Options) => {
      const verifier = readVerifierKey(options.key, options.dataDir)
      if (options.checkpoint !== undefined && verifier === undefined)
        throw new TokenvaultError('usage', '--checkpoint goes with --key: without it anybody could have signed them')
      const given = readKeptCheckpoints(options.checkpoint ?? [])
      const { dataDir } = options
      const source = { applicationName: 'tokenvault audit', environment: process.env, dataDir }
      const result = await withAuditorDatabase(source, ({ database, isEmbedded }) => {
        const kept = join(options.dataDir, 'checkpoints')
        const external = isEmbedded && options.checkpoint === undefined ? readCheckpointFolder(kept) : given
        const onProgress = createProgress()
        return createAuditReader(database).snapshot(view => verifyAudit(view, { verifier, external, onProgress }))
      })
      const log = verifier?.name
      process.stdout.write(options.json ? `${JSON.stringify({ log, ...result })}\n` : describe(result, log))
      if (!result.isIntact) process.exitCode = 1
    })
}

/** On a terminal only: what it tells of an intact log is one line. */
function createProgress(): ((done: number, total: number) => void) | undefined {
  if (!process.stderr.isTTY) return undefined
  let bar: ReturnType<typeof createProgressBar> | undefined
  return (done, total) => {
    bar ??= createProgressBar({ total, unit: 'events', isTerminal: true })
    bar.update(done)
    if (done >= total) bar.end()
  }
}

function describe(result: AuditVerification, log: string | undefined): string {
  const { events, root, checkpoints, signaturesChecked, findings, omitted, isIntact } = result
  const pairs: [string, string][] = [
    ...(log === undefined ? [] : [['log', log] satisfies [string, string]]),
    ['events', String(events)],
    ['root', root],
    ['checkpoints', `${checkpoints.stored} in the database, ${checkpoints.external} kept elsewhere`],
    ...(signaturesChecked ? [] : [['signatures', 'NOT checked: give --key'] satisfies [string, string]]),
  ]
  const lines = [
    formatPairs(pairs),
    ...findings.map(describeFinding),
    ...(omitted > 0 ? [`and ${omitted} more`] : []),
    isIntact ? 'intact' : 'NOT intact. Tell the security team and keep the database as it is: it is evidence.',
  ]
  return `${lines.join('\n')}\n`
}

function describeFinding({ code, from, to, treeSize, source, count, detail }: AuditFinding): string {
  const events = from === undefined || to === undefined ? undefined : describeEvents(code, from, to)
  const checkpoint = treeSize === undefined ? source : `checkpoint of ${treeSize} events (${source})`
  const more = checkpoint !== undefined && count !== undefined && count > 1 ? `and ${count - 1} after it` : undefined
  const where = [checkpoint, more, events, detail].filter(part => part !== undefined).join(', ')
  return `${code}: ${auditFindingMeanings[code]}${where === '' ? '' : `: ${printable(where)}`}`
}

function describeEvents(code: AuditFinding['code'], from: number, to: number): string {
  if (code === 'checkpoint_mismatch') return `the difference lies at ${from} ≤ sequence < ${to}`
  if (code === 'checkpoint_unreached') return `${from} events stand without a gap`
  return to - from === 1 ? `sequence ${from}` : `${from} ≤ sequence < ${to}`
}
