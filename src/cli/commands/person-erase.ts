import { writeFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import type { ErasureCertificate } from '../../tlog/erasure-certificate.ts'
import type { EraseResult } from '../../vault/people/erase.ts'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { print } from '../terminal/print.ts'
import { formatTextTable } from '../terminal/text-table.ts'

interface EraseOptions extends ApiOptions {
  readonly ticket: string
  readonly rows?: 'remove' | 'anonymize'
  readonly dryRun?: true
  readonly approval?: string
  readonly out?: string
}

type Reply = Partial<Omit<Extract<EraseResult, { outcome: 'erased' }>, 'outcome'>> &
  Partial<Pick<Extract<EraseResult, { outcome: 'approval_required' }>, 'approval'>>

const roles = ['privacy']

/** Adds `tokenvault person erase`. */
export function addPersonErase(person: Command): void {
  addApiOptions(
    person.command('erase <user-id>').description('erase a person: rows, and values that only this person had'),
    'a privacy officer',
  )
    .requiredOption('--ticket <ticket>', 'ticket of the request')
    .addOption(
      new Option('--rows <what>', 'what becomes of the rows; as the policy says when absent').choices([
        'remove',
        'anonymize',
      ]),
    )
    .option('--dry-run', 'only count')
    .option('--approval <id>', 'id of the request, once a second person approved it')
    .option('--out <file>', 'write the certificate to this file, which must not exist')
    .action(erase)
}

async function erase(userId: string, options: EraseOptions): Promise<void> {
  const { ticket, rows, dryRun, approval: approvalId, out } = options
  const body = { ticket, ...(rows && { rows }), ...(dryRun && { dryRun }), ...(approvalId && { approvalId }) }
  const path = `/v1/people/${encodeURIComponent(userId)}/erasure`
  const reply = await callApi<Reply>(options, { method: 'POST', path, body, roles })
  if (reply.approval !== undefined) process.exitCode = 3
  else if (out !== undefined && reply.certificate !== undefined)
    writeCertificate(out, { certificate: reply.certificate })
  print(options.json ? JSON.stringify(reply) : describe(reply, dryRun === true))
}

function describe(reply: Reply, isTrial: boolean): string {
  const { approval, counts = [], unattributed = 0, number, isPublished } = reply
  if (approval !== undefined)
    return `a second person has to approve it first: \`tokenvault approval approve ${approval.id}\`, then the same command with --approval ${approval.id}`
  const table = formatTextTable(
    [isTrial ? 'would be erased or left' : 'erased or left', 'field', 'count'],
    counts.map(({ kind, field, count }) => [kind.replaceAll('_', ' '), field ?? '', String(count)]),
  )
  return [
    table,
    ...(unattributed > 0
      ? [`${unattributed} quarantined bodies name nobody, or several people: look at them yourself`]
      : []),
    ...(isTrial
      ? ['nothing was erased']
      : [`erased: entry ${number} of the erasure ledger; \`tokenvault erasure show ${number}\` gives its certificate`]),
    ...(isPublished === false ? ['it is not published yet: a backup restored before it is would not know of it'] : []),
    'messages that still wait in the queue are new processing',
  ].join('\n')
}

/** @throws TokenvaultError `usage` where the file is there or cannot be written */
export function writeCertificate(path: string, certificate: ErasureCertificate): void {
  try {
    writeFileSync(path, `${JSON.stringify(certificate, undefined, 2)}\n`, { flag: 'wx', mode: 0o600 })
  } catch (error) {
    throw new TokenvaultError('usage', 'the file of --out is there already, or cannot be written', { cause: error })
  }
}
