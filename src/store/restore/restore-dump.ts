import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Client, DatabaseError } from 'pg'
import { from } from 'pg-copy-streams'
import { TokenvaultError } from '../../errors.ts'
import { parseConnectionUrl } from '../postgres/connection-url.ts'
import { namingFailures } from '../postgres/database.ts'
import { classifyFailure } from '../postgres/failures.ts'
import { openClient } from '../postgres/session.ts'
import { invalid, splitDump } from './split-dump.ts'

/** What was restored. */
export interface Restored {
  readonly statements: number
  readonly tables: number
  /** Statements about roles, extensions or settings that this server does not have: they were left out. */
  readonly leftOut: number
  /** True where an earlier call had restored the same dump, and this one changed nothing. */
  readonly wasThere: boolean
  /** Events of the audit log that were in the dump. */
  readonly treeSize: number
}

/**
 * Restores a plain dump into an empty database: all of it or nothing, in one transaction. Rows pass through by COPY, and no more
 * than a piece of them is in memory.
 *
 * Of what a dump says of roles, extensions and settings that the server does not have, nothing is lost that `tokenvault migrate`
 * would not give back: it is left out and counted.
 *
 * @param options.url of a superuser, or of who may own the database and act as tokenvault_owner. A dump holds any statement: restore
 *   only what you trust
 * @param options.dump the bytes, not compressed
 * @param options.digest names the dump: where the same one stands there already, nothing is done
 * @throws TokenvaultError `dump_invalid`, `recovery_target_used`, `recovery_stopped`, `store_unavailable`
 */
export async function restoreDump(options: {
  readonly url: string
  readonly dump: AsyncIterable<Buffer>
  readonly digest: string
  readonly signal: AbortSignal
}): Promise<Restored> {
  const { url, dump, digest, signal } = options
  const client = await namingFailures(() =>
    openClient(parseConnectionUrl(url), { application_name: 'tokenvault recover' }, () => true),
  )
  try {
    await namingFailures(() => client.query('begin'))
    const treeSize = await findRestored(client, digest)
    if (treeSize !== undefined) return { statements: 0, tables: 0, leftOut: 0, wasThere: true, treeSize }
    const done = { statements: 0, tables: 0, leftOut: 0 }
    for await (const { text, line, rows } of splitDump(dump)) {
      if (signal.aborted) throw new TokenvaultError('recovery_stopped', 'nothing was restored')
      const outcome = await naming(line, text, async () => {
        if (rows === undefined) return run(client, text, line)
        await pipeline(Readable.from(rows, { objectMode: false }), client.query(from(text)), { signal })
        return 'run'
      })
      if (rows !== undefined) done.tables++
      else if (outcome === 'run') done.statements++
      else done.leftOut++
    }
    const restored = await namingFailures(() => mark(client, digest))
    await namingFailures(() => client.query('commit'))
    return { ...done, wasThere: false, treeSize: restored }
  } finally {
    // Ends the transaction, too, where it is still open.
    client.connection.stream.destroy()
  }
}

const markSchema = 'tokenvault_recovery'

/** @returns events of the log of this dump where it was restored there before. @throws TokenvaultError `recovery_target_used` */
function findRestored(client: Client, digest: string): Promise<number | undefined> {
  return namingFailures(async () => {
    // Two at once: the other one waits, and finds it done.
    await client.query(`select pg_advisory_xact_lock(hashtextextended('tokenvault/recover', 0))`)
    const { rows } = await client.query<{ used: boolean; marked: boolean }>(
      `select to_regclass('${markSchema}.restored') is not null as marked, exists (
         select from pg_catalog.pg_class join pg_catalog.pg_namespace n on n.oid = relnamespace
         where nspname !~ '^(pg_|information_schema$)' and relkind in ('r', 'p', 'v', 'm', 'f')) as used`,
    )
    const { used, marked } = rows[0]!
    if (!used) return undefined
    const found = marked ? await client.query(`select digest, tree_size from ${markSchema}.restored`) : undefined
    if (found?.rows[0]?.digest === digest) return Number(found.rows[0].tree_size)
    const what = found === undefined ? 'it holds tables' : 'another dump was restored into it'
    throw new TokenvaultError('recovery_target_used', what)
  })
}

/** @returns events of the log that was restored. @throws TokenvaultError `dump_invalid` where there is none */
async function mark(client: Client, digest: string): Promise<number> {
  const { rows } = await client.query(
    `select to_regclass('pii_vault.audit_head') is not null and to_regclass('pii_vault.keys') is not null as is_vault`,
  )
  if (!rows[0].is_vault)
    throw new TokenvaultError(
      'dump_invalid',
      'it is complete, and not of a database of tokenvault, or not of all of it',
    )
  await client.query(
    `create schema ${markSchema}; create table ${markSchema}.restored (digest text not null, tree_size bigint not null)`,
  )
  const marked = await client.query(
    `insert into ${markSchema}.restored select $1, tree_size from pii_vault.audit_head returning tree_size`,
    [digest],
  )
  return Number(marked.rows[0]?.tree_size ?? 0)
}

/** What came of a restore is kept: from now on the database is one like any other. */
export async function unmarkRestored(url: string): Promise<void> {
  await namingFailures(async () => {
    const settings = { application_name: 'tokenvault recover' }
    const client = await openClient(parseConnectionUrl(url), settings, () => true)
    try {
      await client.query(`drop schema if exists ${markSchema} cascade`)
    } finally {
      await client.end()
    }
  })
}

/** Statements that a server without the roles, extensions or settings of the other one refuses, with these codes. */
const optional = [
  [/^SET\s+\w+\s*(=|TO)/i, ['42704', '22023', '42501']],
  [/^ALTER\s[^;]*\sOWNER\s+TO\s+[^;]+;$/i, ['42704', '42501']],
  [/^(GRANT|REVOKE)\s/i, ['42704', '42501']],
  [/^ALTER\s+DEFAULT\s+PRIVILEGES\s/i, ['42704', '42501']],
  [/^(CREATE|COMMENT\s+ON)\s+EXTENSION\s/i, ['0A000', '58P01', '42704', '42501']],
] as const

async function run(client: Client, text: string, line: number): Promise<'run' | 'left out'> {
  const refused = findRefused(text)
  if (refused !== undefined) throw invalid(line, refused)
  // Around a large object; all of the dump is one transaction here.
  if (/^(BEGIN|COMMIT);$/i.test(text)) return 'run'
  const codes: readonly string[] | undefined = optional.find(([shape]) => shape.test(text))?.[1]
  if (codes === undefined) {
    await client.query(text)
    return 'run'
  }
  await client.query('savepoint one')
  try {
    await client.query(text)
    await client.query('release savepoint one')
    return 'run'
  } catch (error) {
    if (!(error instanceof DatabaseError) || !codes.includes(error.code ?? '')) throw error
    await client.query('rollback to savepoint one')
    return 'left out'
  }
}

/** What pg_dump does not write into a dump of one database, and what would end the transaction. */
function findRefused(text: string): string | undefined {
  if (/^(CREATE|ALTER|DROP)\s+DATABASE\s/i.test(text)) return 'it makes a database: make the dump without --create'
  if (/^COPY\s/i.test(text)) return 'rows are taken from the dump alone'
  if (/^(ROLLBACK|ABORT|END|START|SAVEPOINT|PREPARE\s+TRANSACTION)\b/i.test(text))
    return 'a statement that ends or begins a transaction'
  return undefined
}

/** Only the first words of a statement and the SQLSTATE go on: what stands behind them may be data. */
async function naming<T>(line: number, text: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof TokenvaultError) throw error
    if (error instanceof Error && error.name === 'AbortError')
      throw new TokenvaultError('recovery_stopped', 'nothing was restored')
    const { kind, label } = classifyFailure(error)
    const words = /^[A-Z]+(?:\s[A-Z]+)*/.exec(text)?.[0].slice(0, 60) ?? 'a statement'
    if (kind === 'data' || kind === 'permanent') throw invalid(line, `${words}: the database answered ${label}`)
    throw new TokenvaultError('store_unavailable', `line ${line} of the dump: the database answered ${label}`)
  }
}
