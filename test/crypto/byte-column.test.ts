import fc from 'fast-check'
import t from 'tap'
import { columnLength, packBytes, packText, unpackText, valueAt } from '../../src/crypto/byte-column.ts'
import { columnToHex, pooled, toHex } from '../helpers/crypto/bytes.ts'
import { bytesUpTo, checkProperty, unicodeText } from '../helpers/crypto/property.ts'

t.test('bytes', async t => {
  await checkProperty(
    t,
    'stand in the column as they were given, wherever they came from',
    fc.property(fc.array(bytesUpTo(40)), fc.integer({ min: 0, max: 5 }), (values, offset) => {
      const column = packBytes(values.map(value => pooled(value, offset)))
      return columnLength(column) === values.length && columnToHex(column).join() === values.map(toHex).join()
    }),
  )
  const column = packBytes([Buffer.from('one'), Buffer.from('two')])
  valueAt(column, 1)[0] = 0x54
  t.equal(Buffer.from(column.bytes).toString(), 'oneTwo', 'valueAt is a view')
  t.equal(columnLength(packBytes([])), 0)
})

t.test('text', async t => {
  await checkProperty(
    t,
    'packs as Buffer encodes each value, and unpacks to itself, in any script',
    fc.property(fc.array(unicodeText(20)), texts => {
      const column = packText(texts)
      return (
        columnToHex(column).join() === texts.map(text => toHex(Buffer.from(text, 'utf8'))).join() &&
        JSON.stringify(unpackText(column)) === JSON.stringify(texts)
      )
    }),
    300,
  )
  await checkProperty(
    t,
    'ASCII, which has a way of its own, does too',
    fc.property(fc.array(fc.string({ unit: 'binary-ascii' })), texts => {
      const column = packText(texts)
      return (
        columnToHex(column).join() === texts.map(text => toHex(Buffer.from(text, 'utf8'))).join() &&
        JSON.stringify(unpackText(column)) === JSON.stringify(texts)
      )
    }),
  )
  const texts = ['', '\uFEFFbyte order mark', 'é', 'e\u0301', '\u{1F600}', 'NUL\0', '', '日本語']
  t.same(unpackText(packText(texts)), texts, 'nothing is dropped or composed')
  const { bytes, offsets } = packText(texts)
  t.same(unpackText({ bytes: pooled(bytes), offsets }), texts, 'from a view at an odd offset')
  t.same(unpackText(packText([])), [])
})
