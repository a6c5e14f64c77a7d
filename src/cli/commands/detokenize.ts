import { type Command, Option } from 'commander'
import { type ApiOptions, addApiOptions, callApi, describeRemaining } from '../api-client.ts'
import { describePreview, type Preview } from '../terminal/preview.ts'
import { print, printable } from '../terminal/print.ts'
import { tellRefusedItems } from '../terminal/refused-items.ts'

/** What the API answers for one token; see openapi/openapi.json. */
interface Item {
  readonly token: string
  readonly value?: string
  readonly error?: { readonly code: string }
}

/** A second person has to decide first. */
interface OpenApproval {
  readonly id: string
  readonly state: 'pending' | 'approved'
  readonly expiresAt: string
  readonly withoutApproval?: { readonly above: number; readonly windowSeconds: number; readonly left: number }
}

/** Exit code of a call that waits for approval: nothing failed, and nothing was given. */
const approvalRequired = 3

type Options = ApiOptions & {
  readonly purpose: string
  readonly ticket?: string
  readonly reveal?: 'partial'
  readonly approval?: string
  readonly dryRun?: true
  readonly field?: string
}

/** Arguments, options and action of `tokenvault detokenize`. */
export function configure(command: Command): void {
  command
    .argument('<token...>')
    .requiredOption('--purpose <purpose>', 'purpose of the call, e.g. fraud_investigation; it goes into the evidence')
    .option('--field <field>', 'field of tokens that are UUIDs or addresses, which do not name it')
    .option('--ticket <ticket>', 'ticket under which you act, e.g. SEC-1234; it goes into the evidence')
    .addOption(new Option('--reveal <level>', 'ask for a part of each value only').choices(['partial']))
    .option('--approval <id>', 'id of the approval for exactly this call')
    .option('--dry-run', 'say what the call would give and cost, and who would have to approve it; gives nothing')
    .addHelpText(
      'after',
      '\nExit code: 0 if every token got its value, 3 if the call needs an approval, 1 if anything was refused. With --dry-run it\nis the one that the call itself would have.',
    )
  addApiOptions(command, 'an investigator').action(detokenize)
}

async function detokenize(tokens: string[], options: Options): Promise<void> {
  const { purpose, ticket, reveal, approval: approvalId, dryRun, field, json } = options
  // Neither a UUID nor an address has an underscore.
  const named = tokens.map(token => (field === undefined || token.includes('_') ? token : { field, token }))
  const answer = await callApi<{ results?: readonly Item[]; approval?: OpenApproval; preview?: Preview }>(options, {
    method: 'POST',
    path: '/v1/detokenize',
    body: { purpose, tokens: named, ticket, reveal, approvalId, dryRun },
    roles: ['investigator'],
  })
  const { results, approval, preview } = answer
  if (json) print(JSON.stringify(answer))
  if (preview !== undefined) {
    if (!json) for (const line of describePreview(preview)) print(printable(line))
    tellRefusedItems(preview.withheld.map(error => ({ error })))
    if (preview.answer !== 'values') process.exitCode = preview.answer === 'approval_required' ? approvalRequired : 1
    return
  }
  if (approval !== undefined) {
    process.exitCode = approvalRequired
    // Beside the values that a script reads from standard output.
    process.stderr.write(`tokenvault: ${printable(tellHowToGoOn(approval))}\n`)
    return
  }
  if (!json) {
    for (const { token, value, error } of results ?? [])
      print(`${printable(token)}\t${printable(value ?? `error: ${error?.code}`)}`)
  }
  tellRefusedItems(results ?? [])
}

function tellHowToGoOn({ id, state, expiresAt, withoutApproval }: OpenApproval): string {
  const again = `run the same command again with --approval ${id}`
  if (state === 'approved') return `this call is approved until ${expiresAt}: ${again}.`
  const why = withoutApproval === undefined ? '' : ` ${describeRemaining(withoutApproval)}`
  return `this call needs an approval, asked for until ${expiresAt}.${why} When an approver has run \`tokenvault approval approve ${id}\`, ${again}, within 15 minutes.`
}
