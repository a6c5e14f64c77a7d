import { createHash, createHmac } from 'node:crypto'
import t from 'tap'
import { type LoginRole, scramVerifier, setRolePasswords } from '../../../src/store/setup/role-passwords.ts'
import { connectTo, createVaultDatabase, readClusterLog, withLogin } from '../../helpers/postgres/vault-database.ts'

const sha256 = (data: Buffer) => createHash('sha256').update(data).digest()
const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest()

t.test('the verifier checks the exchange that RFC 7677, 3 publishes', t => {
  const [, iterations, salt, storedKey, serverKey] =
    /^SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):(.+)$/.exec(
      scramVerifier('pencil', Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64')),
    ) ?? []
  t.equal(iterations, '4096')
  t.equal(salt, 'W22ZaJ0SNY7soEsUEjb6gQ==')
  const nonce = 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0'
  const exchange = `n=user,r=rOprNGfwEbeRWgbNEkqO,r=${nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=${nonce}`
  const proof = Buffer.from('dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=', 'base64')
  const signature = hmac(Buffer.from(storedKey!, 'base64'), exchange)
  // The client's key is its proof without the signature (RFC 5802, 3).
  const clientKey = proof.map((byte, index) => byte ^ signature[index]!)
  t.equal(sha256(clientKey as Buffer).toString('base64'), storedKey)
  t.equal(
    hmac(Buffer.from(serverKey!, 'base64'), exchange).toString('base64'),
    '6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
  )
  t.not(scramVerifier('pencil'), scramVerifier('pencil'), 'each has a salt of its own')
  t.end()
})

t.test('a role logs in with the password that was set last, and its text is in no log', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  // Roles belong to the cluster: those of the product are in use by other tests.
  const role = `role_${vault.name}` as LoginRole
  await admin.query(`CREATE ROLE ${role} LOGIN; GRANT CONNECT ON DATABASE ${vault.name} TO ${role};
    ALTER DATABASE ${vault.name} SET log_statement = 'all';
    ALTER DATABASE ${vault.name} SET log_min_duration_statement = 0;
    ALTER DATABASE ${vault.name} SET log_parameter_max_length = -1`)
  t.teardown(async () => {
    const client = await connectTo({ teardown: () => {} }, vault.adminUrl)
    await client.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`)
    await client.end()
  })
  const password = (n: number) => `pass'word ${n} "of" \\ ${vault.name}`
  for (const n of [1, 2]) {
    await setRolePasswords(vault.database(), new Map([[role, password(n)]]))
    await t.resolves(connectTo(t, withLogin(vault.adminUrl, role, encodeURIComponent(password(n)))))
  }
  await t.rejects(connectTo(t, withLogin(vault.adminUrl, role, encodeURIComponent(password(1)))), { code: '28P01' })
  const log = readClusterLog()
  t.match(log, `alter role "${role}" password 'SCRAM-SHA-256$4096:`, 'the statement is in the log')
  for (const n of [1, 2]) t.notOk(log.includes(password(n)) || log.includes(encodeURIComponent(password(n))))
})

t.test('passwords may be set by many processes at once', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const role = `role_${vault.name}` as LoginRole
  await admin.query(`CREATE ROLE ${role} LOGIN`)
  t.teardown(async () => {
    const client = await connectTo({ teardown: () => {} }, vault.adminUrl)
    await client.query(`DROP ROLE ${role}`)
    await client.end()
  })
  await t.resolves(
    Promise.all(
      Array.from({ length: 8 }, () => setRolePasswords(vault.database(undefined, 1), new Map([[role, 'secret']]))),
    ),
  )
})
