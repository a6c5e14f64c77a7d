import { once } from 'node:events'
import { createServer } from 'node:net'
import t from 'tap'
import { findFreePort, isPortFree } from '../../src/embedded/free-port.ts'

t.test('a port that was found is free until somebody listens on it', async t => {
  const port = await findFreePort()
  t.equal(await isPortFree(port), true)
  const server = createServer().listen(port, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  t.equal(await isPortFree(port), false)
  t.not(await findFreePort(), port)
})
