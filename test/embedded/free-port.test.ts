import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t from 'tap'
import { findFreePort, isPortFree } from '../../src/embedded/free-port.ts'

t.test('gives the preferred port while it is free, another one when it is taken', async t => {
  const preferred = await findFreePort()
  t.equal(await findFreePort(preferred), preferred)
  const server = createServer().listen(preferred, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  t.equal((server.address() as AddressInfo).port, preferred)
  t.equal(await isPortFree(preferred), false)
  t.not(await findFreePort(preferred), preferred)
})
