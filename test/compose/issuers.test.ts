import { join } from 'node:path'
import t from 'tap'
import { readIssuers } from '../../src/compose/issuers.ts'
import { loadConfig } from '../../src/config/load.ts'

t.test('issuers whose principals are the same read subjects alike', t => {
  const read = (usual: string, ...settings: readonly object[]) => {
    const issuers = settings.map((setting, place) => {
      const issuer = `https://${place}.test`
      return { issuer, jwks_url: `${issuer}/keys`, audiences: ['vault'], ...setting }
    })
    const directory = t.testdir({ 'issuers.json': JSON.stringify({ version: 1, issuers }) })
    const environment = {
      DATABASE_URL: 'postgres://tokenvault_api@127.0.0.1/vault',
      KEK_FILE: '/dev/null',
      JWT_ISSUERS_FILE: join(directory, 'issuers.json'),
      JWT_SUBJECT_CASE: usual,
    }
    return readIssuers(loadConfig('api', environment)).map(({ subjectCase }) => subjectCase)
  }
  const ignore = { subject_case: 'ignore' }
  const known = { known_as: 'https://0.test' }
  const elsewhere = { known_as: 'https://elsewhere.test' }
  t.strictSame(read('exact', {}, ignore), ['exact', 'ignore'], 'people of different issuers')
  t.strictSame(read('ignore', {}, { ...ignore, ...known }), ['ignore', 'ignore'], 'by the variable and by the file')
  for (const settings of [
    [{}, { ...ignore, ...known }],
    [ignore, known],
    [{}, elsewhere, { ...ignore, ...elsewhere }],
  ])
    t.throws(() => read('exact', ...settings), { code: 'config_invalid', message: /known_as .* subject_case$/ })
  t.end()
})
