import t from 'tap'
import { TokenvaultError } from '../src/errors.ts'
import { createLog, describeError, type Log } from '../src/log.ts'

const secret = '203.0.113.7'

/** The lines that a use of a log writes, parsed, and as text. */
function linesOf(use: (log: Log) => void, level = 'debug') {
  const texts: string[] = []
  use(createLog(level, { write: line => texts.push(line) }))
  return { text: texts.join(''), lines: texts.map(text => JSON.parse(text) as Record<string, unknown>) }
}

/** What the driver throws for a unique violation: the value stands in three places. */
function postgresError(): Error {
  const error = new Error(`duplicate key value violates unique constraint: (ip)=(${secret})`)
  return Object.assign(error, {
    code: '23505',
    detail: `Key (ip)=(${secret}) already exists.`,
    where: secret,
    severity: 'ERROR',
  })
}

function parserError(): unknown {
  try {
    return JSON.parse(`{"ip": "${secret}" oops`)
  } catch (error) {
    return error
  }
}

t.test('a line holds level, time and the fields that the list allows', async t => {
  const { lines } = linesOf(log => log.info({ event: 'batch', rows: 3, ip: secret, body: { ip: secret }, msg2: 'x' }))
  t.same(Object.keys(lines[0]!).toSorted(), ['event', 'level', 'rows', 'time'])
  t.match(lines[0], { level: 'info', event: 'batch', rows: 3, time: /^\d{4}-\d\d-\d\dT.*Z$/ })
})

t.test('fields that are not on the list are dropped, from children too', async t => {
  const { text, lines } = linesOf(log => {
    const child = log.child({ component: 'worker', value: secret })
    child.info({ event: 'one', token: secret })
    child.child({ ip: secret, requestId: 'r-1' }, { level: 'debug' }).warn({ event: 'two' })
  })
  t.match(lines, [
    { component: 'worker', event: 'one' },
    { component: 'worker', requestId: 'r-1', event: 'two' },
  ])
  t.notMatch(text, secret)
})

t.test('the text of a foreign error is never written, however the error is handed over', async t => {
  const errors = [postgresError(), parserError(), Object.assign(new TypeError(secret), { code: `bad ${secret}` })]
  for (const error of errors) {
    const { text, lines } = linesOf(log => {
      log.error({ event: 'failed', err: error })
      log.error({ event: 'failed', err: error }, 'a text of ours')
      log.error(error)
      log.error(error, 'a text of ours')
      log.error({ err: new TokenvaultError('store_unavailable', undefined, { cause: error }) })
      log.error({
        err: new TokenvaultError('audit_unavailable', undefined, {
          cause: new TokenvaultError('store_unavailable', undefined, { cause: error }),
        }),
      })
      log.child({ err: error }).warn({ event: 'child' })
      log.warn({ err: new AggregateError([error], secret, { cause: error }) })
      log.fatal({ err: { message: secret, stack: secret } })
      log.fatal({ err: secret })
    })
    t.notMatch(text, secret)
    t.equal(lines.length, 10)
    t.equal(lines[1]?.['msg'], 'a text of ours')
  }
})

t.test('what is safe to know of a foreign error is kept: type, code and frames', async t => {
  t.match(describeError(postgresError()), { type: 'Error', code: '23505', frames: [/^at .*log\.test\.ts/] })
  t.match(describeError(parserError()), { type: 'SyntaxError', frames: [/^at JSON\.parse/] })
  t.notOk(
    'code' in describeError(Object.assign(new Error(), { code: `Key (ip)=(${secret})` })),
    'a code that is no code',
  )
  t.same(describeError(secret), { type: 'string' })
  t.same(describeError(null), { type: 'object' })
  const multiline = new Error(`first\n    second line of the message: ${secret}\n${secret}`)
  t.notMatch(JSON.stringify(describeError(multiline)), secret, 'a message of many lines')
})

t.test('errors of ours keep their text, and so do causes of ours', async t => {
  const cause = new TokenvaultError('store_unavailable', 'connection refused (ECONNREFUSED)', {
    cause: postgresError(),
  })
  const { lines } = linesOf(log => log.error({ err: new TokenvaultError('audit_unavailable', undefined, { cause }) }))
  t.match(lines[0]?.['err'], {
    code: 'audit_unavailable',
    message: /^The audit event/,
    cause: {
      code: 'store_unavailable',
      message: 'connection refused (ECONNREFUSED)',
      cause: { type: 'Error', code: '23505' },
    },
  })
})

t.test('lines below the level are not written', async t => {
  t.equal(linesOf(log => log.info({ event: 'quiet' }), 'warn').lines.length, 0)
})
