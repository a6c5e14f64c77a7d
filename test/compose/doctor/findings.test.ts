import t from 'tap'
import { judgeClock } from '../../../src/compose/doctor/clocks.ts'
import { type Check, ok, runChecks } from '../../../src/compose/doctor/findings.ts'
import { guessSubjects } from '../../../src/compose/doctor/subjects.ts'
import { TokenvaultError } from '../../../src/errors.ts'

const check = (name: string, run: Check['run'], same?: string) => ({
  subject: 'worker',
  check: { name, run, ...(same === undefined ? {} : { same }) },
})

t.test('one check that fails, throws or never ends leaves the others alone, and each is told in its place', async t => {
  const told: string[] = []
  const { promise: never } = Promise.withResolvers<never>()
  let given: AbortSignal | undefined
  const { promise: late, resolve: comeLate } = Promise.withResolvers<void>()
  const found = await runChecks(
    [
      check('slow', async () => {
        await late
        return [ok('slow')]
      }),
      check('of ours', async () => {
        throw new TokenvaultError('config_invalid', '2 problems:\n  one\n  two')
      }),
      check('a fault', async () => {
        comeLate()
        throw new TypeError('secret-canary')
      }),
      check('hangs', signal => {
        given = signal
        return never
      }),
      check('twice', async () => [ok('first')], 'place'),
      check('twice', async () => [ok('second')], 'place'),
      check('twice', async () => [ok('elsewhere')], 'other place'),
    ],
    { longestMilliseconds: 50, tell: ({ check: name, status, says }) => told.push(`${status} ${name}: ${says}`) },
  )
  t.strictSame(told, [
    'ok slow: slow',
    'fail of ours: one',
    'fail of ours: two',
    'fail a fault: the check itself failed',
    'fail hangs: no answer within 0.05 s',
    'ok twice: first',
    'ok twice: elsewhere',
  ])
  t.equal(found.length, told.length)
  t.equal(given?.aborted, true, 'what hangs is told to end')
})

t.test('a clock is judged by the smallest difference that explains what was seen', t => {
  const now = 1_800_000_000_000
  const judge = (serverMs: number, breaks?: string) =>
    judgeClock(
      { serverMs, sentAtMs: now, receivedAtMs: now + 2_000 },
      { resolutionMilliseconds: 1000, toleranceSeconds: 30, breaks },
    )
  const cases: [serverMs: number, status: string, says: RegExp][] = [
    [now, 'ok', /^the same/],
    [now + 2_000, 'ok', /^the same/],
    [now - 1_000, 'ok', /^the same/],
    [now - 11_000, 'ok', /^10 s behind that of this host$/],
    [now - 31_000, 'ok', /^30 s behind/],
    [now - 31_001, 'fail', /^30 s behind that of this host: nothing works$/],
    [now + 32_001, 'fail', /^30 s ahead of that of this host: nothing works$/],
    [now + 602_000, 'fail', /^10 min ahead/],
    [now - 86_401_000, 'fail', /^24 h behind/],
    [now - 3 * 86_400_000, 'fail', /^3 days behind/],
  ]
  for (const [serverMs, status, says] of cases)
    t.match(judge(serverMs, 'nothing works'), { status, says }, String(says))
  t.match(judge(now + 100_000), { status: 'warn', says: /^98 s ahead of that of this host$/ })
  t.match(judgeClock(undefined, { resolutionMilliseconds: 0, toleranceSeconds: 30 }), { status: 'skip' })
  t.end()
})

t.test('what an environment is for is told by the login, and where that is none of ours by the variables', t => {
  const url = (login: string) => `postgresql://${login}:secret@db.example/vault`
  const cases: [environment: Record<string, string>, names: readonly string[]][] = [
    [{}, []],
    [{ DATABASE_URL: url('postgres') }, ['migrate']],
    [{ DATABASE_URL: url('tokenvault_worker'), JWKS_URL: 'https://issuer.test/jwks' }, ['worker']],
    [{ DATABASE_URL: url('tokenvault_api') }, ['api']],
    [{ DATABASE_URL: url('tokenvault_auditor') }, ['auditor']],
    [{ DATABASE_URL: 'postgresql://tokenvault_analyst@/vault?host=/tmp' }, ['analyst']],
    [{ DATABASE_URL: url('postgres'), SQS_QUEUE_URL: 'x', JWT_ISSUER: 'y' }, ['worker', 'api']],
    [{ DATABASE_URL: 'nonsense', SQS_QUEUE_URL_FILE: 'x' }, ['worker']],
    [{ JWKS_URL: 'x' }, ['api']],
  ]
  for (const [environment, names] of cases) t.strictSame(guessSubjects(environment), names, JSON.stringify(environment))
  t.end()
})
