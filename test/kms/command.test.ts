import t from 'tap'
import { openCommandKek } from '../../src/kms/command.ts'
import { createHeldKek } from '../../src/kms/held-key.ts'

const key = Buffer.from(Array.from({ length: 32 }, (_, index) => index * 7 + 3))
const { id } = createHeldKek('test', Buffer.from(key))
const environment = process.env

/** A shell command that prints exactly these bytes. */
function printing(bytes: Uint8Array): string {
  return `printf '${[...bytes].map(byte => `\\${byte.toString(8).padStart(3, '0')}`).join('')}'`
}

t.test('a key is read as bytes, in base64 and in hexadecimal digits', async t => {
  const base64 = key.toString('base64')
  const spellings = new Map<string, Uint8Array>([
    ['bytes', key],
    ['base64', Buffer.from(base64)],
    ['base64 and a newline', Buffer.from(`${base64}\n`)],
    ['base64 without padding', Buffer.from(base64.replace('=', ''))],
    ['base64url', Buffer.from(key.toString('base64url'))],
    ['hexadecimal digits', Buffer.from(key.toString('hex'))],
    ['capitals and a newline of Windows', Buffer.from(`${key.toString('hex').toUpperCase()}\r\n`)],
  ])
  for (const [name, bytes] of spellings) t.equal((await openCommandKek(printing(bytes), { environment })).id, id, name)
})

t.test('what prints no key is refused, and nothing of what it said is repeated', async t => {
  const secret = 'hunter2-hunter2'
  const wrong: [string, RegExp][] = [
    [`echo ${secret}`, /printed no key/],
    ['true', /printed no key/],
    [printing(key.subarray(1)), /printed no key/],
    [printing(Buffer.concat([key, key])), /printed no key/],
    [`echo ${secret} >&2; ${printing(key)}; exit 3`, /failed \(exit code 3\)/],
    ['/nothing/of/this/name', /failed \(exit code 127\)/],
    ['kill -9 $$', /failed \(exit code none\)/],
    ['yes', /printed more than a key/],
  ]
  for (const [command, says] of wrong) {
    const error = await openCommandKek(command, { environment }).then(
      () => undefined,
      reason => reason,
    )
    t.match(error, { code: 'kek_unavailable', message: says }, command.slice(0, 40))
    t.notMatch(error?.message, secret)
  }
})

t.test('a command that hangs is ended with all that it started', async t => {
  // What runs behind the shell holds its output open, and its end is waited for.
  const opening = openCommandKek('sleep 600 & wait', { environment, timeoutMilliseconds: 200 })
  await t.rejects(opening, { code: 'kek_unavailable', message: /did not end within 0.2 s/ })
})

t.test(
  'a command that cannot be started is refused by name, and secrets of ours are not in its environment',
  async t => {
    const failure = { code: 'kek_unavailable', message: /KEK_COMMAND cannot be started/ }
    await t.rejects(openCommandKek('true\0', { environment }), failure)
    const secrets = { DATABASE_URL: 'x', STORE_DATABASE_URL: 'x', DATABASE_URL_FILE: 'x', PGPASSWORD: 'x' }
    const command = `test -z "$DATABASE_URL$STORE_DATABASE_URL$DATABASE_URL_FILE$PGPASSWORD" && ${printing(key)}`
    t.equal((await openCommandKek(command, { environment: { ...environment, ...secrets } })).id, id)
  },
)
