import fc from 'fast-check'
import t from 'tap'
import { type ClaimRules, readClaimRoles, readPrincipal } from '../../../src/http/auth/principal.ts'
import { checkProperty } from '../../helpers/crypto/property.ts'
import { acceptedJwts, post, startApp } from '../../helpers/http/http-app.ts'
import { acceptedClaims, audience, issuer, nowSeconds, signJwt } from '../../helpers/http/jwks-server.ts'

const everyRole = { has: () => true }
const read = (claims: object, ...rolesClaims: string[]) =>
  readClaimRoles(claims as Record<string, unknown>, { rolesClaims, roles: everyRole })
/** The one role that opens originals, if the claims give it. */
const grants = (claims: object, ...rolesClaims: string[]) =>
  readClaimRoles(claims as Record<string, unknown>, { rolesClaims, roles: new Set(['investigator']) })

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
  const zitadel = 'urn:zitadel:iam:org:project:roles'
  const granted = { investigator: { 201982826478953724: 'example.com' }, auditor: { 1: 'a.test', 2: 'b.test' } }
  t.strictSame(read({ [zitadel]: granted }, zitadel), ['investigator', 'auditor'], 'Zitadel')
  t.strictSame(grants({ scope: 'openid  profile investigator' }, 'scope'), ['investigator'], 'OAuth')
  t.strictSame(grants({ scp: 'User.Read investigator' }, 'scp'), ['investigator'], 'Entra')
  t.strictSame(grants({ scope: ['openid', 'investigator'] }, 'scope'), ['investigator'], 'IdentityServer')
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
  t.strictSame(read({ ...claims, 'a.b': 7 }, 'a.b'), [], 'also where it is wrong')
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

t.test('a claim that only speaks of a role does not give it', async t => {
  const texts = ['no longer investigator', 'investigator auditor', ' investigator', 'Investigator', 'investigator,x']
  for (const text of texts) {
    t.strictSame(grants({ roles: text }, 'roles'), [], `text ${text}`)
    t.strictSame(grants({ realm: { scope: text } }, 'realm.scope'), [], `nested ${text}`)
    t.strictSame(grants({ scope: [text] }, 'scope'), [], `in a list ${text}`)
    t.strictSame(grants({ scope: { [text]: { 1: 'a' } } }, 'scope'), [], `as a name ${text}`)
  }
  t.strictSame(grants({ roles: 'investigator' }, 'roles'), ['investigator'], 'a text is one role')
  for (const value of [
    false,
    true,
    null,
    0,
    1,
    '',
    'no',
    [],
    ['a'],
    {},
    { until: 0 },
    { a: 'b', c: null },
    { roles: ['a'] },
  ])
    t.strictSame(grants({ roles: { investigator: value } }, 'roles'), [], `an object with ${JSON.stringify(value)}`)
  for (const value of [[['investigator']], [{ name: 'investigator' }], [{ investigator: { 1: 'a' } }]])
    t.strictSame(grants({ roles: value }, 'roles'), [], JSON.stringify(value))
})

t.test('what the policy does not know is passed over, whatever it is and however much', async t => {
  const groups = Array.from({ length: 150 }, (_, index) => `group-${index}`)
  const foreign = [null, 7, true, '', 'r'.repeat(5000), 'a\nb', '\u202e', '\ud800', {}, [], ...groups, '__proto__']
  t.strictSame(grants({ roles: foreign }, 'roles'), [])
  t.strictSame(grants({ roles: [...foreign, 'investigator', 'investigator'] }, 'roles'), ['investigator'])
  for (const roles of foreign)
    t.strictSame(grants({ roles }, 'roles'), [], `alone: ${JSON.stringify(roles).slice(0, 40)}`)
  t.strictSame(grants({ roles: null, groups: ['investigator'] }, 'roles', 'groups'), ['investigator'], 'beside null')
})

t.test('whatever the claims, only roles that the policy knows come out', async t => {
  const path = fc.oneof(fc.constantFrom('roles', 'a.b', 'a.b.c', '__proto__', 'constructor.prototype'), fc.string())
  const key = fc.constantFrom('roles', 'a', 'b', 'c', 'a.b', '__proto__', 'investigator')
  const claims = fc.oneof(fc.object({ key }), fc.object())
  await checkProperty(
    t,
    'readClaimRoles',
    fc.property(claims, fc.array(path, { maxLength: 4 }), (claims, paths) => {
      const roles = grants(claims, ...paths)
      return roles.length === 0 || (roles.length === 1 && roles[0] === 'investigator')
    }),
    200,
  )
})

t.test('the API asks for claims and roles of the policy as it is now', async t => {
  let policy = { rolesClaims: ['realm_access.roles'], roles: new Set(['investigator']) }
  const running = await startApp(t, { jwtChange: { policy: () => policy } })
  const roles = ['auditor', ...Array.from({ length: 150 }, (_, index) => `group-${index}`)]
  const jwt = await signJwt(running.key, { roles, realm_access: { roles: ['offline_access', 'investigator'] } })
  const rolesOf = async () => {
    await post(running, '/v1/detokenize', { purpose: 'fraud', tokens: ['a'] }, { jwt })
    return running.calls.at(-1)!.principal.roles
  }
  t.strictSame(await rolesOf(), ['investigator'])
  policy = { rolesClaims: ['roles'], roles: new Set(['auditor']) }
  t.strictSame(await rolesOf(), ['auditor'])
  policy = { rolesClaims: ['roles'], roles: new Set(['investigator']) }
  t.strictSame(await rolesOf(), [])
})

const readAt = (claims: object, now: number, change: Partial<ClaimRules> = {}) =>
  readPrincipal(claims as Record<string, unknown>, { ...acceptedJwts, ...change }, now, acceptedJwts.policy())

t.test('what was verified before still runs out, by the tolerance that is configured', t => {
  const claims = { iss: issuer, aud: audience, sub: 's', iat: 1_000_000, nbf: 1_000_000, exp: 1_003_600 }
  t.equal(readAt(claims, 1_000_000).subject, 's')
  for (const tolerance of [0, 30, 300]) {
    const at = (now: number) => () => readAt(claims, now, { clockToleranceSeconds: tolerance })
    t.doesNotThrow(at(1_003_599.9 + tolerance), `${tolerance} s: just before its end`)
    t.throws(at(1_003_600 + tolerance), { message: 'expired', place: { claim: 'exp' } })
    t.doesNotThrow(at(1_000_000 - tolerance), `${tolerance} s: at its beginning`)
    t.throws(at(999_999.9 - tolerance), { message: 'in_future', place: { claim: 'nbf' } })
  }
  t.throws(() => readAt({ ...claims, nbf: undefined }, 999_969), { message: 'in_future', place: { claim: 'iat' } })
  t.end()
})

t.test('times may have fractions', t => {
  const claims = { iss: issuer, aud: audience, sub: 's', iat: 1_000_000.25, nbf: 1_000_000.25, exp: 1_003_600.25 }
  t.equal(readAt(claims, 1_000_001).subject, 's')
  const lifetime = { message: 'lifetime_over_JWT_MAX_LIFETIME_SECONDS', place: { claim: 'exp' } }
  t.throws(() => readAt({ ...claims, exp: 1_003_600.5 }, 1_000_001), lifetime)
  t.throws(() => readAt({ ...claims, exp: 1_086_400.25 }, 1_000_001), lifetime, 'a day, as Auth0 issues them')
  t.equal(readAt({ ...claims, exp: 1_086_400.25 }, 1_000_001, { maxLifetimeSeconds: 86_400 }).subject, 's')
  t.end()
})

t.test('one of several audiences is enough', t => {
  const rules = { audiences: ['tokenvault', 'api://vault'] }
  for (const aud of ['tokenvault', 'api://vault', ['other', 'api://vault']])
    t.equal(readAt(acceptedClaims({ aud }), nowSeconds(), rules).subject, 'casey', JSON.stringify(aud))
  for (const aud of ['tokenvault,api://vault', 'other', ['other'], []])
    t.throws(() => readAt(acceptedClaims({ aud }), nowSeconds(), rules), {
      message: 'mismatch',
      place: { claim: 'aud' },
    })
  t.end()
})

t.test('an access token of Cognito has client_id for aud, where that is configured', t => {
  const rules = { clientIds: ['client-1', 'client-2'] }
  const ask = (change: object, configured: Partial<ClaimRules> = rules) =>
    readAt(
      acceptedClaims({ aud: undefined, token_use: 'access', client_id: 'client-2', ...change }),
      nowSeconds(),
      configured,
    )
  t.equal(ask({}).subject, 'casey')
  t.throws(() => ask({}, {}), { message: 'missing', place: { claim: 'aud' } }, 'not configured')
  const refused = [
    [{ client_id: 'other' }, 'client_id', 'mismatch'],
    [{ client_id: undefined }, 'client_id', 'missing'],
    [{ client_id: ['client-1'] }, 'client_id', 'malformed'],
    [{ token_use: 'id' }, 'token_use', 'mismatch'],
    [{ token_use: undefined }, 'token_use', 'missing'],
    [{ aud: 'other' }, 'aud', 'mismatch'],
    [{ aud: null }, 'aud', 'malformed'],
    [{ aud: [] }, 'aud', 'mismatch'],
    [{ aud: 'client-1' }, 'aud', 'mismatch'],
  ] as const
  for (const [change, claim, message] of refused)
    t.throws(() => ask(change), { message, place: { claim } }, JSON.stringify(change))
  t.end()
})

t.test('subjects that people read alike are one', t => {
  const subjectOf = (sub: string, subjectCase: ClaimRules['subjectCase'] = 'exact') =>
    readAt(acceptedClaims({ sub }), nowSeconds(), { subjectCase }).subject
  const alike = [' Zoë Ünal', 'Zoë Ünal  ', 'Zoë\u00a0Ünal', 'Zoë  Ünal', '\u3000Zoë\u2003Ünal', 'Zoe\u0308 U\u0308nal']
  for (const sub of alike) t.equal(subjectOf(sub), 'Zoë Ünal', JSON.stringify(sub))
  for (const sub of ['Casey', 'CASEY', 'casey\u00a0', 'Ca\u017fey']) t.equal(subjectOf(sub, 'ignore'), 'casey', sub)
  for (const sub of ['Weiß', 'weiss', 'WEISS', 'WEI\u1e9e']) t.equal(subjectOf(sub, 'ignore'), 'weiss', sub)
  t.equal(subjectOf('Casey'), 'Casey', 'case counts unless it is configured otherwise')
  for (const hidden of [
    '\u034f',
    '\u115f',
    '\u17b4',
    '\u180b',
    '\u200b',
    '\u2060',
    '\u3164',
    '\ufe0f',
    '\uffa0',
    '\u{e0041}',
    '\u{e0100}',
  ])
    t.throws(() => subjectOf(`casey${hidden}`), { message: 'malformed', place: { claim: 'sub' } })
  t.end()
})

t.test('application, actor and id of a JWT are read for the evidence, and change nothing else', async t => {
  const principalOf = (change: object) => readAt(acceptedClaims({ ...change }), nowSeconds())
  const plain = { issuer, subject: 'casey', roles: ['investigator'], channel: 'http' }
  const [long, longest] = ['x'.repeat(257), 'x'.repeat(256)]
  const nested = { sub: 'desk-backend', act: { sub: 'gateway', iss: 'https://other.test' } }
  const cases: [claims: object, read: object][] = [
    [{}, {}],
    [
      { azp: 'desk', jti: 'a' },
      { client: 'desk', jwtId: 'a' },
    ],
    [{ client_id: 'desk' }, { client: 'desk' }],
    [{ azp: 'desk', client_id: 'other' }, { client: 'desk' }],
    [{ azp: 7, client_id: 'desk' }, { client: 'desk' }],
    [{ azp: longest }, { client: longest }],
    [{ act: { sub: 'desk-backend' } }, { actor: { subject: 'desk-backend' } }],
    [
      { act: { sub: ' desk  backend', iss: 'https://other.test', roles: ['auditor'] } },
      { actor: { issuer: 'https://other.test', subject: 'desk backend' } },
    ],
    [{ act: nested }, { actor: { subject: 'desk-backend' } }],
    [{ act: { act: nested } }, {}],
    [{ act: { sub: 'desk', iss: 7 } }, {}],
    [{ act: { iss: 'https://other.test' } }, {}],
    [{ act: ['desk'] }, {}],
    [{ act: 'desk' }, {}],
    [{ act: null, azp: null, jti: null }, {}],
    [{ jti: 7 }, {}],
    [{ jti: '' }, {}],
    [{ jti: long }, { jwtId: long }],
  ]
  for (const [claims, read] of cases) {
    const principal = principalOf(claims)
    t.strictSame(principal, { ...plain, ...read }, JSON.stringify(claims).slice(0, 80))
    t.ok(Object.isFrozen(principal) && Object.isFrozen(principal.actor ?? principal))
  }
  const unfit = ['', long, 'a\nb', 'a\0', '\u007f', '\u0085', '\u202eksed', '\ud800', 'a\u2028', {}, [], ['desk'], true]
  for (const [place, text] of unfit.entries()) {
    const jti = typeof text === 'string' ? '\ud800' : text
    const principal = principalOf({ azp: text, client_id: text, act: { sub: text }, jti })
    t.strictSame(principal, plain, `text ${place}: neither is recorded`)
  }
})
