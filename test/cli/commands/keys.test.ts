import t from 'tap'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'

t.test('keys are listed, rotated, re-sealed, disabled and destroyed from the command line', async t => {
  const vault = await createVaultDatabase(t)
  const environment = { DATABASE_URL: vault.adminUrl, KEK_FILE: vault.kekFile }
  const run = (...args: string[]) => runInProcess(['keys', ...args], environment)
  const listed = await run('list')
  t.match(listed, { code: 0, stderr: '' })
  t.match(listed.stdout, /key\s+status\s+days\s+kek/)
  t.match(listed.stdout, /data\/ip\/v1\s+primary\s+0\s+local:[0-9a-f]{16}/)

  t.match(await run('rotate', '--kind', 'data', '--dry-run'), {
    code: 0,
    stdout: /data\/ip would get a new primary key/,
  })
  const rotated = await run('rotate', '--kind', 'data', '--field', 'ip', '--json')
  t.same(JSON.parse(rotated.stdout), { rotated: ['data/ip/v2'] })
  t.match(await run('reseal', '--dry-run'), { code: 0, stdout: '0 originals would be re-sealed\n' })
  t.match(await run('reseal'), { code: 0, stdout: '0 originals re-sealed\n' })
  t.match(await run('destroy', 'data/ip/v1', '--dry-run'), { stdout: /^0 originals or bodies would become unreadable/ })
  t.match(await run('destroy', 'data/ip/v1', '--days', '0'), {
    code: 0,
    stdout: /data\/ip\/v1 is disabled, and is destroyed/,
  })
  t.match(await run('destroy', '--due'), { code: 0, stdout: 'data/ip/v1 is destroyed\n' })
  const { keys } = JSON.parse((await run('list', '--count', '--json')).stdout)
  t.match(
    keys.find(({ key }: { key: string }) => key === 'data/ip/v1'),
    { status: 'destroyed', unreadable: 0 },
  )
  t.match(
    keys.find(({ key }: { key: string }) => key === 'data/ip/v2'),
    { status: 'primary', content: 0 },
  )
})

t.test('what cannot be done with keys is refused in one line, and nothing is changed', async t => {
  const vault = await createVaultDatabase(t)
  const environment = { DATABASE_URL: vault.adminUrl, KEK_FILE: vault.kekFile }
  const wrong: [string[], number, RegExp][] = [
    [['rotate', '--kind', 'kek'], 2, /data, quarantine, audit, signing, token/],
    [['rotate', '--kind', 'token'], 2, /--kind token needs --field/],
    [['rotate', '--kind', 'data', '--revoked'], 2, /--revoked goes with --kind signing/],
    [['rotate', '--kind', 'audit', '--field', 'ip'], 2, /--field goes with --kind data or token/],
    [['rotate', '--kind', 'data', '--field', 'email'], 1, /^tokenvault: key_unknown: /],
    [['disable', 'data/ip/v1'], 1, /^tokenvault: key_state_invalid: data\/ip\/v1 is primary and cannot be disabled/],
    [['disable', 'data/ip/v7'], 1, /^tokenvault: key_unknown: data\/ip\/v7/],
    [['enable', 'data/ip/v1'], 1, /key_state_invalid/],
    [['destroy', 'data/ip/v1'], 1, /key_state_invalid/],
    [['destroy', 'audit//v1'], 1, /audit\/\/v1 is kept: searches and receipts of its time need it/],
    [['disable', 'audit//v1', '--dry-run'], 1, /key_state_invalid: audit\/\/v1 is kept/],
    [['disable', 'signing//v1'], 1, /key_state_invalid: signing\/\/v1 is kept/],
    [['destroy', 'data/ip/1'], 2, /a key is named as/],
    [['destroy'], 2, /name a key, or give --due/],
    [['destroy', 'data/ip/v1', '--due'], 2, /name a key, or give --due/],
    [['rewrap'], 2, /NEXT_KEK_PROVIDER is not set/],
  ]
  for (const [args, code, says] of wrong) {
    const result = await runInProcess(['keys', ...args], environment)
    t.match(result, { code, stdout: '', stderr: says }, args.join(' '))
  }
  const { rows } = await (await vault.connect()).query("SELECT count(*) FROM pii_vault.keys WHERE status <> 'primary'")
  t.same(rows, [{ count: '0' }])
})
