import { accessSync, constants } from 'node:fs'
import { type Command, Option } from 'commander'
import { readFields } from '../../compose/fields.ts'
import { policyPlace, readPolicy } from '../../compose/policy.ts'
import { loadConfig } from '../../config/load.ts'
import { errorCatalogue, TokenvaultError } from '../../errors.ts'
import { checkPurpose } from '../../vault/admission/open-action.ts'
import type { FieldSchema } from '../../vault/fields/fields.ts'
import { listMatrix, type MatrixRow } from '../../vault/policy/matrix.ts'
import {
  type Allowance,
  type Decision,
  decide,
  type Limits,
  limitsOf,
  type Operation,
  operations,
  type Policy,
} from '../../vault/policy/policy.ts'
import { describeUnreadable } from '../terminal/failure.ts'
import { collect, environmentHelp } from '../terminal/options.ts'
import { printable } from '../terminal/print.ts'
import { formatTextTable } from '../terminal/text-table.ts'

export function configure(policy: Command): void {
  policy.addHelpText('after', environmentHelp('policy'))
  addExplain(policy)
  addMatrix(policy)
  addCheck(policy)
}

interface ExplainOptions {
  readonly role: readonly string[]
  readonly field: string
  readonly purpose: string
  readonly ticket: boolean
  readonly reveal?: 'partial'
  readonly operation: Operation
  readonly json: boolean
}

function addExplain(parent: Command): void {
  parent
    .command('explain')
    .description('print the decision about one field, and the rule that makes it')
    .requiredOption('--role <role>', 'role of the caller; repeat for several', collect)
    .requiredOption('--field <field>', 'field, e.g. ip')
    .requiredOption('--purpose <purpose>', 'stated purpose, e.g. fraud_investigation')
    .option('--ticket', 'the caller names a ticket', false)
    .addOption(new Option('--operation <operation>', 'what is asked').choices([...operations]).default('detokenize'))
    .addOption(new Option('--reveal <level>', 'the caller asks for no more than this').choices(['partial']))
    .option('--json', 'print one JSON line', false)
    .action(({ role: roles, field, purpose, ticket, operation, reveal, json }: ExplainOptions) => {
      checkPurpose(purpose)
      const { policy, fields } = load()
      const asked = { roles, operation, field, purpose, ...(reveal === undefined ? {} : { reveal }) }
      const { grantedBy, line, ...decision } = decide(policy, fields, { ...asked, hasTicket: ticket })
      const limits = decision.level === 'none' ? undefined : limitsOf(policy, grantedBy)
      const at = line === undefined ? undefined : `${policy.source}:${line}`
      const told = { ...asked, ticket, ...decision, at, limits, policy: policy.digest }
      process.stdout.write(json ? `${JSON.stringify(told)}\n` : `${describe(decision, at, operation, limits)}\n`)
    })
}

function addMatrix(parent: Command): void {
  parent
    .command('matrix')
    .description('print role × field × purpose, for auditors')
    .option('--json', 'print one JSON line', false)
    .action(({ json }: { json: boolean }) => {
      const { policy, fields } = load()
      const rows = listMatrix(policy, fields)
      const roles = [...policy.roles.values()].map(({ name: role, batchLimit, perMinute, perDay, capabilities }) => {
        return { role, batchLimit, perMinute, perDay, capabilities: [...capabilities] }
      })
      const told = json
        ? JSON.stringify({ policy: policy.digest, rows, roles })
        : [formatRows(rows), formatRoles(roles), `Policy ${policy.digest}.`].join('\n\n')
      process.stdout.write(`${told}\n`)
    })
}

function formatRows(rows: readonly MatrixRow[]): string {
  const cells = rows.map(({ approval, approvalWindowSeconds, ...row }) => [
    row.role,
    row.field,
    row.purpose,
    row.detokenize,
    row.tokenize ? 'yes' : 'no',
    row.store ? 'yes' : 'no',
    row.crosswalk ? 'yes' : 'no',
    row.translate ? 'yes' : 'no',
    row.ticket,
    typeof approval === 'number' ? `above ${approval} in ${hours(approvalWindowSeconds!)}` : approval,
  ])
  const header = [
    'role',
    'field',
    'purpose',
    'detokenize',
    'tokenize',
    'store',
    'crosswalk',
    'translate',
    'ticket',
    'approval',
  ]
  return `${formatTextTable(header, cells)}\n\n* every other purpose`
}

function formatRoles(
  roles: readonly {
    readonly role: string
    readonly batchLimit: number
    readonly perMinute: number | undefined
    readonly perDay: number | undefined
    readonly capabilities: readonly string[]
  }[],
): string {
  const cells = roles.map(({ role, batchLimit, perMinute, perDay, capabilities }) => [
    role,
    `${batchLimit}`,
    `${perMinute ?? 'any'}`,
    `${perDay ?? 'any'}`,
    capabilities.join(', '),
  ])
  return formatTextTable(['role', 'items a call', 'values a minute', 'values a day', 'may besides'], cells)
}

function addCheck(parent: Command): void {
  parent
    .command('check <file>')
    .description('read a policy file as the API would; exit code 2 if it is wrong')
    .option('--json', 'print one JSON line', false)
    .action((file: string, { json }: { json: boolean }) => {
      checkReadable(file)
      const { digest, roles } = readPolicy({ path: file, name: file }, readFields(loadConfig('policy', process.env)))
      const names = [...roles.keys()]
      const told = json
        ? JSON.stringify({ policy: digest, roles: names })
        : `policy ${digest} is right: ${names.join(', ')}`
      process.stdout.write(`${told}\n`)
    })
}

/** A file that is not there is no wrong policy. @throws TokenvaultError `usage` */
function checkReadable(file: string): void {
  try {
    accessSync(file, constants.R_OK)
  } catch (cause) {
    throw new TokenvaultError('usage', `${printable(file)} ${describeUnreadable(cause)}`, { cause })
  }
}

function load(): { policy: Policy; fields: FieldSchema } {
  const config = loadConfig('policy', process.env)
  const fields = readFields(config)
  return { fields, policy: readPolicy(policyPlace(config), fields) }
}

function describe(
  { level, code, rule, needsApproval }: Omit<Decision, 'grantedBy'>,
  at: string | undefined,
  operation: Operation,
  limits: Limits | undefined,
): string {
  const by = rule === undefined ? '' : ` (role ${rule}, ${at})`
  if (code !== undefined) return `refused: ${code}. ${errorCatalogue[code].meaning}${by}`
  const { batchLimit, perMinute, perDay, withoutApproval } = limits!
  const budgets = [
    ...(perMinute === undefined ? [] : [`${perMinute} values a minute`]),
    ...(perDay === undefined ? [] : [`${perDay} values a day`]),
  ]
  const bounds = [
    `${batchLimit} items a call`,
    ...budgets,
    ...describeApproval(operation, needsApproval, withoutApproval),
  ]
  return `${operation === 'detokenize' ? level : 'permitted'}${by}\nlimits: ${bounds.join(', ')}`
}

function describeApproval(
  operation: Operation,
  needsApproval: boolean,
  withoutApproval: Limits['withoutApproval'],
): string[] {
  if (operation === 'tokenize' || operation === 'store') return []
  if (needsApproval) return ['a second person approves each call']
  if (withoutApproval === undefined) return []
  const above = `above ${withoutApproval.map(describeAllowance).join(' and ')}`
  return [operation === 'crosswalk' ? `refused ${above}` : `a second person approves ${above}`]
}

function describeAllowance({ values, windowSeconds }: Allowance): string {
  return `${values} values in ${hours(windowSeconds)}`
}

function hours(seconds: number): string {
  return `${seconds / 3600} h`
}
