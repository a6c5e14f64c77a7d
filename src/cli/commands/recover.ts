import type { Command } from 'commander'
import { openKek } from '../../compose/kek.ts'
import { openReport } from '../../compose/recover/report.ts'
import { type Environment, loadConfig } from '../../config/load.ts'
import { openDataDir } from '../../embedded/data-dir.ts'
import { startPostgres } from '../../embedded/postgres.ts'
import { quitPostgres } from '../../embedded/postgres-survivors.ts'
import { readOrCreateSecret } from '../../embedded/secret-file.ts'
import { TokenvaultError } from '../../errors.ts'
import { kekBytes } from '../../kms/held-key.ts'
import { ensureDatabase } from '../../store/setup/ensure-database.ts'
import { needVerifierKey, readTextFile } from '../local/evidence-files.ts'
import {
  addRecoveryOptions,
  describeReport,
  type RecoveryFlags,
  recoveryEnvironment,
  runRecovery,
} from '../local/run-recovery.ts'
import { defaultDataDir } from '../local/state.ts'
import { stopSignal } from '../process/stop-signal.ts'
import { dataDirOption, environmentHelp } from '../terminal/options.ts'
import { type Output, tell } from '../terminal/tell.ts'

interface RecoverFlags extends RecoveryFlags {
  readonly databaseUrlFile?: string
  readonly dataDir: string
  readonly kek?: string
}

/** `tokenvault recover`, and `tokenvault recover check`. */
export function configure(command: Command): void {
  addRecoveryOptions(command)
  command
    .option('--database-url-file <file>', 'restore into the empty database whose URL the file holds')
    .addOption(dataDirOption('restore into the Postgres of `tokenvault up` on this directory'))
    .option('--kek <file>', 'put the keys under the key-encryption key of this file')
    .addHelpText('after', help)
    .action(run)
  command
    .command('check <report>')
    .description('check the signature of a report of `recover` or `drill`, and show what it says')
    .option('--key <key>', 'verifier key of the log, or a file that holds it')
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line', false)
    .action((path: string, _: unknown, self: Command) => {
      // The command above has options of the same names, and takes them.
      const options: Output & { readonly key?: string; readonly dataDir: string } = self.optsWithGlobals()
      const report = openReport(
        readTextFile(path, 'the report'),
        needVerifierKey(options.key, options.dataDir).spans.at(-1)!.verifier,
      )
      tell(options, report, [`signed, ${report.kind} of ${report.startedAt}`, ...describeReport(report)])
    })
}

const help = `
The keys are put under the key-encryption key of --kek, or of the KEK variables of \`migrate\`; into --data-dir, where neither is
given, under a new one in its file kek. DATABASE_URL is not read. A dump holds any statement, and is restored with the rights of
the login: restore only what you trust.
${environmentHelp('migrate')}`

async function run(flags: RecoverFlags): Promise<void> {
  if (flags.databaseUrlFile !== undefined) return recoverInto(flags)
  return recoverEmbedded(flags)
}

/** Variables of a KEK; those that say how the one before is opened are of no use here. */
function kekEnvironment(flags: RecoverFlags): Environment {
  if (flags.kek !== undefined) {
    const without = Object.entries(process.env).filter(([name]) => !/^(NEXT_)?(KEK|KMS)_/.test(name))
    return { ...Object.fromEntries(without), KEK_PROVIDER: 'local', KEK_FILE: flags.kek }
  }
  return process.env
}

async function recoverInto(flags: RecoverFlags): Promise<void> {
  const named = recoveryEnvironment(kekEnvironment(flags), { DATABASE_URL_FILE: flags.databaseUrlFile })
  const config = loadConfig('migrate', named)
  const kek = await openKek(config, named)
  await runRecovery('recovery', flags, { url: config.DATABASE_URL, kek }, { environment: named, signal: stopSignal() })
}

async function recoverEmbedded(flags: RecoverFlags): Promise<void> {
  if (flags.dump === undefined) throw new TokenvaultError('usage', '--dump is missing: what pg_dump wrote')
  const dataDir = openDataDir(flags.dataDir ?? defaultDataDir)
  try {
    const signal = stopSignal(() => quitPostgres(dataDir.path))
    const given = kekEnvironment(flags)
    const isGiven = ['KEK_PROVIDER', 'KEK_FILE', 'KEK_FILE_FILE'].some(name => given[name])
    if (!isGiven) readOrCreateSecret(dataDir.file('kek'), kekBytes)
    const environment = isGiven ? given : { ...given, KEK_FILE: dataDir.file('kek') }
    const postgres = await startPostgres({ dataDir: dataDir.path, port: 0 })
    try {
      const url = await ensureDatabase(postgres.adminUrl, 'tokenvault')
      const named = recoveryEnvironment(environment, { DATABASE_URL: url })
      const kek = await openKek(loadConfig('migrate', named), named)
      await runRecovery('recovery', flags, { url, kek }, { environment: named, signal })
    } finally {
      await postgres.stop()
    }
  } finally {
    dataDir.release()
  }
}
