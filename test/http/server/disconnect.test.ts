import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { signJwt } from '../../helpers/http/jwks-server.ts'
import { startVaultApi } from '../../helpers/http/vault-api.ts'

const policy = `
version: 1
roles:
  investigator: { reveal: { "*": full }, purposes: ["*"] }
`
const casey = { sub: 'casey', roles: ['investigator'] }

t.test('who hangs up to go unseen is in the evidence, and the API goes on', async t => {
  const api = await startVaultApi(t, { policy, originals: 200 })
  const { port } = new URL(api.origin)
  const authorization = `authorization: Bearer ${await signJwt(api.key, casey)}`
  const purposesSeen = async () => (await api.events()).map(event => event['purpose'])

  /** Sends a whole request and reads nothing of the reply. */
  const ask = async (purpose: string) => {
    const body = JSON.stringify({ purpose, tokens: api.tokens })
    const head = ['POST /v1/detokenize HTTP/1.1', 'host: a', 'content-type: application/json', authorization]
    const socket = connect(Number(port), '127.0.0.1').pause()
    await once(socket, 'connect')
    socket.write(`${[...head, `content-length: ${body.length}`].join('\r\n')}\r\n\r\n${body}`)
    return socket
  }
  const overloads = () => api.logged().split('"code":"overloaded"').length
  /** Asks again where a late process refused it as overload, which would be waited for in vain. */
  const askUntil = async (purpose: string, hasHappened: () => Promise<boolean>) => {
    for (;;) {
      const before = overloads()
      const socket = await ask(purpose)
      while (overloads() === before) if (await hasHappened()) return socket
      socket.destroy()
    }
  }

  await t.test('before the event is committed', async t => {
    const blocker = await api.vault.connect()
    await blocker.query('BEGIN; SELECT 1 FROM pii_vault.audit_head FOR UPDATE')
    const isWaiting = async () => {
      const { rows } = await blocker.query(
        `SELECT 1 FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())`,
      )
      return rows.length > 0
    }
    const socket = await askUntil('hang_up_early', isWaiting)
    socket.destroy()
    await once(socket, 'close')
    await blocker.query('COMMIT')
    while (!(await purposesSeen()).includes('hang_up_early'));
    t.pass('the event is there')
  })

  await t.test('after the event is committed, before the reply is read', async t => {
    const socket = await askUntil('hang_up_late', async () => (await purposesSeen()).includes('hang_up_late'))
    socket.resetAndDestroy()
    await once(socket, 'close')
    const [event] = (await api.events()).filter(({ purpose }) => purpose === 'hang_up_late')
    t.match(event, { decision: 'permitted', subject: 'casey', granted: 200 })
  })

  const replies = await Promise.all(
    Array.from({ length: 20 }, () =>
      api.call(casey, 'POST', '/v1/detokenize', { purpose: 'still_well', tokens: api.tokens.slice(0, 1) }),
    ),
  )
  t.ok(replies.every(({ status }) => status === 200))
  const lines = api
    .logged()
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as { level: string; code?: string })
  // Calls that were refused as overload reached nothing, and were made again.
  t.strictSame(
    lines.filter(({ level, code }) => /error|fatal/.test(level) && code !== 'overloaded'),
    [],
  )
})
