import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import { createDatabase } from '../../src/store/postgres/database.ts'

/**
 * The same two statements as one call of one token, by Postgres' own benchmark: read an original by its key, insert an
 * audit event of the usual size, commit. No tree, no keys, no HTTP.
 */
export interface Pgbench {
  /** @returns transactions a second; undefined where this machine has no pgbench */
  run(options: { connections: number; seconds: number }): Promise<number | undefined>
}

const script = `\\set n random(1, :count)
SELECT field, token_key_version, data_key_version, sealed FROM bench.originals WHERE token_id = md5(:n::text)::uuid;
INSERT INTO bench.audit_log (sequence, event, leaf_hash)
  VALUES (nextval('bench.sequence'), convert_to(repeat('x', 420), 'UTF8'), sha256('x'));
`

/** Makes tables of their own, as many originals as the vault has. */
export async function preparePgbench(adminUrl: string, directory: string, originals: number): Promise<Pgbench> {
  const database = createDatabase({ url: adminUrl, poolMax: 1, applicationName: 'bench' })
  for (const statement of [
    'CREATE SCHEMA bench',
    'CREATE TABLE bench.originals (LIKE pii_vault.originals INCLUDING ALL)',
    'CREATE TABLE bench.audit_log (LIKE pii_vault.audit_log INCLUDING ALL)',
    'CREATE SEQUENCE bench.sequence',
    `INSERT INTO bench.originals (token_id, field, token_key_version, data_key_version, sealed)
     SELECT md5(n::text)::uuid, 'ip', 1, 1, sha256(n::text::bytea) FROM generate_series(1, ${originals}) AS n`,
    'VACUUM ANALYZE bench.originals',
  ])
    await sql.raw(statement).execute(database)
  await database.destroy()
  const file = join(directory, 'two-statements.sql')
  writeFileSync(file, script)
  return {
    run: async ({ connections, seconds }) =>
      hasPgbench() ? await runPgbench(adminUrl, file, { originals, connections, seconds }) : undefined,
  }
}

function hasPgbench(): boolean {
  try {
    execFileSync('pgbench', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

async function runPgbench(
  adminUrl: string,
  file: string,
  { originals, connections, seconds }: { originals: number; connections: number; seconds: number },
): Promise<number> {
  const { hostname, port, username, password, pathname } = new URL(adminUrl)
  const child = spawn(
    'pgbench',
    [
      ...['--no-vacuum', '--protocol=prepared', `--file=${file}`, `--define=count=${originals}`],
      ...[`--client=${connections}`, '--jobs=2', `--time=${seconds}`],
      ...['--host', hostname, '--port', port, '--username', decodeURIComponent(username), pathname.slice(1)],
    ],
    { env: { ...process.env, PGPASSWORD: decodeURIComponent(password) }, stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const ended = once(child, 'close')
  const output = (await child.stdout.setEncoding('utf8').toArray()).join('')
  const [status] = await ended
  const rate = Number(/^tps = ([\d.]+)/m.exec(output)?.[1])
  if (status !== 0 || !Number.isFinite(rate)) throw new Error(`pgbench ended with ${status}`)
  return rate
}
