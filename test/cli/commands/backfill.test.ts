import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type pg from 'pg'
import t, { type Test } from 'tap'
import { composeApi } from '../../../src/compose/api.ts'
import { readFields } from '../../../src/compose/fields.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { listen } from '../../../src/http/server/connections.ts'
import { openLocalKek } from '../../../src/kms/local.ts'
import { createLog } from '../../../src/log.ts'
import { createFieldRecordWriter } from '../../../src/store/fields.ts'
import { createKeyWriter } from '../../../src/store/keys.ts'
import { describeField } from '../../../src/vault/fields/recorded-fields.ts'
import { createMissingKeys } from '../../../src/vault/keys/wrapped-keys.ts'
import { runCommand, startCommand } from '../../helpers/cli/cli.ts'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { until } from '../../helpers/faults/plan.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'
import { startStoreProxy } from '../../helpers/http/store-proxy.ts'
import { startVaultApi } from '../../helpers/http/vault-api.ts'
import { connectTo, readClusterLog, testTenant } from '../../helpers/postgres/vault-database.ts'

const policy = `
version: 1
roles:
  filler: { store: ["*"], purposes: ["*"], budget: { per_minute: 100000, per_day: 1000000 } }
  frugal: { store: ["*"], purposes: ["*"], budget: { per_minute: 5, per_day: 5 } }
  reader: { reveal: { "*": full }, purposes: ["*"], batch_limit: 10000, budget: { per_minute: 100000, per_day: 1000000 } }
  nobody: {}
`

/** One vault with its API for the whole file, and JWTs of its roles in files. */
const api = await startVaultApi(t, { policy, originals: 0 })
const { vault } = api
const admin = await vault.connect()
const directory = temporaryDirectory(t)
for (const role of ['filler', 'frugal', 'nobody'])
  writeFileSync(join(directory, role), await signJwt(api.key, { sub: `the-${role}`, roles: [role] }), { mode: 0o600 })

/** Arguments of a backfill of `ip` of a table. */
function arguments_(
  table: string,
  options: { url?: string; role?: string; to?: string; column?: string } = {},
): string[] {
  const { url = api.origin, role = 'filler', to = 'ip_token', column = 'ip' } = options
  const where = ['--url', url, '--jwt-file', join(directory, role)]
  return [
    'backfill',
    '--table',
    table,
    '--column',
    column,
    '--to',
    to,
    '--field',
    'ip',
    '--purpose',
    'migration',
    ...where,
  ]
}

const environment = { DATABASE_URL: vault.adminUrl }
const run = (args: readonly string[]) => runInProcess(args, environment)
/** The summary. */
const summary = async (args: readonly string[]) => {
  const { code, stdout, stderr } = await run([...args, '--json'])
  return { code, stderr, ...(stdout === '' ? {} : JSON.parse(stdout)) }
}

/** A table of so many addresses, some of them equal; dropped when the test ends. */
async function createTable(t: Test, name: string, rows: number, more = ''): Promise<void> {
  await admin.query(`CREATE TABLE ${name} (id int PRIMARY KEY, ip text, note text, ip_token varchar(256)${more});
    INSERT INTO ${name} (id, ip) SELECT n, format('10.%s.%s.%s', 77, n % 97 / 50, n % 97) FROM generate_series(1, ${rows}) AS n`)
  t.teardown(async () => {
    await run(['backfill', '--forget', '--table', name, '--to', 'ip_token'])
    await admin.query(`DROP TABLE IF EXISTS ${name}`)
  })
}

/** Rows whose token is not that of their value, and rows without one. */
async function compare(
  table: string,
  client: pg.Client = admin,
): Promise<{ wrong: number; open: number; filled: number }> {
  const { rows } = await client.query<{ ip: string | null; ip_token: string | null }>(
    `SELECT ip, ip_token FROM ${table}`,
  )
  const clear = rows.map(({ ip }) => ip ?? '')
  const tokens = vault.tokenizer.tokenizeValues('ip', clear)
  const expected = tokens.map(answer => ('token' in answer ? answer.token : null))
  return {
    wrong: rows.filter(({ ip_token }, n) => ip_token !== null && ip_token !== expected[n]).length,
    open: rows.filter(({ ip, ip_token }) => ip !== null && ip_token === null).length,
    filled: rows.filter(({ ip_token }) => ip_token !== null).length,
  }
}

t.test('a column gets its tokens, in batches, and can then be detokenized, reconciled and dropped', async t => {
  await createTable(t, 'public.filled', 500)
  await admin.query(
    `UPDATE public.filled SET ip = NULL WHERE id % 100 = 0; UPDATE public.filled SET ip = 'unknown' WHERE id % 100 = 1`,
  )
  const plan = await run([...arguments_('filled'), '--dry-run'])
  t.strictSame(plan, { code: 0, stderr: '', stdout: 'public.filled: 500 rows, 0 with a token, 495 to fill\n' })
  t.match(await compare('filled'), { filled: 0 }, 'a dry run changes nothing')

  const first = await summary([...arguments_('filled'), '--batch-size', '100'])
  t.strictSame(first, {
    ...{ code: 0, stderr: '', table: 'public.filled', column: 'ip', to: 'ip_token', field: 'ip' },
    ...{ filled: 490, changed: 0, placeholders: 5, refused: {}, open: 5, passes: 2, verified: null },
    ...{ isDone: true, stopped: false, failed: false },
  })
  t.strictSame(await compare('filled'), { wrong: 0, open: 5, filled: 490 })
  const events = (await api.events()).filter(({ type }) => type === 'tokenize')
  t.match(events.at(0), { mode: 'store', purpose: 'migration', subject: 'the-filler' })

  const again = await run([...arguments_('filled'), '--verify'])
  t.match(again, { code: 0, stderr: '' })
  t.match(
    again.stdout,
    /^public\.filled: 0 filled, 5 left null as placeholders\nverified: 490 tokens are those of the values beside them, 0 are not\nNext, once nothing writes or reads ip any more: ALTER TABLE public\.filled DROP COLUMN ip;\n/,
  )

  const { rows } = await admin.query(`SELECT ip, ip_token FROM public.filled WHERE ip_token IS NOT NULL LIMIT 3`)
  const given = await api.call({ sub: 'r', roles: ['reader'] }, 'POST', '/v1/detokenize', {
    purpose: 'test',
    tokens: rows.map(({ ip_token }) => ip_token),
  })
  t.match(given.json['results'], rows.map(({ ip }) => ({ value: ip })), 'and their originals are there') // biome-ignore format: one line
})

t.test('what does not fit the field is counted and left; the rest is done, and the run ends', async t => {
  await createTable(t, 'public.mixed', 300)
  await admin.query(`UPDATE public.mixed SET ip = 'not an address' WHERE id = 7; UPDATE public.mixed SET ip = repeat('x', 2000) WHERE id = 150;
    UPDATE public.mixed SET ip = '' WHERE id IN (8, 9); UPDATE public.mixed SET ip = 'ip_v1_WeHPqziSnryoK7aMD4uLDg' WHERE id = 300`)
  const args = [...arguments_('mixed'), '--batch-size', '50']
  const result = await summary(args)
  t.match(result, { code: 1, filled: 295, open: 5, isDone: false, failed: false })
  t.strictSame(result.refused, { value_invalid: 3, value_too_long: 1, value_is_token: 1 })
  const told = await run([...args, '--show-keys'])
  t.match(told, { code: 1, stderr: '' })
  t.match(told.stdout, /3 refused \(value_invalid\)/)
  t.match(told.stdout, /^refused \(id\) = \(7\)$/m)
  t.match(told.stdout, /Correct the refused values, or set them to null, then run it again/)
  t.notMatch(told.stdout, /not an address|DROP/)
  t.notMatch((await run(args)).stdout, /\(id\)/, 'keys are told only where they are asked for')
})

t.test('a column that is missing is refused with the SQL, or made', async t => {
  await admin.query(
    `CREATE TABLE public.bare (id int PRIMARY KEY, ip inet); INSERT INTO public.bare VALUES (1, '10.0.0.1')`,
  )
  t.teardown(() => admin.query('DROP TABLE public.bare'))
  const args = arguments_('bare', { to: 'Ip token' })
  t.match(await run(args), {
    code: 2,
    stdout: '',
    stderr:
      /^tokenvault: table_unsuitable: public\.bare has no column Ip token; add it with --create-column, or: ALTER TABLE public\.bare ADD COLUMN "Ip token" varchar\(256\)\. /,
  })
  t.match(await run([...args, '--create-column', '--dry-run']), {
    code: 0,
    stdout: /1 to fill; "Ip token" would be added/,
  })
  t.match(await run([...args, '--create-column']), {
    code: 0,
    stderr: '',
    stdout: /^public\.bare: 1 filled\nNext: run it again with --verify/,
  })
  t.match(await run([...args, '--create-column']), { code: 0, stdout: /: 0 filled/ }, 'which is there now')
  t.match(await run(['backfill', '--forget', '--table', 'bare', '--to', 'Ip token']), {
    code: 0,
    stdout: 'public.bare: "Ip token" is not reconciled any more\n',
  })
  t.match(await run(['backfill', '--forget', '--table', 'bare', '--to', 'Ip token']), {
    code: 2,
    stderr: /no such column/,
  })
})

t.test(
  'a row that changes while its token is made gets that of its new value, and rows that are added theirs',
  async t => {
    await createTable(t, 'public.busy', 100)
    const proxy = await startStoreProxy(t, api.origin, {
      async after(call, answer) {
        if (call === 1)
          await admin.query(`UPDATE public.busy SET ip = '10.88.0.1' WHERE id = 3; UPDATE public.busy SET note = 'x' WHERE id = 4;
          DELETE FROM public.busy WHERE id = 5; INSERT INTO public.busy (id, ip) VALUES (-1, '10.88.0.2')`)
        return answer
      },
    })
    const result = await summary([...arguments_('busy', { url: proxy.url }), '--batch-size', '30'])
    t.match(result, { code: 0, filled: 100, changed: 3, open: 0, passes: 3, isDone: true })
    t.strictSame(await compare('busy'), { wrong: 0, open: 0, filled: 100 })

    await admin.query(`UPDATE public.busy SET ip = '10.88.0.9' WHERE id = 50`)
    const stale = await run([...arguments_('busy'), '--verify', '--show-keys'])
    t.match(stale, {
      code: 1,
      stdout:
        /verified: 99 tokens are those of the values beside them, 1 are not\nanother value \(id\) = \(50\)\nSet ip_token to null in rows/,
    })
    t.notMatch(stale.stdout, /DROP/)
  },
)

t.test(
  'killed at every batch boundary and in the middle of each batch, the next run goes on; nothing twice, nothing lost',
  async t => {
    await createTable(t, 'public.killed', 120, ', times int NOT NULL DEFAULT 0')
    await admin.query(`CREATE FUNCTION public.count_times() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.times := OLD.times + 1; RETURN NEW; END $$;
    CREATE TRIGGER count_times BEFORE UPDATE ON public.killed FOR EACH ROW EXECUTE FUNCTION public.count_times()`)
    t.teardown(() => admin.query('DROP FUNCTION public.count_times CASCADE'))
    // A batch is read, stored and written: the process dies before the API is asked, before it hears the answer, or while the
    // table is being written.
    let kill = (): void => {}
    let where: 'asked' | 'answered' = 'asked'
    const proxy = await startStoreProxy(t, api.origin, {
      before: () => {
        if (where !== 'asked') return 'pass'
        kill()
        return 'hang'
      },
      after: () => void kill(),
    })
    const start = (url: string, batch: string) =>
      startCommand(t, [...arguments_('killed', { url }), '--batch-size', batch], environment)
    for (const place of ['asked', 'answered'] as const) {
      where = place
      const command = start(proxy.url, '30')
      kill = () => command.process.kill('SIGKILL')
      t.match(await command.ended, { signal: 'SIGKILL' }, place)
      t.match(await compare('killed'), { filled: 0 })
    }
    for (let batch = 1; batch <= 3; batch++) {
      // Passes one batch on, and dies at the boundary: when it asks for the next.
      let calls = 0
      const counting = await startStoreProxy(t, api.origin, {
        before: () => {
          if (++calls === 1) return 'pass'
          kill()
          return 'hang'
        },
      })
      const command = start(counting.url, '30')
      kill = () => command.process.kill('SIGKILL')
      await command.ended
      t.strictSame(await compare('killed'), { wrong: 0, open: 120 - batch * 30, filled: batch * 30 })
    }
    // While it writes: another transaction holds a row of the batch.
    const holder = await connectTo(t, vault.adminUrl)
    await holder.query('BEGIN; SELECT FROM public.killed WHERE id = 100 FOR UPDATE')
    const command = start(api.origin, '30')
    await until('the batch waits for the row', async () => {
      const { rows } = await admin.query(
        `SELECT FROM pg_stat_activity WHERE application_name = 'tokenvault backfill' AND wait_event_type = 'Lock'`,
      )
      return rows.length > 0
    })
    command.process.kill('SIGKILL')
    await command.ended
    await holder.query('COMMIT')
    t.match(await summary([...arguments_('killed'), '--batch-size', '30']), { code: 0, open: 0, isDone: true })
    t.strictSame(await compare('killed'), { wrong: 0, open: 0, filled: 120 })
    t.strictSame(
      (await admin.query('SELECT DISTINCT times FROM public.killed')).rows,
      [{ times: 1 }],
      'each row was written once',
    )
  },
)

t.test(
  'a second backfill of the column is refused by name while the first runs, and not after it was killed',
  async t => {
    await createTable(t, 'public.twice', 50)
    let asked = (): void => {}
    const first = new Promise<void>(resolve => {
      asked = resolve
    })
    const proxy = await startStoreProxy(t, api.origin, {
      before: () => {
        asked()
        return 'hang'
      },
    })
    const command = startCommand(t, arguments_('twice', { url: proxy.url }), environment)
    await first
    t.match(await run(arguments_('twice')), {
      code: 1,
      stdout: '',
      stderr: /^tokenvault: backfill_running: another backfill fills column ip_token of public\.twice\. /,
    })
    command.process.kill('SIGKILL')
    await command.ended
    await until('the server has noticed', async () => (await run(arguments_('twice'))).code === 0)
    t.match(await compare('twice'), { wrong: 0, open: 0 })
  },
)

t.test(
  'an API that is away for a moment is waited for; one that stays away or says no ends the run with what to do',
  async t => {
    await createTable(t, 'public.away', 40)
    const problem = (code: string) => ({ code, title: 'Title.', requestId: 'r', remedy: 'Remedy.' })
    const flaky = await startStoreProxy(t, api.origin, {
      before: call => {
        if (call === 1) return { status: 503, body: problem('overloaded'), headers: { 'retry-after': '1' } }
        if (call === 2) return { status: 502, body: {} }
        return 'pass'
      },
    })
    t.match(await summary([...arguments_('away', { url: flaky.url }), '--batch-size', '20']), { code: 0, filled: 40 })

    await admin.query('UPDATE public.away SET ip_token = NULL')
    const late = await startStoreProxy(t, api.origin, {
      before: call =>
        call === 1 ? 'pass' : { status: 503, body: problem('overloaded'), headers: { 'retry-after': '3600' } },
    })
    const ended = await run([...arguments_('away', { url: late.url }), '--batch-size', '20', '--json'])
    t.match(ended, { code: 1, stderr: /^tokenvault: api_unavailable: 503 overloaded: .*Retry-After: 3600 seconds/ })
    t.match(
      JSON.parse(ended.stdout),
      { filled: 20, failed: true, isDone: false },
      'what was done is told, and stays done',
    )

    const frugal = await run([...arguments_('away', { role: 'frugal' }), '--batch-size', '20'])
    t.match(frugal, {
      code: 1,
      stdout: /^failed: public\.away: 0 filled\nRun it again to go on\.\n$/,
      stderr: /budget_exceeded/,
    })
    const nobody = await run(arguments_('away', { role: 'nobody' }))
    t.match(nobody, { code: 1, stderr: /^tokenvault: api_refused: / })
    t.notMatch(frugal.stderr + nobody.stderr + ended.stderr, /10\.77\./)
    t.match(await run([...arguments_('away'), '--rate', '1000']), { code: 0 })
  },
)

t.test('columns of type uuid and inet get tokens of these types, where their fields have such tokens', async t => {
  const file = join(directory, 'fields.yaml')
  writeFileSync(
    file,
    `version: 1
fields:
  - { name: ip, rule: ip.v1, column: masked_ip }
  - { name: device_id, rule: device_id.v1, column: masked_device_id }
  - { name: host, rule: ip.v1, column: masked_host, format: inet, required: false }
  - { name: install, rule: text.v1, column: masked_install, format: uuid, required: false }
`,
  )
  const fields = readFields({ FIELDS_FILE: file })
  const owner = vault.database(undefined, 1)
  await createMissingKeys(createKeyWriter(owner), openLocalKek(vault.kekFile), { tenant: testTenant, fields })
  await createFieldRecordWriter(owner).recordFields([...fields.values()].map(describeField))
  const { app, close } = await composeApi(
    loadConfig('api', { ...api.environment, FIELDS_FILE: file }),
    createLog('fatal'),
    {},
  )
  t.teardown(close)
  const url = `http://127.0.0.1:${await listen(app, { host: '127.0.0.1', port: 0 })}`
  await admin.query(`CREATE TABLE public.typed (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), address inet, app uuid);
    INSERT INTO public.typed (address, app) SELECT inet '2001:db8::' + n, gen_random_uuid() FROM generate_series(1, 20) AS n;
    INSERT INTO public.typed (address) VALUES ('10.0.0.0/8')`)
  t.teardown(() => admin.query('DROP TABLE public.typed'))
  const fill = (column: string, field: string) =>
    runInProcess(
      [
        ...[
          'backfill',
          '--table',
          'typed',
          '--column',
          column,
          '--to',
          `${field}_token`,
          '--field',
          field,
          '--create-column',
        ],
        ...[
          '--purpose',
          'migration',
          '--url',
          url,
          '--jwt-file',
          join(directory, 'filler'),
          '--verify',
          '--batch-size',
          '7',
        ],
      ],
      { ...environment, FIELDS_FILE: file },
    )
  t.match(await fill('address', 'host'), {
    code: 1,
    stdout: /: 20 filled, 1 refused \(value_invalid\)\nverified: 20 tokens/,
  })
  t.match(await fill('app', 'install'), { code: 0, stdout: /: 20 filled\nverified: 20 tokens/ })
  const { rows } = await admin.query(
    `SELECT DISTINCT pg_typeof(host_token)::text AS host, pg_typeof(install_token)::text AS install FROM public.typed`,
  )
  t.strictSame(rows, [{ host: 'inet', install: 'uuid' }])
  const reconciled = await runInProcess(['reconcile'], {
    DATABASE_URL: vault.urlFor('tokenvault_auditor'),
    FIELDS_FILE: '',
  })
  t.match(reconciled.stdout, /^column host_token of public\.typed: 20 tokens of host, each with its original$/m)
  t.match(reconciled.stdout, /^column install_token of public\.typed: 20 tokens of install, each with its original$/m)
  for (const to of ['host_token', 'install_token']) await run(['backfill', '--forget', '--table', 'typed', '--to', to])
})

t.test('an API that answers something other than tokens of the field changes nothing', async t => {
  await createTable(t, 'public.lied', 3)
  for (const forge of [
    (value: string) => value,
    () => 'device_id_v1_WeHPqziSnryoK7aMD4uLDg',
    () => 'ip_v1_WeHPqziSnryoK7aMD4uLDh',
    () => '',
  ]) {
    const liar = await startStoreProxy(t, api.origin, {
      before: (_, body) => ({
        status: 200,
        body: {
          results: JSON.parse(body).values.map(({ value }: { value: string }) => ({
            field: 'ip',
            token: forge(value),
          })),
        },
      }),
    })
    t.match(await run(arguments_('lied', { url: liar.url })), {
      code: 1,
      stderr: /^tokenvault: api_unavailable: the API answered something that is not a token of ip/,
    })
  }
  const short = await startStoreProxy(t, api.origin, { before: () => ({ status: 200, body: { results: [] } }) })
  t.match(await run(arguments_('lied', { url: short.url })), { code: 1, stderr: /did not answer every value/ })
  t.match(await compare('lied'), { filled: 0 })
})

t.test('no value goes to the server of the database, to its log, or to the terminal', async t => {
  const canary = '198.51.100.231'
  const wrong = 'canary-that-is-no-address'
  await createTable(t, 'public.canaries', 20)
  // As psql would store them, and not as a statement of a backfill.
  await admin.query('UPDATE public.canaries SET ip = $1 WHERE id = 1', [canary])
  await admin.query('UPDATE public.canaries SET ip = $1 WHERE id = 2', [wrong])
  await admin.query(`CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'row % is refused', OLD.id; END $$;
    CREATE TRIGGER refuse BEFORE UPDATE ON public.canaries FOR EACH ROW WHEN (OLD.id = 3) EXECUTE FUNCTION public.refuse()`)
  t.teardown(() => admin.query('DROP FUNCTION public.refuse CASCADE'))
  const talkative = {
    log_statement: 'all',
    log_min_messages: 'notice',
    log_min_error_statement: 'info',
    log_error_verbosity: 'verbose',
  }
  const lengths = { log_parameter_max_length: '-1', log_parameter_max_length_on_error: '-1' }
  for (const [setting, value] of Object.entries({ ...talkative, ...lengths }))
    await admin.query(`ALTER DATABASE ${vault.name} SET ${setting} = '${value}'`)
  const before = readClusterLog().length
  const failed = await run([...arguments_('canaries'), '--batch-size', '2', '--show-keys'])
  t.match(failed, { code: 1, stderr: /^tokenvault: store_\w+: / })
  await admin.query('DROP TRIGGER refuse ON public.canaries')
  const done = await run([...arguments_('canaries'), '--batch-size', '2', '--show-keys', '--verify'])
  t.match(done, { code: 1, stdout: /1 refused \(value_invalid\)/ })
  await admin.query(`ALTER DATABASE ${vault.name} RESET ALL`)
  const logged = readClusterLog().slice(before)
  t.match(logged, /update "public"\."canaries"/, 'its statements are in the log')
  t.match(logged, /row 3 is refused/, 'with its errors')
  t.match(logged, /ip_v1_/, 'and parameters')
  for (const text of [logged, failed.stdout + failed.stderr, done.stdout + done.stderr, api.logged()])
    for (const value of [canary, wrong]) t.notMatch(text, value)
})

t.test('SIGINT ends it after the batch, and the next run goes on', async t => {
  await createTable(t, 'public.stopped', 100)
  let stop = (): void => {}
  const proxy = await startStoreProxy(t, api.origin, {
    after: (call, answer) => {
      if (call === 2) stop()
      return answer
    },
  })
  const command = startCommand(t, [...arguments_('stopped', { url: proxy.url }), '--batch-size', '20'], environment)
  stop = () => command.process.kill('SIGINT')
  t.match(await command.ended, { code: 1 })
  t.equal(command.stdout(), 'stopped: public.stopped: 40 filled\nRun it again to go on.\n')
  t.match(await summary(arguments_('stopped')), { code: 0, filled: 60 })
})

t.test('mistakes of usage are told before anything is done', async t => {
  await createTable(t, 'public.usage', 1)
  const all = arguments_('usage')
  const without = (option: string) => all.toSpliced(all.indexOf(option), 2)
  for (const option of ['--column', '--field', '--purpose'])
    t.match(await run(without(option)), { code: 2, stderr: new RegExp(`usage: ${option} is missing`) })
  for (const option of ['--table', '--to']) t.match(await run(without(option)), { code: 2, stderr: new RegExp(option) })
  t.match(await run([...without('--field'), '--field', 'email']), {
    code: 2,
    stderr: /--field must be one of ip, device_id/,
  })
  for (const batch of ['0', '10001', 'x']) t.match(await run([...all, '--batch-size', batch]), { code: 2 })
  const nowhere = await runCommand(t, [...all, '--data-dir', 'nowhere'])
  t.match(nowhere, { code: 2, stderr: /config_invalid: DATABASE_URL is not set/ })
  const auditor = await runInProcess(all, { DATABASE_URL: vault.urlFor('tokenvault_auditor') })
  t.match(auditor, { code: 2, stderr: /this login may not read column ip/ })
  t.match(await compare('usage'), { filled: 0 })
})
