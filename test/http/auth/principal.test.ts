import fc from 'fast-check'
import t from 'tap'
import { readClaimRoles, readPrincipal } from '../../../src/http/auth/principal.ts'
import { checkProperty } from '../../helpers/crypto/property.ts'
import { post, startApp } from '../../helpers/http/http-app.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'

const read = (claims: object, ...paths: string[]) => readClaimRoles(claims as Record<string, unknown>, paths)

t.test('roles are found where identity providers put them', async t => {
  t.strictSame(
    read({ realm_access: { roles: ['investigator', 'auditor'] } }, 'realm_access.roles'),
    ['investigator', 'auditor'],
    'Keycloak',
  )
  t.strictSame(
    read({ resource_access: { vault: { roles: ['a'] } } }, 'resource_access.vault.roles'),
    ['a'],
    'a client of Keycloak',
  )
  t.strictSame(read({ 'cognito:groups': ['analyst'] }, 'cognito:groups'), ['analyst'], 'Cognito')
  t.strictSame(
    read({ scope: 'openid  profile tokenvault:read' }, 'scope'),
    ['openid', 'profile', 'tokenvault:read'],
    'OAuth',
  )
  t.strictSame(read({ 'https://example.com/roles': ['a'] }, 'https://example.com/roles'), ['a'], 'a name with dots')
  t.strictSame(
    read({ roles: ['a', 'b', 'a'], scope: 'b c' }, 'roles', 'scope', 'groups'),
    ['a', 'b', 'c'],
    'all add up',
  )
  t.strictSame(read({ sub: 'x' }, 'roles', 'realm_access.roles'), [], 'none')
  t.ok(Object.isFrozen(read({ roles: ['a'] }, 'roles')))
})

t.test('a claim of exactly the name wins over a path', async t => {
  const claims = { 'a.b': ['named'], a: { b: ['nested'] } }
  t.strictSame(read(claims, 'a.b'), ['named'])
  t.strictSame(read({ a: { b: ['nested'] } }, 'a.b'), ['nested'])
  t.equal(read({ ...claims, 'a.b': 7 }, 'a.b'), undefined, 'also where it is wrong')
})

t.test('no path leads anywhere but to own properties of objects', async t => {
  const hostile = JSON.parse('{"__proto__":{"roles":["investigator"]},"list":[["investigator"]],"text":"investigator"}')
  t.strictSame(read(hostile, 'roles'), [])
  for (const path of [
    'constructor.name',
    'toString',
    'list.0',
    'list.length',
    'text.length',
    'text.0',
    'a..b',
    '.',
    '',
  ])
    t.strictSame(read(hostile, path), [], path)
  t.strictSame(read(hostile, '__proto__.roles'), ['investigator'], 'an own property of that name is like any other')
  t.strictSame(read({}, '__proto__.constructor'), [])
})

t.test('roles of a shape that is no list of short text refuse the access token', async t => {
  const wrong = [
    ...[null, 7, true, {}, { a: true }, [7], [null], [['a']], [''], ['a\n'], ['a\u202eb'], ['\ud800']],
    ...[['a'.repeat(65)], Array.from({ length: 33 }, (_, index) => `r${index}`), 'a\tb', 'a\u2028b', 'a '.repeat(2049)],
    Array.from({ length: 33 }, (_, index) => `r${index}`).join(' '),
  ]
  for (const [index, roles] of wrong.entries()) t.equal(read({ roles }, 'roles'), undefined, `wrong ${index}`)
  const many = (prefix: string) => Array.from({ length: 20 }, (_, index) => `${prefix}${index}`)
  t.equal(read({ a: many('x'), b: many('y') }, 'a', 'b'), undefined, 'many of many claims')
  t.strictSame(
    read({ scope: `a ${'b'.repeat(65)} c` }, 'scope'),
    ['a', 'c'],
    'a word of a text too long for a role is none',
  )
  t.strictSame(read({ scope: '' }, 'scope'), [])
})

t.test('whatever the claims, there are few short roles or none', async t => {
  const path = fc.oneof(fc.constantFrom('roles', 'a.b', 'a.b.c', '__proto__', 'constructor.prototype'), fc.string())
  const claims = fc.oneof(fc.object({ key: fc.constantFrom('roles', 'a', 'b', 'c', 'a.b', '__proto__') }), fc.object())
  await checkProperty(
    t,
    'readClaimRoles',
    fc.property(claims, fc.array(path, { maxLength: 4 }), (claims, paths) => {
      const roles = read(claims, ...paths)
      return roles === undefined || (roles.length <= 32 && roles.every(role => role.length > 0 && role.length <= 64))
    }),
    200,
  )
})

t.test('the API asks for the claims of the policy as it is now', async t => {
  let paths = ['realm_access.roles']
  const running = await startApp(t, { jwtChange: { policy: () => ({ rolesClaims: paths }) } })
  const jwt = await signJwt(running.key, { roles: ['auditor'], realm_access: { roles: ['investigator'] } })
  const rolesOf = async () => {
    await post(running, '/v1/detokenize', { purpose: 'fraud', tokens: ['a'] }, { jwt })
    return running.calls.at(-1)!.principal.roles
  }
  t.strictSame(await rolesOf(), ['investigator'])
  paths = ['roles']
  t.strictSame(await rolesOf(), ['auditor'])
})

t.test('what was verified before still runs out', t => {
  const claims = { iss: 'i', aud: 'a', sub: 's', iat: 1_000_000, nbf: 1_000_000, exp: 1_003_600 }
  t.equal(readPrincipal(claims, 3600, 1_000_000).subject, 's')
  t.equal(readPrincipal(claims, 3600, 1_003_629).subject, 's', 'within the tolerance')
  t.throws(() => readPrincipal(claims, 3600, 1_003_630), { code: 'unauthenticated' })
  t.throws(() => readPrincipal(claims, 3600, 999_969), { code: 'unauthenticated' })
  t.end()
})
