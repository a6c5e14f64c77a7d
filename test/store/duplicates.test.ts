import t from 'tap'
import { fences } from '../helpers/docs/pages.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'

const views = [
  ['duplicate_devices', 'masked_device_id'],
  ['duplicate_ips', 'masked_ip'],
] as const

t.test('the views of duplicates count users and logins apart, and leave out logins without the value', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const login = async (user: string, value: string | null, day: string) => {
    await admin.query(
      'INSERT INTO user_logins (user_id, masked_ip, masked_device_id, create_date) VALUES ($1, $2, $2, $3)',
      [user, value, day],
    )
  }
  await login('u1', 'one-user-twice', '2026-01-01')
  await login('u1', 'one-user-twice', '2026-01-03')
  await login('u1', 'shared', '2026-01-02')
  await login('u2', 'shared', '2026-01-04')
  await login('u2', 'shared', '2026-01-05')
  await login('u3', 'alone', '2026-01-06')
  await login('u4', null, '2026-01-07')
  await login('u5', null, '2026-01-08')

  const analyst = await vault.connect('tokenvault_analyst')
  for (const [view, column] of views) {
    const { rows } = await analyst.query(
      `SELECT ${column}, logins::int, users::int, first_day::text, last_day::text FROM ${view} ORDER BY users`,
    )
    t.strictSame(
      rows,
      [
        { [column]: 'one-user-twice', logins: 2, users: 1, first_day: '2026-01-01', last_day: '2026-01-03' },
        { [column]: 'shared', logins: 3, users: 2, first_day: '2026-01-02', last_day: '2026-01-05' },
      ],
      view,
    )
  }

  const [byHand, byView] = fences
    .filter(({ page, language, text }) => {
      return page === 'docs/analysts.md' && language === 'sql' && /group by|duplicate_devices/.test(text)
    })
    .map(({ text }) => text)
  const answers = await Promise.all([byHand!, byView!].map(async text => (await analyst.query(text)).rows))
  t.strictSame(answers[0], [{ masked_device_id: 'shared', users: '2', logins: '3' }])
  t.strictSame(answers[1], answers[0], 'the page’s question to the view has the answer of the question by hand')
})
