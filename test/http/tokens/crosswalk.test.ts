import { createHash, createHmac, randomBytes } from 'node:crypto'
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { holdsAny } from '../../helpers/cli/find-plaintext.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'
import { startVaultApi } from '../../helpers/http/vault-api.ts'
import { dumpDatabase } from '../../helpers/postgres/dump-database.ts'

// A command listens for signals until its process ends, and here that is this one.
process.setMaxListeners(50)

const policy = `
version: 1
roles:
  migrator: { crosswalk: ["*"], purposes: [migration], ticket: required }
  small: { crosswalk: [ip], purposes: [migration], batch_limit: 4, budget: { per_minute: 6 } }
  guarded: { crosswalk: [ip], purposes: [migration], approval: { above: 5, window: 1h } }
  auditor: { audit: true }
`
const migrator = { sub: 'mig-1', roles: ['migrator'] }
const request = { purpose: 'migration', ticket: 'MIG-1', field: 'ip', scheme: 'sha256' }
const secretKey = 'canary-hmac-key-7f3a'
const more = {
  ip: ['203.0.113.77', '2001:db8:77::1', '::1'],
  device_id: ['canary-device-é-7f3a', '38400000-8cf0-11bd-b23e-10b96e4ef00d'],
}

/** Ten addresses of the world, and the others. */
async function start(t: Test) {
  const world = await startVaultApi(t, { policy, originals: 10 })
  const admin = await world.vault.connect()
  const tokens = new Map<string, string>([...world.tokens].map((token, n) => [`10.0.0.${n}`, token]))
  const devices = new Map<string, string>([['593-47-1', '']])
  for (const [field, values] of Object.entries(more)) {
    for (const [index, made] of world.vault.tokenizer.tokenizeValues(field, values).entries()) {
      if (!('token' in made)) throw new Error('a test value was refused')
      const { tokenId, tokenKeyVersion, dataKeyVersion, sealed } = made.original
      await admin.query(
        `INSERT INTO pii_vault.originals (token_id, field, token_key_version, data_key_version, sealed)
         VALUES ($1, $2, $3, $4, $5)`,
        [tokenId, field, tokenKeyVersion, dataKeyVersion, Buffer.from(sealed)],
      )
      ;(field === 'ip' ? tokens : devices).set(values[index]!, made.token)
    }
  }
  const [device] = world.vault.tokenizer.tokenizeValues('device_id', ['593-47-1'])
  if (device && 'token' in device) devices.set('593-47-1', device.token)
  const directory = temporaryDirectory(t)
  const jwtFile = join(directory, 'jwt')
  writeFileSync(jwtFile, await signJwt(world.key, { ...migrator }))
  const run = (...args: string[]) =>
    runInProcess([
      ...['crosswalk', '--purpose', 'migration', '--ticket', 'MIG-1', '--url', world.origin, '--jwt-file', jwtFile],
      ...args,
    ])
  return { ...world, admin, tokens, devices, directory, run }
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const hmac = (text: string) => createHmac('sha256', secretKey).update(text).digest('hex')
const md5 = (text: string) => createHash('md5').update(text).digest('hex')

t.test('from hashes to tokens over HTTP and from the shell, and nothing keeps a value or the key', async t => {
  const { call, run, admin, tokens, devices, directory, events, logged } = await start(t)
  const linesOf = (of: ReadonlyMap<string, string>, digest: (text: string) => string) =>
    [...of].map(([value, token]) => `${digest(value)},${token}`).sort()
  const keyFile = join(directory, 'key')
  writeFileSync(keyFile, `${secretKey}\n`, { mode: 0o600 })

  const seen: string[] = []
  for (let before: string | undefined; ; ) {
    const reply = await call(migrator, 'POST', '/v1/crosswalk', { ...request, before, limit: 5 })
    t.equal(reply.status, 200)
    t.equal(reply.headers.get('cache-control'), 'no-store')
    t.match(reply.json, { withheld: { length: 0 }, receipt: { log: String, sequence: Number } })
    seen.push(...reply.json['pairs'].map(({ hash, token }: Record<string, string>) => `${hash},${token}`))
    before = reply.json['next']
    if (before === undefined) break
  }
  t.strictSame(seen.sort(), linesOf(tokens, sha256))

  const printed = await run('--field', 'device_id', '--scheme', `hmac-sha256:${keyFile}`)
  t.match(printed, { code: 0, stderr: '', stdout: /^hash,token\n/ })
  t.strictSame(printed.stdout.trimEnd().split('\n').slice(1).sort(), linesOf(devices, hmac))

  const out = join(directory, 'crosswalk.csv')
  writeFileSync(out, 'of before')
  const written = await run('--field', 'ip', '--scheme', 'md5', '--encoding', 'base64', '--out', out)
  t.strictSame(written, { code: 0, stdout: '', stderr: '' })
  const base64 = linesOf(tokens, value => Buffer.from(md5(value), 'hex').toString('base64'))
  t.strictSame(readFileSync(out, 'utf8').trimEnd().split('\n').slice(1).sort(), base64)
  t.equal(statSync(out).mode & 0o777, 0o600)
  const json = await run('--field', 'ip', '--scheme', 'sha256', '--normalize', 'none', '--json')
  t.match(JSON.parse(json.stdout), { pairs: { length: 13 }, receipt: { sequence: Number } })

  const written4 = (await events()).slice(-4)
  t.match(written4[3], {
    ...{ type: 'crosswalk', subject: 'mig-1', purpose: 'migration', ticket: 'MIG-1', decision: 'permitted' },
    ...{ requested: 13, granted: 13, fields: { ip: { requested: 13, granted: 13, level: 'full' } }, scheme: 'sha256' },
  })
  t.match(written4[1], { scheme: 'hmac-sha256', granted: 3, tokens: { length: 3 } })
  const values = [...tokens.keys(), ...devices.keys()].filter(value => value.length > 4)
  const secrets = [...values, secretKey, Buffer.from(secretKey).toString('base64')]
  t.notOk(holdsAny(Buffer.from(logged()), secrets), 'logs')
  t.notOk(holdsAny(Buffer.from(JSON.stringify(await events())), secrets), 'events')
  t.notOk(holdsAny(Buffer.from(await dumpDatabase(admin)), secrets), 'rows of Postgres')
  const found = await call({ sub: 'otto', roles: ['auditor'] }, 'POST', '/v1/audit/search', {
    ...{ purpose: 'data_subject_request', where: { token: tokens.get('10.0.0.3') } },
  })
  t.match(found.json['events'][0], { type: 'crosswalk', scheme: 'sha256' }, 'who searches for a token finds it')
})

t.test('bad requests, limits, and originals that were altered', async t => {
  const { call, run, admin, tokens, directory, events, logged } = await start(t)
  const wrong: [object, number, string][] = [
    [{ ...request, scheme: 'sha1' }, 400, 'request_invalid'],
    [{ ...request, scheme: 'hmac-sha256' }, 400, 'request_invalid'],
    [{ ...request, hmacKey: 'AAAA' }, 400, 'request_invalid'],
    [{ ...request, scheme: 'hmac-sha256', hmacKey: '' }, 400, 'request_invalid'],
    [{ ...request, scheme: 'hmac-sha256', hmacKey: 'AAB=' }, 400, 'request_invalid'],
    [{ ...request, scheme: 'hmac-sha256', hmacKey: 'canary*base64' }, 400, 'request_invalid'],
    [{ ...request, scheme: 'hmac-sha256', hmacKey: 'A'.repeat(1368) }, 400, 'request_invalid'],
    [{ ...request, normalize: 'upper' }, 400, 'request_invalid'],
    [{ ...request, before: "0'; drop table x" }, 400, 'request_invalid'],
    [{ ...request, before: 'F'.repeat(32) }, 400, 'request_invalid'],
    [{ ...request, limit: 10_001 }, 400, 'request_invalid'],
    [{ ...request, limit: 0 }, 400, 'request_invalid'],
    [{ ...request, field: 'nope' }, 400, 'request_invalid'],
    [{ ...request, field: '__proto__' }, 400, 'request_invalid'],
    [{ ...request, plaintext: true }, 400, 'property_unknown'],
    [{ ...request, ticket: undefined }, 400, 'ticket_required'],
    [{ ...request, purpose: 'curiosity' }, 403, 'purpose_not_permitted'],
  ]
  for (const [body, status, code] of wrong) {
    const reply = await call(migrator, 'POST', '/v1/crosswalk', body)
    t.match({ status: reply.status, ...reply.json }, { status, code }, JSON.stringify(body).slice(0, 120))
    t.notMatch(JSON.stringify(reply.json), /canary|drop table/)
  }
  const nobody = await call({ sub: 'ann', roles: ['auditor'] }, 'POST', '/v1/crosswalk', request)
  t.match(nobody, { status: 403, json: { code: 'role_not_permitted' } })
  const small = { sub: 'sam', roles: ['small'] }
  const other = await call(small, 'POST', '/v1/crosswalk', { ...request, field: 'device_id' })
  t.match(other, { status: 403, json: { code: 'field_not_permitted' } })
  const page = await call(small, 'POST', '/v1/crosswalk', request)
  t.equal(page.json['pairs'].length, 4, 'a page is what the role may have in one call')
  const next = { ...request, before: page.json['next'] }
  t.match((await call(small, 'POST', '/v1/crosswalk', next)).json, { code: 'budget_exceeded', window: 'minute' })
  const guarded = await call({ sub: 'gus', roles: ['guarded'] }, 'POST', '/v1/crosswalk', request)
  t.match(guarded, { status: 403, json: { code: 'approval_required', withoutApproval: { above: 5, left: 5 } } })
  t.notOk('pairs' in guarded.json)
  t.match((await events()).at(-1), { type: 'crosswalk', code: 'approval_required', granted: 0, tokens: { length: 0 } })

  await admin.query(`UPDATE pii_vault.originals SET sealed = set_byte(sealed, 5, get_byte(sealed, 5) # 1)
    WHERE field = 'ip' AND token_id IN (SELECT token_id FROM pii_vault.originals WHERE field = 'ip' LIMIT 2)`)
  const out = join(directory, 'out.csv')
  const told = await run('--field', 'ip', '--scheme', 'sha256', '--out', out)
  t.match(told, {
    code: 1,
    stderr:
      /^tokenvault: 11 pairs, and none for originals that were withheld: 2 original_not_authentic\ntokenvault: original_not_authentic: [^\n]*\n$/,
  })
  t.equal(readFileSync(out, 'utf8').trimEnd().split('\n').length, 12)
  t.match((await events()).at(-1), { requested: tokens.size, granted: 11, withheld: { original_not_authentic: 2 } })
  t.notMatch(logged(), /canary/)
})

t.test('the shell: what it refuses costs one line, and leaves no file', async t => {
  const { run, directory, admin } = await start(t)
  const keyFile = join(directory, 'key')
  const withKey = (bytes: string | Uint8Array, mode = 0o600) => {
    writeFileSync(keyFile, bytes)
    chmodSync(keyFile, mode)
    return run('--field', 'device_id', '--scheme', `hmac-sha256:${keyFile}`)
  }
  const usage = (problem: string) => ({
    code: 2,
    stdout: '',
    stderr: new RegExp(`^tokenvault: usage: ${problem}[^\\n]*\\n$`),
  })
  t.match(await run('--field', 'ip', '--scheme', 'sha1'), usage('--scheme is not'))
  t.match(await run('--field', 'ip', '--scheme', 'hmac-sha256:'), usage('--scheme is not'))
  t.match(
    await run('--field', 'ip', '--scheme', `hmac-sha256:${directory}/nowhere`),
    usage('the file of --scheme does not exist'),
  )
  t.match(
    await run('--field', 'ip', '--scheme', `hmac-sha256:${directory}`),
    usage('the file of --scheme is not a file'),
  )
  t.match(await run('--field', 'ip', '--scheme', 'hmac-sha256:/dev/zero'), usage('the file of --scheme is not a file'))
  t.match(await withKey(''), usage('the file of --scheme holds no key'))
  t.match(await withKey('\n'), usage('the file of --scheme holds no key'))
  t.match(await withKey(randomBytes(1025)), usage('the file of --scheme holds more than 1024 bytes'))
  t.match(await withKey(secretKey, 0o666), usage('the file of --scheme can be changed by others'))
  t.match(await run('--field', 'ip', '--scheme', 'md5', '--out', join(directory, 'no', 'file')), usage('--out names'))

  const expected = `${hmac('593-47-1')},`
  for (const same of [secretKey, `${secretKey}\n`, `${secretKey}\r\n`, Buffer.from(secretKey)])
    t.ok((await withKey(same)).stdout.includes(expected), 'the line break at the end of a text is not of the key')
  const binary = Buffer.concat([Buffer.from([0x80, 1, 2]), Buffer.from('\n')])
  const digest = createHmac('sha256', binary).update('593-47-1').digest('hex')
  t.ok((await withKey(binary)).stdout.includes(digest), 'that of other bytes is')

  const out = join(directory, 'out.csv')
  const forbidden = await run('--field', 'ip', '--scheme', 'md5', '--purpose', 'curiosity', '--out', out)
  t.match(forbidden, { code: 1, stderr: /^tokenvault: api_refused: 403 purpose_not_permitted: [^\n]*\n$/ })
  await admin.query('ALTER TABLE pii_vault.originals RENAME TO elsewhere')
  const failed = await run('--field', 'ip', '--scheme', 'md5', '--out', out)
  t.match(failed, { code: 1, stderr: /^tokenvault: api_refused: 503 [^\n]*\n$/ })
  t.notOk(existsSync(out))
  t.strictSame(readdirSync(directory).sort(), ['jwt', 'key'], 'nor half of one')
})
