import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createKeyReader } from '../../../src/store/keys.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { createTestDatabase } from '../../helpers/postgres/embedded-postgres.ts'
import { certificate, startTlsServer } from '../../helpers/postgres/tls-server.ts'
import { openDatabase } from '../../helpers/postgres/vault-database.ts'

t.test('what is wrong with TLS or the password is told, each in words of its own', async t => {
  const { adminUrl } = await createTestDatabase(t)
  const port = await startTlsServer(t)
  const rootFile = join(temporaryDirectory(t), 'root.pem')
  writeFileSync(rootFile, certificate)
  const withTls = `postgres://tokenvault_api:secret@localhost:${port}/tokenvault?sslmode=verify-full`
  const noPassword = new URL(adminUrl)
  noPassword.password = ''
  const cases: [url: string, message: RegExp][] = [
    [
      withTls,
      /authority that is not trusted.+NODE_EXTRA_CA_CERTS; the database answered: DEPTH_ZERO_SELF_SIGNED_CERT$/,
    ],
    [
      `${withTls}&sslrootcert=${rootFile}`,
      /^the certificate of the server is for another host name; the database answered: ERR_TLS_CERT_ALTNAME_INVALID$/,
    ],
    [`${withTls}&sslrootcert=${rootFile}.gone`, /^a file that DATABASE_URL names.+ENOENT$/],
    [`${adminUrl}?sslmode=verify-full`, /^the server does not offer TLS, which sslmode asks for; .+: no TLS$/],
    [noPassword.href, /^the server asks for a password, and DATABASE_URL holds none; .+: no password$/],
  ]
  for (const [url, message] of cases) {
    const failure = await createKeyReader(openDatabase(t, url))
      .readKeys()
      .catch(error => error)
    t.match(failure, { code: 'store_misconfigured', message, cause: undefined })
    t.notMatch(failure.message, /secret|elsewhere/)
  }
})
