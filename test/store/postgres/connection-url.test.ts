import t from 'tap'
import type { TokenvaultError } from '../../../src/errors.ts'
import {
  clientConfig,
  isSameDatabase,
  longestConnectMilliseconds,
  nameHost,
  parseConnectionUrl,
} from '../../../src/store/postgres/connection-url.ts'

t.test('hosts, ports, logins and databases are read as libpq reads them', async t => {
  const cases: [url: string, hosts: string[], rest?: object][] = [
    ['postgres:///vault', ['localhost:5432'], { user: undefined, password: undefined, database: 'vault' }],
    [
      'postgresql://u@db',
      ['db:5432'],
      { user: 'u', database: undefined, targetSessionAttrs: 'any', isBalanced: false },
    ],
    ['postgresql://u:p%40%2Cs@db:6000/v%2Fw', ['db:6000'], { user: 'u', password: 'p@,s', database: 'v/w' }],
    ['postgresql://u:a:b@db', ['db:5432'], { password: 'a:b' }],
    ['postgresql://u@a:1,b:2,c/v', ['a:1', 'b:2', 'c:5432'], { connectTimeoutMilliseconds: 2000 }],
    ['postgresql://u@[::1]:1,[2001:db8::2]/v', ['[::1]:1', '[2001:db8::2]:5432']],
    ['postgresql://u@%2Frun%2Fpostgresql/v', ['/run/postgresql:5432']],
    ['postgresql://u@/v?host=/run/postgresql', ['/run/postgresql:5432'], { connectTimeoutMilliseconds: 5000 }],
    ['postgresql://u@ignored/v?host=a,b&port=1,2', ['a:1', 'b:2']],
    ['postgresql://u@a,b/v?port=7', ['a:7', 'b:7']],
    [
      'postgresql://u@a/v?user=w&password=q&connect_timeout=9',
      ['a:5432'],
      { user: 'w', connectTimeoutMilliseconds: 9000 },
    ],
    [
      'postgresql://u@a,b/v?target_session_attrs=read-write&load_balance_hosts=random',
      ['a:5432', 'b:5432'],
      { isBalanced: true },
    ],
    ['postgresql://u@a/v\n', ['a:5432'], { database: 'v' }],
  ]
  for (const [text, hosts, rest = {}] of cases) {
    const url = parseConnectionUrl(text)
    t.strictSame(url.hosts.map(nameHost), hosts, text)
    t.match(url, rest, text)
  }
})

t.test('as long as connect_timeout lets a host take, the pool waits', async t => {
  const cases: [url: string, seconds: number][] = [
    ['postgresql://u@a/v', 5],
    ['postgresql://u@a/v?connect_timeout=30', 30],
    ['postgresql://u@a/v?connect_timeout=30&target_session_attrs=prefer-standby', 60],
    ['postgresql://u@a,b,c/v', 12],
    ['postgresql://u@a,b/v?connect_timeout=30', 120],
  ]
  for (const [url, seconds] of cases) t.equal(longestConnectMilliseconds(parseConnectionUrl(url)), seconds * 1000, url)
})

t.test('what is not supported is refused by its name, and nothing else of the URL is repeated', async t => {
  const cases: [rest: string, message: RegExp][] = [
    ['db/v?sslmod=require', /the parameter sslmod, which is not known; known are host, port, /],
    ['db/v?statement_timeout=0', /the parameter statement_timeout, which is not known/],
    ['db/v?pgbouncer=true', /the parameter pgbouncer/],
    ['db/v?hunter2%3D=1', /has a parameter, which is not known/],
    ['db/v?sslmode=allow', /a value of sslmode/],
    ['db/v?target_session_attrs=writable', /a value of target_session_attrs/],
    ['db/v?load_balance_hosts=yes', /a value of load_balance_hosts/],
    ['db/v?channel_binding=require', /a value of channel_binding/],
    ['db/v?connect_timeout=0', /a value of connect_timeout/],
    ['db/v?port=1&port=2', /gives port twice/],
    ['a,b,c/v?port=1,2', /neither one port nor one for each host/],
    ['a:70000/v', /a port that is not from 1 to 65535/],
    ['a:0/v', /a port that is not from 1 to 65535/],
    ['a:5432:5433/v', /a host that is not valid/],
    ['db/v%zz', /a percent sign/],
    ['db/v#hunter2', /not a URL, or holds/],
    ['x?hunter2@db/v', /not a URL, or holds/],
    ['x/hunter2@db/v', /not a URL, or holds/],
  ]
  for (const [rest, message] of cases) {
    let failure: unknown
    try {
      parseConnectionUrl(`postgresql://u:hunter2@${rest}`)
    } catch (error) {
      failure = error
    }
    t.match(failure, { code: 'config_invalid', message }, rest)
    t.notMatch((failure as TokenvaultError).message, 'hunter2', rest)
  }
})

t.test('only the login and how the line is secured may change while a process runs', async t => {
  const first = parseConnectionUrl('postgresql://u:p@a,b:5433/v?sslmode=verify-full')
  const same = ['postgresql://w:q@a:5432,b:5433/v', 'postgresql://u:p@/v?host=a,b&port=5432,5433']
  for (const text of same) t.ok(isSameDatabase(first, parseConnectionUrl(text)), text)
  const other = [
    'postgresql://u:p@a,b/v',
    'postgresql://u:p@b:5433,a/v',
    'postgresql://u:p@a,b:5433/w',
    'postgresql://u:p@a/v',
  ]
  for (const text of other) t.notOk(isSameDatabase(first, parseConnectionUrl(text)), text)
})

t.test('certificates are checked for the name of each host, unless the URL says otherwise', async t => {
  const root = `${t.testdir({ 'ca.pem': 'root' })}/ca.pem`
  const cases: [query: string, ssl: unknown][] = [
    ['', undefined],
    ['sslmode=disable', false],
    ['ssl=0', false],
    ['ssl=true', {}],
    ['sslmode=require', {}],
    ['sslmode=verify-full', {}],
    [`sslmode=verify-ca&sslrootcert=${root}`, { ca: 'root' }],
    [`sslrootcert=${root}`, { ca: 'root' }],
    ['sslnegotiation=direct', {}],
    ['sslmode=no-verify', { rejectUnauthorized: false }],
    ['sslmode=require&uselibpqcompat=true', { rejectUnauthorized: false }],
    ['sslmode=verify-full&uselibpqcompat=true', {}],
  ]
  for (const [query, ssl] of cases) {
    const url = parseConnectionUrl(`postgresql://u@a,b:7/v?${query}`)
    const config = clientConfig(url, url.hosts[1]!)
    t.strictSame(config.ssl, ssl, query)
    t.match(config, { host: 'b', port: 7 })
  }
  const url = parseConnectionUrl(`postgresql://u@a/v?sslmode=require&uselibpqcompat=true&sslrootcert=${root}`)
  t.match(clientConfig(url, url.hosts[0]!).ssl, { ca: 'root', checkServerIdentity: Function })
})
