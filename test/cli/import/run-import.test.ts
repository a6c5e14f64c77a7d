import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parquetReadObjects } from 'hyparquet'
import { parquetWriteBuffer } from 'hyparquet-writer'
import t from 'tap'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { findPlaintext, holdsAny } from '../../helpers/cli/find-plaintext.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'
import { startVaultApi } from '../../helpers/http/vault-api.ts'
import { readClusterLog } from '../../helpers/postgres/vault-database.ts'

const policy = `
version: 1
roles:
  mover: { store: ["*"], purposes: ["*"] }
  slow_mover: { store: ["*"], purposes: ["*"], budget: { per_minute: 3 } }
  ip_mover: { store: [ip], purposes: ["*"] }
  revealer: { reveal: { "*": full }, purposes: ["*"] }
`

t.test('before the real API: what is imported is given back, and no value of it is anywhere else', async t => {
  const api = await startVaultApi(t, { policy, originals: 0 })
  const folder = temporaryDirectory(t)
  const values = Array.from({ length: 5 }, (_, n) => `canary-import-${n}-5b1e`)
  const jwtOf = async (role: string) => {
    const path = join(temporaryDirectory(t), 'jwt')
    writeFileSync(path, await signJwt(api.key, { sub: role, roles: [role] }))
    return path
  }
  const importFile = async (input: string, role: string, ...more: string[]) => {
    const how = ['--url', api.origin, '--jwt-file', await jwtOf(role), '--purpose', 'account_move']
    return runInProcess(['import', input, '--field', 'device_id', '--column', 'device', ...how, ...more])
  }
  const reveal = async (tokens: readonly string[]) => {
    const body = { purpose: 'account_move', tokens }
    const { json } = await api.call({ sub: 'rita', roles: ['revealer'] }, 'POST', '/v1/detokenize', body)
    return json['results'].map(({ value }: { value: string }) => value)
  }
  const input = join(temporaryDirectory(t), 'devices.csv')
  writeFileSync(input, `device,n\n${values.map((value, n) => `${value},${n}\n`).join('')}unknown,5\n,6\n`)
  const out = join(folder, 'devices.csv')

  const stopped = await importFile(input, 'slow_mover', '--out', out, '--batch', '2', '--retry-for', '0')
  t.match(stopped, { code: 1, stderr: /2 of 7 rows are done; .*\n.*import_interrupted: 429 budget_exceeded/ })
  t.match(readFileSync(join(`${out}.import`, 'progress'), 'utf8'), /\ndevice_id_v1_.*\ndevice_id_v1_.*\n\{"rows":2,/)
  t.strictSame(findPlaintext(folder, values), [], 'the progress holds no value')
  const done = await importFile(input, 'mover', '--out', out, '--batch', '2', '--verify')
  t.match(done, { code: 0, stderr: '', stdout: /^stored 5 of 7 rows; 1 empty, 1 placeholder\n.*\nproven for 7 rows/ })
  const result = readFileSync(out, 'utf8').split('\n')
  t.strictSame(await reveal(result.slice(1, 6).map(line => line.split(',')[0]!)), values)
  t.strictSame(result.slice(6), [',5', ',6', ''])

  const parquet = join(temporaryDirectory(t), 'devices.parquet')
  const columnData = [{ name: 'device', data: [...values, null], type: 'STRING' as const, bloomFilter: true }]
  writeFileSync(parquet, Buffer.from(parquetWriteBuffer({ columnData, rowGroupSize: 4 })))
  const parquetOut = join(folder, 'devices.parquet')
  t.match(await importFile(parquet, 'mover', '--out', parquetOut, '--verify'), { code: 0, stderr: '' })
  const rows = await parquetReadObjects({ file: Uint8Array.from(readFileSync(parquetOut)).buffer as ArrayBuffer })
  t.strictSame(
    rows.map(row => row['device']),
    [...result.slice(1, 6).map(line => line.split(',')[0]), null],
    'equal values have equal tokens in every format',
  )

  const again = await importFile(out, 'mover', '--out', join(folder, 'again.csv'), '--verify')
  t.match(again, { code: 0, stdout: /^stored 0 of 7 rows; 2 empty, 5 tokens already\n/ })
  t.equal(
    readFileSync(join(folder, 'again.csv'), 'utf8'),
    readFileSync(out, 'utf8'),
    'importing a result changes nothing',
  )

  const other = join(folder, 'other.csv')
  t.match(await importFile(input, 'ip_mover', '--out', other), {
    code: 2,
    stderr: /import_refused: .*field_not_permitted/,
  })
  t.match(await importFile(input, 'revealer', '--out', other), {
    code: 2,
    stderr: /import_refused: 403 role_not_permitted/,
  })
  t.match(await importFile(input, 'mover', '--out', other, '--field', 'email'), { code: 2, stderr: /field_unknown/ })

  t.strictSame(findPlaintext(folder, values), [], 'no result and no progress holds a value')
  t.notOk(holdsAny(Buffer.from(api.logged() + readClusterLog() + JSON.stringify(await api.events())), values))
  t.notOk(holdsAny(Buffer.from([stopped, done, again].map(({ stdout, stderr }) => stdout + stderr).join('')), values))
  const admin = await api.vault.connect()
  const { rows: tables } = await admin.query(
    `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
  )
  let held = 0
  for (const { name } of tables) {
    const { rows } = await admin.query(`SELECT t::text FROM ${name} AS t`)
    held += rows.length
    t.notOk(holdsAny(Buffer.from(JSON.stringify(rows)), values), name)
  }
  t.ok(held > 5)
})
