import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type Command, startCommand } from '../helpers/cli/cli.ts'
import { runInProcess } from '../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { issuer, signJwt } from '../helpers/http/jwks-server.ts'
import { type Caller, callAs, createVaultWorld } from '../helpers/http/vault-api.ts'

const perDay = 60
const mostInCall = 4
// So much that the budget refuses before a second person is asked, and a larger call after the lift asks for one.
const above = perDay + mostInCall
const calledAfterLift = 12
const policy = `
version: 1
roles:
  investigator:
    reveal: { "*": full }
    purposes: ["*"]
    budget: { per_day: ${perDay} }
    approval: { above: ${above} }
  support:
    reveal: { "*": partial }
    purposes: ["*"]
    ticket: required
  approver: { approve: true }
  administrator: { suspensions: true }
`

/** The port, once the process listens. */
async function portOf(api: Command): Promise<number> {
  for await (const _ of api.process.stderr!) {
    const listening = /"event":"api_listening","port":(\d+)/.exec(api.stderr())
    if (listening !== null) return Number(listening[1])
  }
  throw new Error(`ended before it listened:\n${api.stderr()}`)
}

t.test(
  'four API processes, one stolen JWT: it gets its budget and not one value more',
  { timeout: 150_000 },
  async t => {
    const world = await createVaultWorld(t, { policy, originals: 200 })
    const { key, tokens, environment, events } = world
    const processes = Array.from({ length: 4 }, () => startCommand(t, ['api'], environment))
    const ports = await Promise.all(processes.map(portOf))
    const origins = ports.map(port => `http://127.0.0.1:${port}`)
    const thief: Caller = { sub: 'casey', roles: ['investigator'] }
    const purpose = 'fraud_investigation'

    // Four processes, eight requests in flight at each, one to four values a request, until each has been refused.
    const taken = new Set<string>()
    const codes = new Set<string>()
    const lanes = origins.flatMap((origin, n) => Array.from({ length: 8 }, (_, lane) => ({ origin, at: n * 8 + lane })))
    await Promise.all(
      lanes.map(async ({ origin, at }) => {
        for (let from = at * 6; ; from = (from + 5) % tokens.length) {
          const asked = tokens.slice(from, from + 1 + (from % mostInCall))
          const { status, json } = await callAs({ key, origin }, thief, 'POST', '/v1/detokenize', {
            purpose,
            tokens: asked,
          })
          for (const { value } of json['results'] ?? []) taken.add(value)
          // 503: four processes on a busy machine may say that they are too busy.
          if (status === 200 || status === 503) continue
          codes.add(json['code'])
          return
        }
      }),
    )
    t.ok(taken.size > 0 && taken.size <= perDay, `${taken.size} values of a budget of ${perDay}`)
    t.strictSame([...codes].sort(), ['budget_exceeded', 'principal_suspended'])
    const given = (await events()).reduce((sum, { tokens: named }) => sum + (named as string[]).length, 0)
    t.ok(given <= perDay && given > perDay - mostInCall, `${given} tokens revealed, as the evidence says`)
    const order = (await events()).map(({ code = '' }) => code)
    t.equal(order.filter(code => code === 'budget_exceeded').length, 1, 'the first refusal suspends, in all processes')
    t.ok(order.slice(order.indexOf('budget_exceeded') + 1).every(code => code === 'principal_suspended'))

    // The same processes, from the shell.
    const directory = temporaryDirectory(t)
    const jwtOf = async (sub: string, ...roles: string[]) => {
      const file = join(directory, `${sub}-${roles}`)
      writeFileSync(file, await signJwt(key, { sub, roles }))
      return file
    }
    const as = async (jwtFile: string, ...args: string[]) =>
      runInProcess([...args, '--url', origins[args.length % 4]!, '--jwt-file', jwtFile])
    const admin = await jwtOf('alex', 'administrator')
    const investigator = await jwtOf('casey', 'investigator')
    const approver = await jwtOf('robin', 'approver')
    const [token = ''] = tokens

    const listed = await as(admin, 'suspension', 'list')
    const refused = await as(investigator, 'detokenize', token, '--purpose', purpose)
    t.match(listed.stdout, /^subject +issuer +suspended at\n-.*\ncasey +https:\/\/issuer.test +20/)
    t.match(refused, { code: 1, stderr: /api_refused: 403 principal_suspended/ })
    const lifted = await as(admin, 'suspension', 'lift', 'casey', '--issuer', issuer)
    t.match(lifted, { code: 0, stdout: 'casey may act again\n' })

    const many = ['detokenize', ...tokens.slice(0, calledAfterLift), '--purpose', purpose]
    const asked = await as(investigator, ...many)
    t.match(asked, { code: 3, stdout: '', stderr: /needs an approval.*`tokenvault approval approve [0-9a-f-]{36}`/ })
    const [id = ''] = /[0-9a-f-]{36}/.exec(asked.stderr) ?? []
    const pending = await as(approver, 'approval', 'list')
    const shown = await as(investigator, 'approval', 'show', id)
    t.match(pending.stdout, new RegExp(`\\n${id} +casey +${purpose} +full +${calledAfterLift} +20`))
    t.match(shown.stdout, new RegExp(`state +pending\\n(.|\\n)*roles +investigator\\nfields +ip ${calledAfterLift}\\n`))
    const approved = await as(approver, 'approval', 'approve', id)
    t.match(approved, { code: 0, stdout: /approved; whoever asked has 15 minutes/ })

    const support = await jwtOf('kim', 'support')
    const all = await as(investigator, ...many, '--approval', id)
    const inPart = ['--reveal', 'partial', '--ticket', 'SUP-1']
    const part = await as(support, 'detokenize', token, '--purpose', purpose, ...inPart)
    const tooLate = await as(approver, 'approval', 'refuse', id)
    const lines = tokens.slice(0, calledAfterLift).map((each, n) => `${each}\t10.0.0.${n}\n`)
    t.match(all, { code: 0, stderr: '', stdout: lines.join('') })
    t.match(part, { code: 0, stdout: `${token}\t10.0.0.0/24\n` })
    t.match(tooLate, { code: 1, stderr: /409 approval_settled/ })
  },
)
