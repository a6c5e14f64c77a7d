import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { parquetMetadata, parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { parquetWriteBuffer } from 'hyparquet-writer'
import t, { type Test } from 'tap'
import { openParquet } from '../../../src/cli/import/parquet.ts'
import { readFooter } from '../../../src/cli/import/parquet-footer.ts'
import { readThrift, writeThrift } from '../../../src/cli/import/thrift.ts'
import { readCells, rewriteBytes } from '../../helpers/cli/column-file.ts'
import { holdsAny } from '../../helpers/cli/find-plaintext.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'

type Options = Parameters<typeof parquetWriteBuffer>[0]

const ips = ['203.0.113.1', '203.0.113.2', null, '203.0.113.1', '203.0.113.3']

/** Columns of many types beside `ip`, in row groups of two. */
function everyType(options: Partial<Options> = {}): Buffer {
  const columnData: Options['columnData'] = [
    { name: 'flag', data: [true, false, true, false, true] },
    { name: 'ip', data: ips, type: 'STRING', columnIndex: true, offsetIndex: true, bloomFilter: true },
    { name: 'big', data: [2n ** 62n, -1n, 0n, 1n, 2n], columnIndex: true },
    { name: 'float', data: [0.1, -0, 1e300, Number.NaN, 1] },
    { name: 'nested', data: [{ ip: ['x'] }, { ip: [] }, { ip: ['y', 'z'] }, { ip: ['x'] }, { ip: ['x'] }] },
    { name: 'at', data: ips.map((_, n) => new Date(n * 1e9)) },
    { name: 'bytes', data: ips.map((_, n) => Uint8Array.of(n, 0xff)) },
  ]
  return Buffer.from(
    parquetWriteBuffer({
      columnData,
      rowGroupSize: 2,
      kvMetadata: [{ key: 'k', value: 'v' }],
      pageSize: 16,
      ...options,
    }),
  )
}

function parquet(t: Test, bytes: Uint8Array, column = 'ip') {
  const path = join(temporaryDirectory(t), 'a.parquet')
  writeFileSync(path, bytes)
  return { path, file: openParquet(path, column) }
}

const bufferOf = (bytes: Buffer) => Uint8Array.from(bytes).buffer as ArrayBuffer

t.test('another column of every type stays byte for byte; the new one tells of no value', async t => {
  const bytes = everyType()
  const { file, path } = parquet(t, bytes)
  t.equal(await file.check(), 5)
  t.strictSame(
    (await readCells(file, 1)).map(({ text, place }) => [text, place]),
    [
      ['203.0.113.2', 2],
      [undefined, 3],
      ['203.0.113.1', 4],
      ['203.0.113.3', 5],
    ],
  )
  const tokens = ['ip_v1_a', null, undefined, 'ip_v1_a', 'ip_v1_b']
  const result = await rewriteBytes(file, tokens)
  t.notOk(holdsAny(result, ['203.0.113.']), 'no statistics, page index or bloom filter of before')
  t.ok(holdsAny(bytes, ['203.0.113.1']), 'which the input has')
  const before = await parquetReadObjects({ file: bufferOf(bytes) })
  const after = await parquetReadObjects({ file: bufferOf(result) })
  const expected = before.map((row, n) => ({ ...row, ip: tokens[n] ?? (n === 2 ? row['ip'] : null) }))
  t.strictSame(after, expected)
  const [old, made] = [parquetMetadata(bytes), parquetMetadata(result)]
  t.strictSame(made.schema, old.schema)
  t.strictSame(made.key_value_metadata, old.key_value_metadata)
  t.strictSame(
    made.row_groups.map(({ num_rows: rows }) => rows),
    [2n, 2n, 1n],
  )
  t.ok(made.row_groups.every(({ columns }) => columns[1]!.meta_data!.statistics === undefined))
  t.ok(old.row_groups.some(({ columns }) => columns[1]!.meta_data!.bloom_filter_offset))
  const changed = parquet(t, result)
  t.equal(await file.compareRest(changed.file), undefined)
  t.equal(await changed.file.check(), 5)
  const cells = []
  for await (const portion of changed.file.everyCell()) cells.push(...portion)
  t.ok(
    cells.some(({ text, row, column }) => text === 'y' && row === 3 && column === 'nested'),
    'nested cells, too',
  )
  const flipped = Buffer.from(result)
  const { groups } = await readFooter(path)
  const chunk = (await readFooter(changed.path)).groups[0]!.chunks[2]!
  flipped[chunk.from + chunk.length - 1]! ^= 1
  t.match(await file.compareRest(parquet(t, flipped).file), /^row group 1 differs in column "big"$/)
  t.equal(groups.length, 3)
})

t.test('a column that must hold something holds an empty string where nothing is left', async t => {
  const schema: Options['schema'] = [
    { name: 'root', num_children: 1 },
    { name: 'ip', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'REQUIRED' },
  ]
  const bytes = Buffer.from(parquetWriteBuffer({ schema, columnData: [{ name: 'ip', data: ['unknown', 'x'] }] }))
  const { file } = parquet(t, bytes)
  const result = await rewriteBytes(file, [null, 'T'])
  t.strictSame(await parquetReadObjects({ file: bufferOf(result) }), [{ ip: '' }, { ip: 'T' }])
  t.strictSame(
    (await readCells(parquet(t, result).file)).map(({ text }) => text),
    [undefined, 'T'],
  )
})

t.test('files of every usual compression are read', async t => {
  const codecs = { GZIP: gzipSync, BROTLI: brotliCompressSync, ZSTD: zstdCompressSync }
  for (const [codec, compress] of Object.entries(codecs)) {
    const bytes = everyType({
      codec: codec as keyof typeof codecs,
      compressors: { [codec]: (input: Uint8Array) => new Uint8Array(compress(input)) },
    })
    const { file } = parquet(t, bytes)
    t.equal(await file.check(), 5, codec)
    t.strictSame(
      (await readCells(file)).map(({ text }) => text ?? null),
      ips,
    )
    const result = await rewriteBytes(
      file,
      ips.map(() => 'T'),
    )
    const rows = await parquetReadObjects({ file: bufferOf(result), compressors })
    t.strictSame(rows.map(row => [row['ip'], row['big']])[0], ['T', 2n ** 62n])
  }
})

t.test('a column that holds no strings, is nested or missing is refused before anything else', async t => {
  const bytes = everyType()
  const cases: readonly [string, RegExp][] = [
    ['big', /^the column holds INT64; only columns of strings are imported$/],
    ['flag', /^the column holds BOOLEAN; /],
    ['at', /^the column holds TIMESTAMP/],
    ['nested', /^the column holds JSON; /],
    ['nowhere', /^there is no such column; the file has "flag", "ip", "big"/],
  ]
  for (const [column, message] of cases)
    await t.rejects(parquet(t, bytes, column).file.check(), { code: 'import_file_invalid', message }, column)
  const nested = Buffer.from(
    parquetWriteBuffer({
      schema: [
        { name: 'root', num_children: 2 },
        { name: 'ip', converted_type: 'LIST', repetition_type: 'OPTIONAL', num_children: 1 },
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        { name: 'element', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
        { name: 'other', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
      ],
      columnData: [
        { name: 'ip', data: [['a', null], null, []] },
        { name: 'other', data: ['x', 'y', null] },
      ],
    }),
  )
  await t.rejects(parquet(t, nested).file.check(), { message: /^the column is nested; / })
  const beside = await rewriteBytes(parquet(t, nested, 'other').file, ['T', null, undefined])
  t.strictSame(await parquetReadObjects({ file: bufferOf(beside) }), [
    { ip: ['a', null], other: 'T' },
    { ip: undefined, other: null },
    { ip: [], other: null },
  ])
  const latin = parquetWriteBuffer({
    schema: [
      { name: 'root', num_children: 1 },
      { name: 'ip', type: 'BYTE_ARRAY', repetition_type: 'OPTIONAL' },
    ],
    columnData: [{ name: 'ip', data: [Uint8Array.of(0x61), Uint8Array.of(0xe9)] }],
  })
  await t.rejects(parquet(t, Buffer.from(latin)).file.check(), { message: /^row 2 is not UTF-8$/ })
})

t.test('a file that is cut, torn or of another kind is refused in our own words', async t => {
  const bytes = everyType()
  for (const broken of [
    Buffer.from('id,ip\n1,203.0.113.1\n'),
    Buffer.alloc(0),
    bytes.subarray(0, bytes.length - 1),
    bytes.subarray(4),
    Buffer.concat([bytes.subarray(0, 100), bytes.subarray(-300)]),
    Buffer.concat([bytes.subarray(0, -8), Buffer.from([0xff, 0xff, 0xff, 0x7f]), Buffer.from('PAR1')]),
  ])
    await t.rejects(parquet(t, broken).file.check(), { code: 'import_file_invalid' })
  // Any byte of the footer and of the pages: refused, or read as something; never another error.
  for (let at = 4; at < bytes.length - 4; at += 7) {
    const flipped = Buffer.from(bytes)
    flipped[at]! ^= 0xff
    const outcome = await parquet(t, flipped)
      .file.check()
      .catch((error: { code: string }) => error.code)
    if (typeof outcome !== 'number' && outcome !== 'import_file_invalid') t.fail(`${outcome} at ${at}`)
  }
})

t.test('a footer is written as it was read, with all that a reader may not know', async t => {
  const bytes = everyType()
  const end = bytes.length - 8
  const footer = bytes.subarray(end - bytes.readUInt32LE(end), end)
  t.ok(writeThrift(readThrift(footer)).equals(footer))
  const unknown = Buffer.from([0x15, 0x54, 0x00].map(Number))
  t.ok(writeThrift(readThrift(unknown)).equals(unknown))
  t.throws(() => readThrift(footer.subarray(0, -20)), RangeError)
  t.throws(() => readThrift(Buffer.alloc(200, 0x1c)), RangeError, 'structs in structs')
})
