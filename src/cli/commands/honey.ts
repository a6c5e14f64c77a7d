import { randomUUID } from 'node:crypto'
import type { Command } from 'commander'
import { composeQueue } from '../../compose/queue.ts'
import { loadConfig } from '../../config/load.ts'
import { TokenvaultError } from '../../errors.ts'
import { createLog } from '../../log.ts'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { sampleEvents } from '../local/sample-events.ts'
import { orEmbedded } from '../local/state.ts'
import { environmentHelp, parsePageSize, wholeNumber } from '../terminal/options.ts'
import { print, printable } from '../terminal/print.ts'
import { formatTextTable } from '../terminal/text-table.ts'

const roles = ['security']

/** `tokenvault honey …`: tokens that nobody has a reason to open. */
export function configure(honey: Command): void {
  const add = (usage: string, description: string) =>
    addApiOptions(honey.command(usage).description(description), 'one of security')

  add('create', 'make honey tokens of values that never logged in')
    .option('--field <field>', 'field of the values, e.g. ip')
    .option('--count <count>', 'how many, 1 to 100', wholeNumber(1, 100), 1)
    .requiredOption('--note <text>', 'where you lay them out; whoever is told of an alarm reads it')
    .option('--like <value>', 'a value whose form they take, e.g. 593-47-5928; never one of a person')
    .option('--plant', 'instead of --field: log a synthetic user in with an address and a device, through the queue')
    .addHelpText('after', `\n--plant sends messages as a producer does, and needs:${environmentHelp('dlq')}`)
    .action(create)
  add('list', 'list honey tokens, newest first, and who met them')
    .option('--limit <count>', 'honey tokens a page, 1 to 1000', parsePageSize, '100')
    .option('--before <id>', 'continue behind the page before, which named this id')
    .action(list)
  add('retire <id>', 'raise no more alarms for a honey token').action(retire)
}

interface Made {
  readonly id: string
  readonly token: string
  readonly value: string
}

type CreateOptions = ApiOptions & {
  readonly field?: string
  readonly count: number
  readonly note: string
  readonly like?: string
  readonly plant?: true
}

async function create(options: CreateOptions): Promise<void> {
  const { field, count, note, like, plant } = options
  if ((field === undefined) === (plant === undefined))
    throw new TokenvaultError('usage', 'give either --field or --plant')
  if (field !== undefined) {
    const honey = await make(options, { field, count, note, like })
    return tellMade(options, honey)
  }
  const environment = orEmbedded(process.env, options.dataDir)
  // Its configuration is checked before anything is made.
  const queue = await composeQueue(loadConfig('dlq', environment), createLog('warn'), environment)
  try {
    const addresses = await make(options, { field: 'ip', count, note })
    const devices = await make(options, { field: 'device_id', count, note, like })
    const bodies = [...sampleEvents(count, Date.now() >>> 0)].map((event, index) =>
      JSON.stringify({
        ...event,
        user_id: randomUUID(),
        ip: addresses[index]!.value,
        device_id: devices[index]!.value,
      }),
    )
    await queue.send(bodies)
    tellMade(options, [...addresses, ...devices])
  } finally {
    queue.close()
  }
}

async function make(options: ApiOptions, body: object): Promise<readonly Made[]> {
  const call = { method: 'POST', path: '/v1/honey', body, roles } as const
  return (await callApi<{ honey: readonly Made[] }>(options, call)).honey
}

/** The values are told by the API so that they can be planted; on a terminal they are of no use. */
function tellMade({ json }: ApiOptions, honey: readonly Made[]): void {
  const told = honey.map(({ id, token }) => ({ id, token }))
  print(
    json
      ? JSON.stringify({ honey: told })
      : formatTextTable(
          ['id', 'token'],
          told.map(({ id, token }) => [id, token]),
        ),
  )
}

interface Listed {
  readonly id: string
  readonly token: string
  readonly note: string
  readonly createdAt: string
  readonly retiredAt?: string
  readonly met: readonly { readonly at: string; readonly subject: string }[]
}

async function list(options: ApiOptions & { limit: string; before?: string }): Promise<void> {
  const { limit, before } = options
  const path = `/v1/honey?${new URLSearchParams({ limit, ...(before && { before }) })}`
  const listed = await callApi<{ honey: readonly Listed[]; next?: string }>(options, { method: 'GET', path, roles })
  if (options.json) return print(JSON.stringify(listed))
  const rows = listed.honey.map(({ id, token, note, retiredAt, met: [newest] }) => [
    id,
    token,
    printable(note),
    retiredAt === undefined ? 'laid out' : 'retired',
    newest === undefined ? '' : `${newest.at} ${printable(newest.subject)}`,
  ])
  print(rows.length === 0 ? 'no honey tokens' : formatTextTable(['id', 'token', 'note', 'state', 'last met'], rows))
  if (listed.next !== undefined) print(`more: --before ${listed.next}`)
}

async function retire(id: string, options: ApiOptions): Promise<void> {
  const path = `/v1/honey/${encodeURIComponent(id)}/retire`
  const retired = await callApi<object>(options, { method: 'POST', path, roles })
  print(options.json ? JSON.stringify(retired) : `${printable(id)} is retired`)
}
