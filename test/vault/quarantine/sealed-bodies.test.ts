import t from 'tap'
import { packBytes, unpackText } from '../../../src/crypto/byte-column.ts'
import { FieldKeys } from '../../../src/vault/keys/field-keys.ts'
import { Keyset } from '../../../src/vault/keys/keyset.ts'
import { createOpenQuarantined, createSealQuarantined } from '../../../src/vault/quarantine/sealed-bodies.ts'
import { createWorld, freshKeys, withStatus } from '../../helpers/vault/vault-world.ts'

const texts = ['{"ip": "203.0.113.7"', '', '日本語', 'half \ud800', '{"ip": "203.0.113.7"']
const wellFormed = [...texts.slice(0, 3), 'half \ufffd', texts[4]]

t.test('texts that are not events are sealed under ids of their own', async t => {
  const { fieldKeys } = createWorld()
  const seal = createSealQuarantined(fieldKeys)
  const bodies = seal(texts)
  t.ok(bodies.every(({ id, dataKeyVersion }) => /^[0-9a-f]{32}$/.test(id) && dataKeyVersion === 1))
  t.equal(new Set(bodies.map(({ id }) => id)).size, texts.length)
  t.notOk(Buffer.from(bodies[0]!.sealed).equals(bodies[4]!.sealed), 'equal texts cannot be told from different ones')
  const { plaintexts, authentic } = fieldKeys.sealer('quarantine', '', 1)!.open(
    packBytes(bodies.map(({ sealed }) => sealed)),
    bodies.map(({ id }) => id),
  )
  t.same([...authentic], [1, 1, 1, 1, 1])
  t.same(unpackText(plaintexts), wellFormed)
  t.same(seal([]), [])
})

t.test('what was sealed is opened in order, and one that does not open leaves its place empty', async t => {
  const { fieldKeys } = createWorld()
  const [first, second, third, ...rest] = createSealQuarantined(fieldKeys)(texts)
  const open = createOpenQuarantined(fieldKeys)
  t.same(open([first!, second!, third!, ...rest]), wellFormed)
  const exchanged = { ...second!, id: first!.id }
  const unknownKey = { ...third!, dataKeyVersion: 2 }
  t.same(open([first!, exchanged, unknownKey, ...rest]), [texts[0], undefined, undefined, ...wellFormed.slice(3)])
  t.same(open([]), [])
})

t.test('nothing is sealed without a primary quarantine key', async t => {
  const keys = withStatus(freshKeys(), key => (key.purpose === 'quarantine' ? 'active' : key.status))
  t.throws(() => createSealQuarantined(new FieldKeys(new Keyset(keys), 'default')), {
    code: 'keyset_incomplete',
    message: 'no primary key for quarantine/',
  })
})
