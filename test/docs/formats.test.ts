import { createSecretKey, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { encodeBinding } from '../../src/crypto/associated-data.ts'
import { nameToken } from '../../src/crypto/typed-token.ts'
import { createFirstIdentitySeal } from '../../src/ingest/first-identity.ts'
import { openLocalKek } from '../../src/kms/local.ts'
import { openCheckpoint, signCheckpoint } from '../../src/tlog/checkpoint.ts'
import { foldRoots, leafHash } from '../../src/tlog/merkle.ts'
import { openReceipt, signReceipt } from '../../src/tlog/receipt.ts'
import { createNoteVerifier } from '../../src/tlog/signed-note.ts'
import { describeEvents } from '../../src/vault/admission/audit-event.ts'
import { createFieldSchema, loginFields } from '../../src/vault/fields/fields.ts'
import { FieldKeys } from '../../src/vault/keys/field-keys.ts'
import { type KeyPurpose, Keyset } from '../../src/vault/keys/keyset.ts'
import { createMissingKeys } from '../../src/vault/keys/wrapped-keys.ts'
import { createOpenQuarantined, createSealQuarantined } from '../../src/vault/quarantine/sealed-bodies.ts'
import type { TokenizedValue } from '../../src/vault/tokens/ports.ts'
import { createTokenizer } from '../../src/vault/tokens/tokenizer.ts'
import * as reader from '../helpers/docs/format-reader.ts'
import { investigator, MapKeys, worldPolicy } from '../helpers/vault/vault-world.ts'

const page = readFileSync(new URL('../../docs/formats.md', import.meta.url), 'utf8')

/** The worked examples of the page: by name, their lines `name = value`. */
const examples = new Map(
  [...page.matchAll(/```example (\S+)\n([\s\S]*?)```/g)].map(([, name, text]) => {
    const lines = text!.trimEnd().split('\n')
    return [name!, new Map(lines.map(line => line.split(/ = (.*)/s).slice(0, 2) as [string, string]))]
  }),
)
const read = new Set<string>()

function line(example: string, name: string): string {
  const value = examples.get(example)?.get(name)
  if (value === undefined) throw new Error(`docs/formats.md has no ${name} in its example ${example}`)
  read.add(`${example}: ${name}`)
  return value
}

const bytes = (example: string, name: string) => Buffer.from(line(example, name), 'hex')

const hex = (value: Uint8Array) => Buffer.from(value).toString('hex')

const tenant = 'default'
const keys = {
  token: bytes('keys', 'token key of ip, version 1'),
  data: bytes('keys', 'data key of ip, version 1'),
  quarantine: bytes('keys', 'quarantine key, version 1'),
  audit: bytes('keys', 'audit key, version 1'),
  signing: bytes('keys', 'signing key, version 1'),
}
const kekBytes = bytes('keys', 'kek')

/** The product, with the keys of the page. */
const fieldKeys = (() => {
  const key = (purpose: KeyPurpose, field: string) => {
    return { purpose, field, version: 1, status: 'primary', material: createSecretKey(keys[purpose]) } as const
  }
  const all = (['quarantine', 'audit', 'signing'] as const).map(purpose => key(purpose, ''))
  return new FieldKeys(new Keyset([key('token', 'ip'), key('data', 'ip'), ...all]), tenant)
})()
const ipOnly = new Map([...loginFields].filter(([name]) => name === 'ip'))

function openKek(t: Test, kek: Uint8Array) {
  const file = join(t.testdir({}), 'kek')
  writeFileSync(file, kek, { mode: 0o600 })
  return openLocalKek(file)
}

t.test('the reader was written from the page alone', async t => {
  const source = readFileSync(new URL('../helpers/docs/format-reader.ts', import.meta.url), 'utf8')
  t.same(
    [...source.matchAll(/from '([^']+)'/g)].map(([, module]) => module),
    ['node:crypto'],
  )
})

t.test('examples: keys and bindings', async t => {
  const name = line('wrapped-key', 'name')
  const wrapped = bytes('wrapped-key', 'wrapped')
  const associatedData = bytes('wrapped-key', 'associated data')
  t.same(reader.wrapAssociatedData(tenant, name), associatedData)
  t.same(reader.unwrapKey(kekBytes, wrapped, tenant, name), keys.token)
  t.throws(() => reader.unwrapKey(kekBytes, wrapped, tenant, 'token/ip/v2'))
  const kek = openKek(t, kekBytes)
  t.same(await kek.unwrap(wrapped, associatedData), keys.token)
  t.equal(kek.id, line('wrapped-key', 'kek_id'))
  t.equal(reader.kekIdOf(kekBytes), kek.id)

  const [label, field] = [line('binding', 'label'), line('binding', 'field')]
  const keyVersion = Number(line('binding', 'key version'))
  t.same(reader.bindingOf(label, tenant, field, keyVersion), bytes('binding', 'binding'))
  t.equal(hex(encodeBinding({ label, tenant, field, keyVersion })), line('binding', 'binding'))
})

t.test('examples: a token and its original', async t => {
  const [value, token] = [line('token', 'value'), line('token', 'token')]
  const ciphertext = bytes('token', 'ciphertext')
  t.same(reader.makeToken(keys.token, tenant, 'ip', 1, value), { token, id: bytes('token', 'token id'), ciphertext })
  t.match(reader.takeTokenApart(token), { field: 'ip', keyVersion: 1, id: bytes('token', 'token id') })
  const id = bytes('original', 'token id')
  const versions = { tokenKeyVersion: 1, dataKeyVersion: 1 }
  const opened = reader.openOriginal({ ...keys, ...versions }, { tenant, field: 'ip', id }, bytes('original', 'sealed'))
  t.same(opened, { ciphertext: bytes('original', 'ciphertext'), value: line('original', 'value') })

  const [made] = createTokenizer(fieldKeys, ipOnly).tokenizeValues('ip', [value]) as TokenizedValue[]
  t.equal(made?.token, token)
  t.equal(made?.original.tokenId, line('token', 'token id'))
  t.equal(hex(made!.original.sealed), line('original', 'sealed'))
})

t.test('examples: typed tokens and their originals', async t => {
  const versions = { tokenKeyVersion: 1, dataKeyVersion: 1 }
  for (const format of ['uuid', 'inet'] as const) {
    const [value, token, digest] = [line(format, 'value'), line(format, 'token'), line(format, 'digest')]
    const rest = Number(line(format, 'siv_rest'))
    const whole = reader.makeToken(keys.token, tenant, 'ip', 1, value)
    const { id, ...typed } = reader.typedOf(format, whole.id)
    t.same(typed, { rest, token })
    t.same(reader.sivOfTyped(format, id, rest), whole.id)
    const sealed = bytes(format, 'sealed')
    const opened = reader.openOriginal({ ...keys, ...versions }, { tenant, field: 'ip', id, siv: whole.id }, sealed)
    t.same(opened, { ciphertext: whole.ciphertext, value })
    t.throws(
      () => reader.openOriginal({ ...keys, ...versions }, { tenant, field: 'ip', id }, sealed),
      'without the rest',
    )
    t.equal(reader.digestOf(keys.audit, `ip ${token}`), digest)

    const fields = createFieldSchema([{ name: 'ip', rule: 'ip.v1', column: 'masked_ip', format }])
    const [made] = createTokenizer(fieldKeys, fields).tokenizeValues('ip', [value]) as TokenizedValue[]
    const original = { tokenId: hex(id), field: 'ip', ...versions, sealed, sivRest: rest }
    t.same({ ...made!.original, sealed: Buffer.from(made!.original.sealed) }, original)
    t.equal(made!.token, token)
    t.same(fieldKeys.digest.digest([nameToken(fields.get('ip')!, token)]), [digest])
  }
})

t.test('examples: a quarantined body, a first identity, the digests of a token and of the id of a JWT', async t => {
  const [id, text] = [line('quarantine', 'id'), line('quarantine', 'text')]
  const sealed = bytes('quarantine', 'sealed')
  const place = { label: 'tokenvault/quarantine/v1', tenant, field: '', keyVersion: 1, id: Buffer.from(id, 'hex') }
  t.equal(reader.openSealed(keys.quarantine, place, sealed), text)
  t.same(createOpenQuarantined(fieldKeys)([{ id, dataKeyVersion: 1, sealed }]), [text])

  const [body, mark] = [line('first-identity', 'body'), line('first-identity', 'mark')]
  const identity = line('first-identity', 'identity')
  t.equal(reader.openMark(keys.quarantine, tenant, mark, body), identity)
  t.throws(() => reader.openMark(keys.quarantine, tenant, mark, `${body} `))
  const [sentAtMs, messageId] = identity.split(' ') as [string, string]
  t.equal(createFirstIdentitySeal(fieldKeys).seal({ messageId, sentAtMs: Number(sentAtMs) }, body), mark)

  const token = line('digest', 'token')
  t.equal(reader.digestOf(keys.audit, token), line('digest', 'digest'))
  t.same(fieldKeys.digest.digest([token]), [line('digest', 'digest')])

  const jti = line('jwt', 'jti')
  t.equal(reader.jwtDigestOf(keys.audit, jti), line('jwt', 'digest'))
  const principal = { ...investigator, jwtId: jti }
  const context = { at: new Date(), keys: fieldKeys, policy: worldPolicy }
  const { admitted } = describeEvents({ operation: 'audit_prove', principal, requestId: 'r' }, {}, context)
  t.equal(admitted.jwt, line('jwt', 'digest'))
})

t.test('examples: events, a checkpoint and a receipt', async t => {
  const events = [line('tree', 'event 0'), line('tree', 'event 1')]
  const leaves = [bytes('tree', 'leaf hash 0'), bytes('tree', 'leaf hash 1')] as const
  const root = bytes('tree', 'root')
  t.same(events.map(reader.leafHash), leaves)
  t.same(
    events.map(event => leafHash(Buffer.from(event))),
    leaves,
  )
  t.same(reader.node(...leaves), root)
  t.same(foldRoots(leaves), root)

  const verifierKey = line('checkpoint', 'verifier key')
  const text = line('checkpoint', 'text').replaceAll('\\n', '\n')
  const signature = line('checkpoint', 'signature')
  t.ok(reader.isSigned(verifierKey, text, signature))
  t.notOk(reader.isSigned(verifierKey, text.replace('2', '3'), signature))
  const signer = fieldKeys.signer('tokenvault/default')
  const verifier = createNoteVerifier(verifierKey)
  t.equal(signer.verifierKey, verifierKey)
  t.equal(signCheckpoint(signer, { treeSize: 2, root }), `${text}\n— tokenvault/default ${signature}\n`)
  t.match(openCheckpoint(`${text}\n— tokenvault/default ${signature}\n`, verifier), { treeSize: 2, root })

  const receipt = JSON.parse(line('receipt', 'receipt'))
  t.ok(reader.isSigned(verifierKey, reader.receiptText(receipt), receipt.signature))
  t.same(signReceipt(signer, { sequence: 1, leafHash: leaves[1] }), receipt)
  t.match(openReceipt(receipt, verifier), { sequence: 1, leafHash: leaves[1] })
})

t.test('every line of every example was checked', async t => {
  const all = [...examples].flatMap(([name, lines]) => [...lines.keys()].map(each => `${name}: ${each}`))
  t.same(all.toSorted(), [...read].toSorted())
})

t.test('the reader opens what a fresh vault makes, from the KEK on', async t => {
  const kek = randomBytes(32)
  const store = new MapKeys()
  const { keyset } = await createMissingKeys(store, openKek(t, kek), { tenant: 'acme/€', fields: loginFields })
  const product = new FieldKeys(keyset, 'acme/€')
  const unwrap = (name: string) => {
    const stored = [...store.stored.values()].find(key => `${key.purpose}/${key.field}/v${key.version}` === name)!
    t.equal(stored.kekId, reader.kekIdOf(kek))
    return reader.unwrapKey(kek, stored.wrapped, 'acme/€', name)
  }
  const values = ['x', 'Gerät-日本語', '0123456789abcdef', '0123456789abcdef0', 'y'.repeat(140), 'z'.repeat(32)]
  const made = createTokenizer(product, loginFields).tokenizeValues('device_id', values) as TokenizedValue[]
  for (const [index, { token, original }] of made.entries()) {
    const { field, keyVersion, id } = reader.takeTokenApart(token)
    t.equal(hex(id), original.tokenId)
    const { tokenKeyVersion, dataKeyVersion } = original
    const keys = {
      token: unwrap(`token/${field}/v${keyVersion}`),
      tokenKeyVersion,
      data: unwrap(`data/${field}/v${dataKeyVersion}`),
      dataKeyVersion,
    }
    const { value } = reader.openOriginal(keys, { tenant: 'acme/€', field, id }, original.sealed)
    t.equal(value, values[index])
    t.match(reader.makeToken(keys.token, 'acme/€', field, keyVersion, value), { token, id })
    t.same(product.digest.digest([token]), [reader.digestOf(unwrap('audit//v1'), token)])
    const other = Buffer.from(id.map(byte => byte ^ 1))
    t.throws(() => reader.openOriginal(keys, { tenant: 'acme/€', field, id: other }, original.sealed))
  }
  const [body] = createSealQuarantined(product)(['not an event'])
  const place = { label: 'tokenvault/quarantine/v1', tenant: 'acme/€', field: '', keyVersion: body!.dataKeyVersion }
  const id = Buffer.from(body!.id, 'hex')
  t.equal(reader.openSealed(unwrap('quarantine//v1'), { ...place, id }, body!.sealed), 'not an event')
})
