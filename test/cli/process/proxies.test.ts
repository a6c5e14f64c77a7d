import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { useProxies } from '../../../src/cli/process/proxies.ts'
import { fetchKeySet } from '../../../src/http/auth/fetch-key-set.ts'
import { createWebhook } from '../../../src/publish/webhook.ts'
import { startAwsServer } from '../../helpers/aws/aws-server.ts'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { createTestLog } from '../../helpers/queue/server.ts'

t.test('a proxy that is not a URL is told before anything starts', async t => {
  const environment = {
    DATABASE_URL: 'postgresql://127.0.0.1:1/x',
    KEK_FILE: 'kek',
    JWT_ISSUER: 'i',
    JWT_AUDIENCE: 'a',
    JWKS_URL: 'https://issuer.example.test/jwks',
    HTTPS_PROXY: 'socks5://me:secret@proxy',
  }
  const { code, stderr } = await runInProcess(['api'], environment)
  t.equal(code, 2)
  t.match(stderr, /^tokenvault: config_invalid: HTTPS_PROXY is not an http: or https: URL/)
  t.notMatch(stderr, /secret/)
})

t.test('key sets, webhooks and calls of the API go through the proxy, and this machine is called directly', async t => {
  const proxy = await startAwsServer(t)
  const jwtFile = join(temporaryDirectory(t), 'jwt')
  writeFileSync(jwtFile, 'a.b.c')
  const args = ['detokenize', '--url', 'https://vault.example.test', '--jwt-file', jwtFile, '--purpose', 'p']
  const variables = { HTTPS_PROXY: proxy.url, HTTP_PROXY: proxy.url, NO_PROXY: 'other.example.test' }
  const called = await runInProcess([...args, 'ip_v1_Zk3qW0b9Jv2mX7tR4nYc8A'], variables)
  t.match(called.stderr, /^tokenvault: api_unavailable/)
  useProxies(variables)
  await t.rejects(fetchKeySet('https://issuer.example.test/jwks', {}))
  await t.rejects(fetchKeySet(`${proxy.url}/jwks`, {}), { message: 'no JWK Set' })
  const { log } = createTestLog()
  const webhook = createWebhook({
    url: 'https://approvals.example.test/',
    secret: `whsec_${'A'.repeat(32)}`,
    log,
    backoffMilliseconds: 1,
  })
  webhook.notifyApprovers({
    id: 'a',
    issuer: 'i',
    subject: 's',
    roles: [],
    purpose: 'p',
    ticket: undefined,
    reveal: 'full',
    values: 1,
    fields: [],
    expiresAt: '',
  } as unknown as Parameters<typeof webhook.notifyApprovers>[0])
  await webhook.close()
  t.same(
    [...new Set(proxy.calls.map(({ host }) => host))],
    ['vault.example.test:443', 'issuer.example.test:443', new URL(proxy.url).host, 'approvals.example.test:443'],
  )
})
