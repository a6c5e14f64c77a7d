import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import t from 'tap'
import { openDumpFile } from '../../../src/compose/recover/dump-file.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'

const { signal } = new AbortController()

async function readAll(path: string, PATH = '/nowhere') {
  const dump = await openDumpFile(path, { environment: { PATH }, signal })
  const pieces: Buffer[] = []
  for await (const piece of dump.open(() => {})) pieces.push(piece)
  return { format: dump.format, text: Buffer.concat(pieces).toString('utf8') }
}

t.test('a dump is known by its bytes, not by its name; what is not SQL is read by pg_restore', async t => {
  const directory = temporaryDirectory(t)
  const file = (name: string, bytes: Uint8Array | string) => {
    writeFileSync(join(directory, name), bytes)
    return join(directory, name)
  }
  const text = `-- PostgreSQL database dump\n${'x'.repeat(300_000)}\n`
  t.strictSame(await readAll(file('a.gz', text)), { format: 'plain', text })
  t.strictSame(await readAll(file('a.sql', gzipSync(text))), { format: 'gzip', text })
  t.strictSame(await readAll(file('a', zstdCompressSync(text))), { format: 'zstd', text })

  // What it is started with, and how its ends are told; the real one reads only archives of its own version and of earlier ones.
  const bin = join(directory, 'bin')
  mkdirSync(bin)
  const pgRestore = (script: string) => {
    file('bin/pg_restore', `#!/bin/sh\n${script}\n`)
    chmodSync(join(bin, 'pg_restore'), 0o755)
  }
  const custom = file('custom.dump', 'PGDMP\x01\x10')
  mkdirSync(join(directory, 'archive'))
  file('archive/toc.dat', 'PGDMP')
  pgRestore('/bin/echo "$1 $2"; /bin/echo "$PGPASSWORD"')
  t.strictSame(await readAll(custom, bin), { format: 'custom', text: `--file=- ${custom}\n\n` })
  t.match(await readAll(join(directory, 'archive'), bin), { format: 'directory' })
  pgRestore('/bin/echo "pg_restore: error: unsupported version (1.16) in file header" >&2; exit 1')
  await t.rejects(readAll(custom, bin), { code: 'dump_invalid', message: /older than the pg_dump .*\(1\.16\)/ })
  await t.rejects(readAll(custom), { code: 'dump_invalid', message: /no pg_restore in PATH: .*--file=dump\.sql/ })
})

t.test('a dump that cannot be read is refused', async t => {
  const directory = temporaryDirectory(t)
  const cut = join(directory, 'cut.gz')
  writeFileSync(cut, gzipSync('x'.repeat(100_000)).subarray(0, 60))
  await t.rejects(readAll(cut), { code: 'dump_invalid', message: /decompressed \(Z_BUF_ERROR\)/ })
  await t.rejects(readAll(join(directory, 'none')), { code: 'dump_invalid', message: /ENOENT/ })
  await t.rejects(readAll(directory), { code: 'dump_invalid', message: /no toc\.dat/ })
})
