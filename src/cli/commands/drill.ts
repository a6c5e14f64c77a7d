import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { type DataDir, openDataDir } from '../../embedded/data-dir.ts'
import { startPostgres } from '../../embedded/postgres.ts'
import { preparePostgres } from '../../embedded/postgres-binaries.ts'
import { postgresUser } from '../../embedded/postgres-cluster.ts'
import { quitPostgres, stopSurvivors } from '../../embedded/postgres-survivors.ts'
import { TokenvaultError } from '../../errors.ts'
import { createHeldKek, kekBytes } from '../../kms/held-key.ts'
import { ensureDatabase } from '../../store/setup/ensure-database.ts'
import { addRecoveryOptions, type RecoveryFlags, recoveryEnvironment, runRecovery } from '../local/run-recovery.ts'
import { stopSignal } from '../process/stop-signal.ts'
import { environmentHelp } from '../terminal/options.ts'

const prefix = 'tokenvault-drill-'

interface DrillFlags extends RecoveryFlags {
  readonly workDir: string
}

/** Options and action of `tokenvault drill`. */
export function configure(command: Command): void {
  addRecoveryOptions(command)
  command
    .option('--work-dir <dir>', 'where the temporary cluster is made: it needs as much room as the database', tmpdir())
    .addHelpText(
      'after',
      `
It restores into a Postgres of its own, under a key-encryption key that nobody keeps, and removes all of it, also after an
error or Ctrl-C; what a killed drill left there, the next one removes. Only the report stays.
${environmentHelp('migrate')}`,
    )
    .action(drill)
}

async function drill(flags: DrillFlags): Promise<void> {
  if (flags.dump === undefined) throw new TokenvaultError('usage', '--dump is missing: what pg_dump wrote')
  await removeLeftovers(flags.workDir)
  const path = mkdtempSync(join(flags.workDir, prefix))
  chmodSync(path, 0o700)
  const signal = stopSignal(() => {
    quitPostgres(path)
    rmSync(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  })
  let dataDir: DataDir | undefined
  try {
    dataDir = openDataDir(path)
    await drillIn(path, flags, signal)
  } finally {
    dataDir?.release()
    rmSync(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  }
}

async function drillIn(path: string, flags: DrillFlags, signal: AbortSignal): Promise<void> {
  // What is thrown away need not survive a power failure.
  const postgres = await startPostgres({ dataDir: path, port: 0, isDurable: false })
  let stopped: Promise<void> | undefined
  const stop = () => {
    stopped ??= postgres.stop()
    return stopped
  }
  // Ends the statement under way.
  signal.addEventListener('abort', () => void stop())
  try {
    const url = await ensureDatabase(postgres.adminUrl, 'tokenvault')
    const kek = createHeldKek('drill', randomBytes(kekBytes))
    const shell = Object.entries(process.env).filter(([name]) => !/^(NEXT_)?(KEK|KMS)_|^ROLE_PASSWORDS/.test(name))
    // No file of this name is ever read: the key is given.
    const environment = recoveryEnvironment(Object.fromEntries(shell), { DATABASE_URL: url, KEK_FILE: 'none' })
    await runRecovery('drill', flags, { url, kek }, { environment, signal })
  } catch (error) {
    if (signal.aborted) throw new TokenvaultError('recovery_stopped', 'nothing of the drill was kept')
    throw error
  } finally {
    await stop()
  }
}

/** Of drills that were killed: their lock is free, and their Postgres may still run. */
async function removeLeftovers(workDir: string): Promise<void> {
  const names = readdirSync(workDir).filter(name => name.startsWith(prefix))
  for (const name of names) {
    const path = join(workDir, name)
    if (statSync(path, { throwIfNoEntry: false })?.uid !== process.getuid?.()) continue
    try {
      const left = openDataDir(path)
      try {
        const cluster = join(path, 'postgres')
        if (readdirSync(path).includes('postgres')) await stopSurvivors(cluster, preparePostgres(postgresUser(cluster)))
        rmSync(path, { recursive: true, force: true })
      } finally {
        left.release()
      }
    } catch (error) {
      // Another drill runs there.
      if (!(error instanceof TokenvaultError) || error.code !== 'already_running') throw error
    }
  }
}
