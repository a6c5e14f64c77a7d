import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { startPostgres } from '../../../src/embedded/postgres.ts'
import { readPidFile } from '../../../src/embedded/postgres-survivors.ts'
import { runCommand } from '../cli/cli.ts'
import { temporaryDirectory } from '../embedded/embedded-directory.ts'
import { withLogin } from '../postgres/vault-database.ts'
import type { FaultDatabase } from './world.ts'

/** A Postgres of the test's own, with fsync, that can be killed and started again on its port. */
export interface PostgresServer {
  readonly database: FaultDatabase
  /** SIGKILL to the server and everything it started, at once. */
  kill(): void
  /** After a kill: recovery from the write-ahead log. */
  restart(): Promise<void>
  /** How often it recovered, by its own log. */
  recoveries(): number
}

export async function startPostgresServer(t: Test): Promise<PostgresServer> {
  const dataDir = temporaryDirectory(t)
  const start = (port: number) => startPostgres({ dataDir, port })
  let running = await start(0)
  const { port, adminUrl } = running
  t.teardown(() => running.stop())

  const password = randomBytes(16).toString('hex')
  const passwords = join(dataDir, 'passwords')
  await mkdir(passwords)
  const roles = ['tokenvault_worker', 'tokenvault_auditor'] as const
  for (const role of roles) writeFileSync(join(passwords, role), password)
  const kekFile = join(dataDir, 'kek')
  writeFileSync(kekFile, randomBytes(32), { mode: 0o600 })
  const environment = { DATABASE_URL: adminUrl, KEK_FILE: kekFile, ROLE_PASSWORDS_DIR: passwords }
  const { code, stderr } = await runCommand(t, ['migrate'], environment)
  if (code !== 0) throw new Error(stderr)

  return {
    database: { adminUrl, kekFile, urlFor: role => withLogin(adminUrl, role, password) },
    kill() {
      const { pid } = readPidFile(join(dataDir, 'postgres'))
      if (pid === undefined) throw new Error('Postgres does not run')
      for (const victim of [pid, ...childrenOf(pid)]) {
        try {
          process.kill(victim, 'SIGKILL')
        } catch {
          // A session that ended in the meantime.
        }
      }
    },
    async restart() {
      running = await start(port)
    },
    recoveries: () =>
      readFileSync(join(dataDir, 'postgres.log'), 'utf8').match(/was not properly shut down/g)?.length ?? 0,
  }
}

function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        // The name in parentheses may hold spaces; state and parent follow it.
        return (
          Number(
            readFileSync(`/proc/${pid}/stat`, 'utf8')
              .replace(/^.*\) /s, '')
              .split(' ')[1],
          ) === parent
        )
      } catch {
        return false
      }
    })
    .map(Number)
}
