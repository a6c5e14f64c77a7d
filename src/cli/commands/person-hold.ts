import type { Command } from 'commander'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { tell } from '../terminal/tell.ts'

const roles = ['privacy']

/** Adds `tokenvault person hold` and `person release`. */
export function addPersonHold(person: Command): void {
  const hold = person
    .command('hold <user-id>')
    .description('put a legal hold on the data of a person: neither erasure nor retention removes any of it')
    .requiredOption('--until <day>', 'last UTC day of the hold, e.g. 2027-12-31')
    .requiredOption('--reason <reason>', 'short identifier, e.g. litigation')
    .option('--ticket <ticket>', 'ticket under which you act')
  addApiOptions(hold, 'the privacy desk').action(runHold)
  const release = person
    .command('release <user-id>')
    .description('release the legal hold on the data of a person')
    .option('--ticket <ticket>', 'ticket under which you act')
  addApiOptions(release, 'the privacy desk').action(runRelease)
}

type HoldOptions = ApiOptions & { readonly until: string; readonly reason: string; readonly ticket?: string }

async function runHold(userId: string, options: HoldOptions): Promise<void> {
  const { until, reason, ticket } = options
  const body = { userId, until, reason, ticket }
  const answer = await callApi<{ until: string }>(options, { method: 'POST', path: '/v1/people/hold', body, roles })
  tell(options, answer, [`held until the end of ${answer.until}`])
}

async function runRelease(userId: string, options: ApiOptions & { readonly ticket?: string }): Promise<void> {
  const body = { userId, ticket: options.ticket }
  const answer = await callApi<object>(options, { method: 'POST', path: '/v1/people/release', body, roles })
  tell(options, answer, ['the hold is released'])
}
