import t from 'tap'
import { clientKey, parseAddress, trustNetworks } from '../../../src/http/server/client-address.ts'
import { startApp } from '../../helpers/http/http-app.ts'
import { exchange } from '../../helpers/http/raw-http.ts'

t.test('an address is read however a proxy writes it, and nothing else is', async t => {
  const addresses: Record<string, string | undefined> = {
    '192.0.2.7': '192.0.2.7',
    ' 192.0.2.7\t': '192.0.2.7',
    '192.0.2.7:443': '192.0.2.7',
    '192.0.2.7:0': '192.0.2.7',
    '"192.0.2.7:443"': '192.0.2.7',
    '[192.0.2.7]:443': '192.0.2.7',
    '::ffff:192.0.2.7': '192.0.2.7',
    '::FFFF:c000:207': '192.0.2.7',
    '0:0:0:0:0:ffff:192.0.2.7': '192.0.2.7',
    '[::ffff:192.0.2.7]:443': '192.0.2.7',
    '2001:db8::1': '2001:db8::1',
    '2001:0DB8:0:0:0:0:0:1': '2001:db8::1',
    '[2001:db8::1]': '2001:db8::1',
    '[2001:db8::1]:443': '2001:db8::1',
    '"[2001:db8::1]:443"': '2001:db8::1',
    'fe80::1%eth0': 'fe80::1',
    '[fe80::1%25eth0]:443': 'fe80::1',
    '[fe80::1%2]:443': 'fe80::1',
    '2001:db8::1:443': '2001:db8::1:443',
    '': undefined,
    unknown: undefined,
    _hidden: undefined,
    localhost: undefined,
    '192.0.2': undefined,
    '192.0.2.7.1': undefined,
    '192.0.2.256': undefined,
    '192.0.2.07': undefined,
    '0xC0000207': undefined,
    '3221225991': undefined,
    '192.0.2.7:': undefined,
    '192.0.2.7:x': undefined,
    '192.0.2.7:123456': undefined,
    '192.0.2.7:80:80': undefined,
    '192.0.2.7/24': undefined,
    '[192.0.2.7': undefined,
    '[2001:db8::1]443': undefined,
    '[[2001:db8::1]]': undefined,
    '2001:db8::1::2': undefined,
    'fe80::1%': undefined,
    '::1 ::2': undefined,
  }
  for (const [text, address] of Object.entries(addresses)) t.equal(parseAddress(text), address, JSON.stringify(text))
})

t.test('a request counts for the last address that no trusted proxy has', async t => {
  const isTrusted = trustNetworks(['10.0.0.0/8', '192.0.2.1', '2001:db8:ffff::/48', '::1'])
  const cases: [remote: string, forwardedFor: string, key: string][] = [
    // Nobody before us is trusted: the header is the client's own text.
    ['198.51.100.7', '', '198.51.100.7'],
    ['198.51.100.7', '203.0.113.1', '198.51.100.7'],
    ['::ffff:198.51.100.7', '', '198.51.100.7'],
    ['2001:db8:1:2:3:4:5:6', '', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::', '', '2001:db8:1:2::/64'],
    ['2001:db8:1:3::6', '', '2001:db8:1:3::/64'],
    ['::2', '', '0:0:0:0::/64'],
    ['fe80::1%eth0', '', 'fe80:0:0:0::/64'],
    ['192.0.2.2', '203.0.113.1', '192.0.2.2'],
    // A proxy is.
    ['10.1.2.3', '203.0.113.1', '203.0.113.1'],
    ['::ffff:10.1.2.3', '203.0.113.1', '203.0.113.1'],
    ['192.0.2.1', '203.0.113.1', '203.0.113.1'],
    ['::1', '203.0.113.1', '203.0.113.1'],
    ['2001:db8:ffff::9', '2001:db8:1:2::9', '2001:db8:1:2::/64'],
    ['10.1.2.3', '203.0.113.1:50123', '203.0.113.1'],
    ['10.1.2.3', '203.0.113.1:50124', '203.0.113.1'],
    ['10.1.2.3', '[2001:db8:1:2::9]:50123', '2001:db8:1:2::/64'],
    ['10.1.2.3', '::ffff:203.0.113.1', '203.0.113.1'],
    // What the client wrote stands to the left of what proxies wrote.
    ['10.1.2.3', '198.51.100.1, 203.0.113.1', '203.0.113.1'],
    ['10.1.2.3', '198.51.100.1,203.0.113.1 , 10.9.9.9', '203.0.113.1'],
    ['10.1.2.3', '10.0.0.1, 203.0.113.1', '203.0.113.1'],
    ['10.1.2.3', 'garbage, 203.0.113.1, 10.9.9.9:443', '203.0.113.1'],
    // All are proxies: the first of them.
    ['10.1.2.3', '10.7.7.7, 10.9.9.9', '10.7.7.7'],
    ['10.1.2.3', '', '10.1.2.3'],
    // Not an address: whoever wrote it.
    ['10.1.2.3', 'unknown', '10.1.2.3'],
    ['10.1.2.3', '203.0.113.1, a-new-name-each-time', '10.1.2.3'],
    ['10.1.2.3', '203.0.113.1, _hidden, 10.9.9.9', '10.9.9.9'],
    ['10.1.2.3', ',', '10.1.2.3'],
    ['10.1.2.3', '203.0.113.1,', '10.1.2.3'],
    // A connection that is gone.
    ['', '203.0.113.1', 'unknown'],
  ]
  for (const [remote, forwardedFor, key] of cases)
    t.equal(clientKey(remote, forwardedFor, isTrusted), key, `${remote} ${forwardedFor}`)
})

t.test('a new port, zone or spelling of an address is no new client', async t => {
  const running = await startApp(t, { rateLimitPerMinute: 1, trustProxy: ['127.0.0.0/8'] })
  const ask = async (...lines: string[]) => {
    const headers = lines.map(line => `x-forwarded-for: ${line}`)
    return (await exchange(running.port, ['GET /healthz HTTP/1.1', 'host: a', ...headers])).status
  }
  t.equal(await ask('203.0.113.1:1'), 200)
  for (const again of ['203.0.113.1', '203.0.113.1:2', '[::ffff:203.0.113.1]:3', '::ffff:cb00:7101'])
    t.equal(await ask(again), 429, again)
  t.equal(await ask('198.51.100.9', '203.0.113.1'), 429, 'two lines are one list')
  t.equal(await ask('2001:db8:1:2::1'), 200)
  for (const again of ['2001:db8:1:2::2', '[2001:db8:1:2:ffff::]:9']) t.equal(await ask(again), 429, again)
  t.equal(await ask('2001:db8:1:3::1'), 200, 'another network is another client')
  t.equal(await ask('unknown-1'), 200, 'a text counts for the proxy')
  t.equal(await ask('unknown-2'), 429)
})
