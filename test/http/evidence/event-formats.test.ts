import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { leafOf, openCheckpoint, rootOfInclusion } from '../../helpers/evidence/outsider.ts'
import { readGolden } from '../../helpers/golden/golden.ts'
import { startEvidenceApp } from '../../helpers/http/evidence-app.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'

const purpose = 'data_subject_request'
const token = 'ip_v1_8mJXb0vZ2m1n0kq3TnXo1Q'

/** A log whose first events an earlier version wrote, and whose others are of today; all but one name the token. */
async function startMixedLog() {
  const evidence = await startEvidenceApp(t)
  const { admin, app, call, directory, keys, reveal, signer, startMaker } = evidence
  const [first] = readGolden<{ events: string[] }>('tree').events
  const named = { ...JSON.parse(first!), granted: 1, tokens: keys.digest.digest([token]), withheld: {} }
  const old = [first!, JSON.stringify(named)].map(event => Buffer.from(event))
  const make = startMaker()
  await admin.query('SELECT pii_vault.append_audit($1)', [old])
  await make()
  await reveal([token])
  const jwtFile = join(t.testdir({}), 'jwt')
  const claims = { sub: 'alex', azp: 'desk', act: { sub: 'desk-backend' }, jti: 'jwt-1', roles: ['auditor'] }
  writeFileSync(jwtFile, await signJwt(app.key, claims))
  const search = ['audit', 'search', '--token', token, '--purpose', purpose, '--url', app.origin, '--jwt-file', jwtFile]
  const found = [await runInProcess(search), await runInProcess(search)]
  await make()
  const run = (...args: string[]) => {
    return runInProcess(['audit', ...args, '--key', signer.verifierKey], {
      DATABASE_URL: evidence.urlFor('tokenvault_auditor'),
    })
  }
  return { call, directory, found, run, verifierKey: signer.verifierKey }
}

t.test('a log that an earlier version began is verified, searched and proven as one', async t => {
  const { call, directory, found, run, verifierKey } = await startMixedLog()
  const [before, after] = found.map(({ stdout }) => stdout.split('\n').map(line => line.split(/ {2,}/)))
  const columns = ['sequence', 'at', 'subject', 'type', 'purpose', 'decision', 'requested', 'granted']
  t.strictSame(before![0], columns)
  t.match(
    before!.slice(2, 4).map(([sequence, , subject]) => [sequence, subject]),
    [
      ['2', 'inv-1'],
      ['1', 'casey'],
    ],
    'events of both formats',
  )
  t.strictSame(after![0], columns.toSpliced(3, 0, 'client', 'actor'), 'two columns more, once an event has them')
  t.match(after![2], ['3', /./, 'alex', 'desk', 'desk-backend', 'audit_search'])

  const { json } = await call('/search', { body: { purpose, where: { token } } })
  t.match(
    json.events.map(({ sequence, format }: { sequence: number; format?: number }) => [sequence, format ?? 1]),
    [
      [4, 2],
      [3, 2],
      [2, 2],
      [1, 1],
    ],
  )
  const [second, , , old] = json.events
  t.match(second, { client: 'desk', actor: { subject: 'desk-backend' }, jwt: json.events[1].jwt, channel: 'http' })
  for (const name of ['format', 'client', 'actor', 'jwt', 'channel', 'fields', 'mode']) t.notOk(name in old, name)

  t.match(await run('verify', '--checkpoint', directory), { code: 0, stdout: /\nevents +6\n[\s\S]*\nintact\n$/ })
  const file = join(t.testdir({}), 'proof.json')
  for (const sequence of [0, 1, 2, 4]) {
    const proof = JSON.parse((await run('prove', String(sequence))).stdout)
    writeFileSync(file, JSON.stringify(proof))
    t.match(await run('check', file), { code: 0, stdout: /^proven: / })
    const { size, root } = openCheckpoint(proof.checkpoint, verifierKey)
    const path = proof.path.map((hash: string) => Buffer.from(hash, 'base64'))
    t.strictSame(rootOfInclusion(sequence, size, leafOf(proof.event), path), root, `an outsider checks ${sequence}`)
    t.equal(JSON.parse(proof.event).format, sequence < 2 ? undefined : 2)
  }
  const grown = JSON.parse((await run('prove', '--from', '2')).stdout)
  writeFileSync(file, JSON.stringify(grown))
  t.match(await run('check', file), { code: 0, stdout: /with 5 events has grown out of .* with 2 events/ })
})
