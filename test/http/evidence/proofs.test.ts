import { randomInt } from 'node:crypto'
import t from 'tap'
import { createChoices } from '../../helpers/evidence/audit-mutations.ts'
import { leafOf, openCheckpoint, rootOfInclusion, rootsOfConsistency } from '../../helpers/evidence/outsider.ts'
import { startEvidenceApp } from '../../helpers/http/evidence-app.ts'

const fromBase64 = (hashes: readonly string[]) => hashes.map(hash => Buffer.from(hash, 'base64'))
const sizes = [1, 2, 3, 8, 100, 255, 256, 257, 511, 512, 777, 1025]

t.test('an outsider checks inclusion and consistency with nothing but the verifier key', async t => {
  const { append, call, startMaker, signer, kept, published, reader } = await startEvidenceApp(t)
  const make = startMaker()
  for (const [index, size] of sizes.entries()) {
    await append(size - (sizes[index - 1] ?? 0))
    await make()
  }
  const notes = await kept()
  t.strictSame([...notes.keys()], sizes)
  const files = published()
  const seed = Number(process.env['FC_SEED'] ?? randomInt(2 ** 31))
  t.comment(`FC_SEED=${seed}`)
  const { below } = createChoices(seed)

  const pairs = sizes.flatMap(size => {
    const borders = [0, size - 1, Math.floor(size / 2), 255, 256].filter(sequence => sequence < size)
    return [...new Set([...borders, below(size), below(size)])].map(sequence => ({ sequence, size }))
  })
  let checked = 0
  for (const { sequence, size } of pairs) {
    const { status, json } = await call(`/${sequence}/proof?size=${size}`)
    const checkpoint = openCheckpoint(json.checkpoint, signer.verifierKey)
    const leaf = leafOf(json.event)
    const root = rootOfInclusion(sequence, size, leaf, fromBase64(json.path))
    if (
      status === 200 &&
      json.sequence === sequence &&
      checkpoint.size === size &&
      json.checkpoint === files.get(size) &&
      json.leafHash === leaf.toString('base64') &&
      root.equals(checkpoint.root)
    )
      checked++
    else t.fail(`event ${sequence} in ${size}`)
  }
  t.equal(checked, pairs.length, `${checked} inclusion proofs`)

  let grown = 0
  const growths = sizes.flatMap((from, index) => sizes.slice(index).map(to => ({ from, to })))
  for (const { from, to } of growths) {
    const { json } = await call(`/consistency?from=${from}&to=${to}`)
    const first = openCheckpoint(json.from, signer.verifierKey)
    const second = openCheckpoint(json.to, signer.verifierKey)
    const [older, newer] = rootsOfConsistency(from, to, first.root, fromBase64(json.path))
    if (first.size === from && second.size === to && older.equals(first.root) && newer.equals(second.root)) grown++
    else t.fail(`from ${from} to ${to}`)
  }
  t.equal(grown, growths.length, `${grown} consistency proofs`)

  // Each call was an event; what it asks for without a size is the newest.
  const { treeSize } = await reader.readHead()
  t.equal(treeSize, 1025 + pairs.length + growths.length)
  const newest = await make()
  const shown = (await call('/checkpoint')).json
  t.strictSame(shown, {
    origin: signer.name,
    treeSize,
    note: newest!.note,
    verifierKey: signer.verifierKey,
    handOvers: [],
  })
  t.equal((await call(`/${treeSize - 1}/proof`)).json.checkpoint, newest!.note)
  t.equal((await call('/consistency?from=777')).json.to, newest!.note)
})

t.test('a receipt’s event can be proved from the next checkpoint on', async t => {
  const { call, reveal, startMaker, events } = await startEvidenceApp(t)
  const make = startMaker()
  t.match(await call('/checkpoint'), { status: 404, json: { code: 'audit_event_unknown' } }, 'an empty log')
  await make()
  const sequence = await reveal(['ip_v1_8mJXb0vZ2m1n0kq3TnXo1Q'])
  t.match(await call(`/${sequence}/proof`), { status: 404, json: { code: 'audit_event_unknown' } })
  t.match((await events()).at(-1), {
    type: 'audit_prove',
    decision: 'permitted',
    requested: 1,
    withheld: { audit_event_unknown: 1 },
  })
  await make()
  const { status, json } = await call(`/${sequence}/proof`)
  t.equal(status, 200)
  t.match(JSON.parse(json.event), { type: 'detokenize', subject: 'inv-1', granted: 1 })
  t.match((await events()).at(-1), { type: 'audit_prove', subject: 'casey', purpose: '', withheld: {} })
})

t.test('of a log that was altered nothing is proved', async t => {
  const { append, call, startMaker, tamper, app } = await startEvidenceApp(t)
  const make = startMaker()
  await append(300)
  await make()
  await append(10)
  await make()
  await tamper(`UPDATE pii_vault.audit_log SET event = 'canary' WHERE sequence = 7;
    UPDATE pii_vault.audit_subtrees SET root = sha256('x')`)
  for (const path of ['/7/proof', '/290/proof', '/consistency?from=300&to=310']) {
    const { status, text } = await call(path)
    t.equal(status, 500, path)
    t.notMatch(text, /canary|audit_invalid/)
  }
  t.match(app.logged(), /"code":"audit_invalid"/, 'the operator learns what happened')
  await tamper(`UPDATE pii_vault.checkpoints SET note = 'canary'`)
  t.equal((await call('/1/proof?size=310')).status, 500)
  for (const path of ['/1/proof', '/checkpoint'])
    t.match(await call(path), { status: 404, json: { code: 'audit_event_unknown' } }, 'no note is ours any more')
})

t.test('sizes and sequences of any kind are refused or unknown, and never a fault of ours', async t => {
  const { append, call, startMaker } = await startEvidenceApp(t)
  await append(5)
  await startMaker()()
  const wrong = [
    '1e99',
    '-1',
    '01',
    '1.5',
    '0x1',
    '+1',
    ' 1',
    'NaN',
    'Infinity',
    '__proto__',
    '99999999999999999',
    '1%00',
    '%F0',
    '५',
    '1n',
  ]
  for (const text of wrong) {
    t.match(
      await call(`/${text}/proof`),
      { status: /^40[04]$/, json: { code: /^(request_(invalid|malformed)|route_not_found)$/ } },
      text,
    )
    for (const query of [`/1/proof?size=${text}`, `/consistency?from=${text}`, `/consistency?from=1&to=${text}`])
      t.match(await call(query), { status: 400, json: { code: 'request_invalid' } }, query)
  }
  for (const query of [
    '/consistency',
    '/consistency?to=5',
    '/1/proof?size=1&size=5',
    '/1/proof?size=',
    '/consistency?from[]=1',
  ])
    t.match(await call(query), { status: 400, json: { code: /^(request_invalid|property_unknown)$/ } }, query)
  t.match(await call('/1/proof?sizes=5'), { status: 400, json: { code: 'property_unknown' } })
  for (const query of [
    '/5/proof',
    '/4/proof?size=0',
    '/4/proof?size=4',
    '/9007199254740991/proof',
    '/9007199254740993/proof',
    '/9999999999999999/proof?size=5',
    '/1/proof?size=9999999999999999',
    '/consistency?from=0',
    '/consistency?from=4',
    '/consistency?from=5&to=6',
    '/consistency?from=9007199254740993',
  ])
    t.match(await call(query), { status: 404, json: { code: 'audit_event_unknown' } }, query)
})
