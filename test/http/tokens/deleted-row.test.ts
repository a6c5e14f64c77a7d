import t from 'tap'
import { packBytes } from '../../../src/crypto/byte-column.ts'
import { parseToken } from '../../../src/crypto/token.ts'
import { startVaultApi } from '../../helpers/http/vault-api.ts'
import { dumpDatabase } from '../../helpers/postgres/dump-database.ts'

const policy = `
version: 1
roles:
  investigator: { reveal: { "*": full }, crosswalk: ["*"], purposes: ["*"] }
`
const casey = { sub: 'casey', roles: ['investigator'] }
const purpose = 'fraud_investigation'

t.test('a deleted row is an erased value, though its token stands elsewhere and every key is kept', async t => {
  const { call, vault, tokens } = await startVaultApi(t, { policy, originals: 5 })
  const admin = await vault.connect()
  const [token, neighbour] = tokens as [string, string]
  const { id } = parseToken(token)!
  const detokenize = async () =>
    (await call(casey, 'POST', '/v1/detokenize', { purpose, tokens: [token, neighbour] })).json['results']
  t.match(await detokenize(), [{ value: '10.0.0.0' }, { value: '10.0.0.1' }])
  const { rows } = await admin.query<{ sealed: Buffer }>(
    'SELECT sealed FROM pii_vault.originals WHERE token_id = $1::uuid',
    [id],
  )
  const { sealed } = rows[0]!
  /** How many of the byte strings of a dump give the value, under all keys and with the token. */
  const opening = (dump: string) => {
    const found = [...dump.matchAll(/\\x([0-9a-f]{32,})/g)].map(([, hex]) => Buffer.from(hex!, 'hex'))
    const ids = found.map(() => id)
    const under = vault.keys.sealer('data', 'ip', 1)!.open(packBytes(found), ids)
    const tokenKey = vault.keys.tokenKey('ip', 1)!
    // Also as it would be without the outer seal.
    const opened = [under.plaintexts, packBytes(found)].map(column => tokenKey.open(ids, column).authentic)
    return opened.flatMap(authentic => [...authentic]).filter(bit => bit === 1).length
  }
  const before = await dumpDatabase(admin)
  t.ok(before.includes(sealed.toString('hex')), 'a dump holds the original')
  t.equal(opening(before), 1, 'from which keys and token give the value')

  await admin.query('SET ROLE tokenvault_owner')
  t.equal((await admin.query('DELETE FROM pii_vault.originals WHERE token_id = $1::uuid', [id])).rowCount, 1)
  await admin.query('RESET ROLE')
  t.match(await detokenize(), [{ token, error: { code: 'token_unknown' } }, { value: '10.0.0.1' }])
  const after = await dumpDatabase(admin)
  t.ok(after.includes(token), 'the token is still in user_logins')
  t.notOk(after.includes(sealed.toString('hex')))
  t.equal(opening(after), 0, 'and nothing in a dump gives its value, with every key')
  const { pairs } = (await call(casey, 'POST', '/v1/crosswalk', { purpose, field: 'ip', scheme: 'sha256' })).json
  t.strictSame(
    pairs.map((pair: { token: string }) => pair.token).sort(),
    tokens.slice(1).toSorted(),
    'nor does a crosswalk know it',
  )
})
