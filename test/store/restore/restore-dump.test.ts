import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { restoreDump } from '../../../src/store/restore/restore-dump.ts'
import { splitDump } from '../../../src/store/restore/split-dump.ts'
import { createRoles, migrate } from '../../../src/store/setup/migrate.ts'
import { createTestDatabase } from '../../helpers/postgres/embedded-postgres.ts'
import { pgDump } from '../../helpers/postgres/pg-dump.ts'
import { connectTo, createVaultDatabase, openDatabase } from '../../helpers/postgres/vault-database.ts'

const { signal } = new AbortController()

/** In pieces of a size, so that everything is cut everywhere. */
function* cut(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function restore(t: Test, dump: Buffer, digest = 'a') {
  const { adminUrl } = await createTestDatabase(t)
  await createRoles(openDatabase(t, adminUrl, 1))
  const again = () => restoreDump({ url: adminUrl, dump: Readable.from(cut(dump, 65_536)), digest, signal })
  return { adminUrl, restored: await again(), again }
}

/** Every dump has a key of its own in these lines. */
function withoutKey(dump: Buffer): string {
  return dump.toString('utf8').replaceAll(/^\\(un)?restrict .*$/gm, '')
}

/** What people have in their databases, and a splitter of SQL might stumble over. */
const others = `
  CREATE SCHEMA bi;
  CREATE TABLE bi.texts (id int PRIMARY KEY, body text DEFAULT 'a;''b' , "odd ; ""name" text);
  INSERT INTO bi.texts VALUES (1, E'tab\\t, line\\n\\\\.\\nback\\\\slash', NULL), (2, '\\.', '$$;'), (3, '', 'ünï');
  CREATE TABLE bi.none ();
  CREATE TABLE bi.empty (x int);
  CREATE FUNCTION bi.atomic(x int) RETURNS int LANGUAGE sql
    BEGIN ATOMIC SELECT 1; SELECT CASE WHEN x > 0 THEN 1 ELSE 2 END; END;
  CREATE FUNCTION bi.dollars() RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RETURN $x$;'"--$x$ || '/*'; END $f$;
  CREATE RULE two AS ON DELETE TO bi.empty DO ALSO (SELECT 1; SELECT 2);
  CREATE VIEW bi.shown AS SELECT body || ';' AS "a;b" FROM bi.texts WHERE body <> E'\\\\';
  COMMENT ON TABLE bi.texts IS 'line
-- not a comment; /* nor this $$';
  SELECT lo_from_bytea(4711, 'large');
`

t.test('a database that pg_dump wrote down is the same after it was restored, statement by statement', async t => {
  const vault = await createVaultDatabase(t)
  await (await vault.connect()).query(others)
  const dump = await pgDump(t, vault.adminUrl)
  t.match(dump.toString('utf8'), /Dumped by pg_dump version 18/)
  const { adminUrl, restored, again } = await restore(t, dump)
  t.match(restored, { leftOut: 0, wasThere: false })
  t.match(await again(), { statements: 0, wasThere: true }, 'the same dump again changes nothing')
  const client = await connectTo(t, adminUrl)
  await client.query('DROP SCHEMA tokenvault_recovery CASCADE')
  const [one, other] = [withoutKey(dump), withoutKey(await pgDump(t, adminUrl))]
  t.ok(one === other, 'and a dump of it is the same text')
  const { findings } = await migrate(openDatabase(t, adminUrl, 1))
  t.strictSame(
    findings.filter(({ status }) => status === 'fail'),
    [],
  )

  const inserts = await restore(t, await pgDump(t, vault.adminUrl, ['--inserts', '--no-owner', '--no-acl']))
  const { rows } = await (await connectTo(t, inserts.adminUrl)).query('SELECT * FROM bi.texts ORDER BY id')
  t.strictSame(rows, (await client.query('SELECT * FROM bi.texts ORDER BY id')).rows, 'by INSERT statements, too')
})

t.test('wherever a dump is cut into pieces, its parts are the same; cut short, it is refused', async t => {
  const vault = await createVaultDatabase(t)
  await (await vault.connect()).query(others)
  const whole = await pgDump(t, vault.adminUrl, ['--schema=bi'])
  const read = async (bytes: Buffer, size: number) => {
    const parts: string[] = []
    for await (const { text, line, rows } of splitDump(Readable.from(cut(bytes, size)))) {
      const pieces: Buffer[] = []
      for await (const piece of rows ?? []) pieces.push(piece)
      parts.push(`${line} ${text} ${Buffer.concat(pieces)}`)
    }
    return parts
  }
  const expected = await read(whole, whole.length)
  t.ok(expected.length > 10)
  for (const size of [1, 2, 3, 7, 64]) t.strictSame(await read(whole, size), expected, `pieces of ${size}`)
  const crlf = Buffer.from(whole.toString('utf8').replaceAll('\n', '\r\n'))
  t.equal((await read(crlf, 13)).length, expected.length, 'lines that Windows ended')
  for (let end = 0; end < whole.length - 10; end += 97)
    await t.rejects(read(whole.subarray(0, end), 64), { code: 'dump_invalid' }, `cut at ${end}`)
})

t.test('what is no dump of one database is refused with its line, and nothing of it stays', async t => {
  const dumpOf = (text: string) =>
    Buffer.from(`--\n-- PostgreSQL database dump\n--\n${text}\n-- PostgreSQL database dump complete\n`)
  const wrong: [string, RegExp][] = [
    ['\\connect other', /line 4: it goes on in a database that it names/],
    ['\\! touch /tmp/x', /a command of psql/],
    ['CREATE TABLE a ();\n\\copy a from x', /line 5: a command of psql/],
    ['CREATE DATABASE x;', /without --create/],
    ["COPY a FROM PROGRAM 'id';", /rows are taken from the dump alone/],
    ['CREATE TABLE a ();\nROLLBACK;', /line 5: a statement that ends/],
    ['CREATE TABLE a ();\nSELECT 1 FROM nowhere;', /line 5: SELECT: the database answered SQLSTATE 42P01/],
    ['CREATE TABLE a (x int);\nCOPY a (x) FROM stdin;\n1\nsecret-value\n\\.\n', /line 5: COPY: .*22P02/],
    ["SELECT 'never ends", /not complete/],
  ]
  for (const [text, says] of wrong) {
    const { adminUrl } = await createTestDatabase(t)
    const dump = Readable.from(cut(dumpOf(text), 5))
    const error = await restoreDump({ url: adminUrl, dump, digest: 'a', signal }).then(
      () => undefined,
      reason => reason,
    )
    t.match(error, { code: 'dump_invalid', message: says }, text)
    t.notMatch(error?.message, /secret-value/)
    const { rows } = await (await connectTo(t, adminUrl)).query("SELECT to_regclass('public.a') AS a")
    t.strictSame(rows, [{ a: null }])
  }
  const { adminUrl } = await createTestDatabase(t)
  const noDump = restoreDump({ url: adminUrl, dump: Readable.from([Buffer.from('id,ip\n1,2\n')]), digest: 'a', signal })
  await t.rejects(noDump, { code: 'dump_invalid', message: /not what pg_dump writes/ })
  const used = await createVaultDatabase(t)
  const into = restoreDump({ url: used.adminUrl, dump: Readable.from([dumpOf('')]), digest: 'a', signal })
  await t.rejects(into, { code: 'recovery_target_used' })
})
