import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { startPostgres } from '../../src/embedded/postgres.ts'
import { createDatabase } from '../../src/store/postgres/database.ts'
import { runCommand } from '../helpers/cli/cli.ts'
import { findPlaintext } from '../helpers/cli/find-plaintext.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { type LoginInput, realInput, sampleInput } from '../helpers/vault/login-input.ts'

for (const chooseInput of [realInput, () => sampleInput(temporaryDirectory(t))]) {
  const input = chooseInput()
  t.test(`the main job, twice on the same state: ${input.name}`, { skip: input.skip, timeout: 120_000 }, async t => {
    const dataDir = temporaryDirectory(t)
    const first = await drain(t, dataDir, input)
    t.equal(first.code, 0, first.stderr)
    t.match(first.summary, { received: 100, stored: 99, quarantined: 1, duplicates: 0 })
    const afterFirst = await look(dataDir)
    t.match(afterFirst, {
      logins: 99,
      withoutLocale: 29,
      ips: 99,
      devices: 99,
      originals: 198,
      quarantined: 1,
      receipts: 100,
    })

    const second = await drain(t, dataDir, input)
    t.equal(second.code, 0, second.stderr)
    t.match(second.summary, { received: 100, stored: 99, quarantined: 1, duplicates: 0 })
    const afterSecond = await look(dataDir)
    t.match(afterSecond, { logins: 198, ips: 99, devices: 99, originals: 198, quarantined: 2, receipts: 200 })
    t.equal(afterSecond.tokens, afterFirst.tokens, 'the same values have the same tokens')

    const values = input.logins.flatMap(({ ip, device_id }) => [ip, device_id])
    t.strictSame(
      findPlaintext(dataDir, [...values, 'canary-no-event-7f3a', 'oops_wrong_msg_type']),
      [],
      'no file holds an original',
    )
  })
}

async function drain(t: Test, dataDir: string, input: LoginInput) {
  const args = ['up', '--drain', '--input', input.path, '--json', '--data-dir', dataDir, '--port', '0']
  const { code, stdout, stderr } = await runCommand(t, args)
  const lastLine = stdout.trimEnd().split('\n').at(-1)!
  return { code, stderr, summary: code === 0 ? JSON.parse(lastLine) : undefined }
}

interface Look {
  logins: number
  withoutLocale: number
  ips: number
  devices: number
  originals: number
  quarantined: number
  receipts: number
  tokens: string
}

async function look(dataDir: string): Promise<Look> {
  const postgres = await startPostgres({ dataDir, port: 0 })
  const url = new URL('/tokenvault', postgres.adminUrl).href
  const database = createDatabase({ url, poolMax: 1, applicationName: 'test' })
  try {
    const { rows } = await sql<Look>`
      select count(*)::int as logins, (count(*) filter (where locale is null))::int as "withoutLocale",
        count(distinct masked_ip)::int as ips, count(distinct masked_device_id)::int as devices,
        (select count(*)::int from pii_vault.originals) as originals,
        (select count(*)::int from pii_vault.quarantine) as quarantined,
        (select count(*)::int from ingest.receipts) as receipts,
        md5(string_agg(distinct masked_ip || masked_device_id, ',')) as tokens
      from user_logins`.execute(database)
    return rows[0]!
  } finally {
    await database.destroy()
    await postgres.stop()
  }
}
