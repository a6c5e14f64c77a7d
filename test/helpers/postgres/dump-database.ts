import type pg from 'pg'

/** Every row of every table of ours as text, as a dump holds it: what nobody can find here is not in a backup. */
export async function dumpDatabase(admin: pg.Client): Promise<string> {
  const { rows: tables } = await admin.query<{ name: string }>(
    `SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
     WHERE relkind = 'r' AND nspname !~ '^(pg_|information_schema$)' ORDER BY 1`,
  )
  const texts: string[] = []
  for (const { name } of tables) {
    const { rows } = await admin.query<{ row: string }>(`SELECT t::text AS row FROM ${name} AS t`)
    texts.push(name, ...rows.map(({ row }) => row))
  }
  return texts.join('\n')
}
