import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Test } from 'tap'

/** Certificate that signs itself, for elsewhere.example; a test's own, and its key protects nothing. */
export const certificate = `-----BEGIN CERTIFICATE-----
MIIBrjCCAVOgAwIBAgIUZe/oGspoKNKVAFjUO3TR32KcybswCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRZWxzZXdoZXJlLmV4YW1wbGUwIBcNMjYxMTI5MjE1NjQ0WhgP
MjEyNjExMDUyMTU2NDRaMBwxGjAYBgNVBAMMEWVsc2V3aGVyZS5leGFtcGxlMFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEg3WXsf5Wc6A+o+TfEykBuR6XDANz274X
JP6I/QaTgFRjeABSpwWhf0zO6O5r3cOCFAAaZg2yb2NzpLyYxN9NzqNxMG8wHQYD
VR0OBBYEFGZcPbFzQEh2aU0pSv5AxtwhEdAqMB8GA1UdIwQYMBaAFGZcPbFzQEh2
aU0pSv5AxtwhEdAqMA8GA1UdEwEB/wQFMAMBAf8wHAYDVR0RBBUwE4IRZWxzZXdo
ZXJlLmV4YW1wbGUwCgYIKoZIzj0EAwIDSQAwRgIhAI0pxDMVAUDDuplJy0q89c4m
2RrNa4E58AtdfHGtdQaHAiEAsjUo19YDF68yudL97csQQPj6HHUfR2S0AJ/n2TpD
3qo=
-----END CERTIFICATE-----
`
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgtPHkx6Rh/+DiGJMU
Fe4qGHNb2a29F27nlIyES5iYVrmhRANCAASDdZex/lZzoD6j5N8TKQG5HpcMA3Pb
vhck/oj9BpOAVGN4AFKnBaF/TM7o7mvdw4IUABpmDbJvY3OkvJjE303O
-----END PRIVATE KEY-----
`

/** What a Postgres with TLS says until the client has checked its certificate, which no client of a test accepts. */
export async function startTlsServer(t: Pick<Test, 'teardown'>): Promise<number> {
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    // The request for TLS: eight bytes, answered by one.
    socket.once('data', () => {
      socket.write('S')
      new TLSSocket(socket, { isServer: true, cert: certificate, key }).on('error', () => {})
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}
