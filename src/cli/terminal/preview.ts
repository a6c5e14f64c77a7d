import { type ErrorCode, errorCatalogue } from '../../errors.ts'
import { describeRemaining } from '../api-client.ts'

interface Left {
  readonly limit: number
  readonly left: number
}

interface Allowance {
  readonly above: number
  readonly windowSeconds: number
  readonly left: number
}

/** What the API says of a call that is not made; see openapi/openapi.json. */
export interface Preview {
  readonly answer: string
  readonly fields: readonly { readonly field: string; readonly level: string; readonly values: number }[]
  readonly withheld: readonly { readonly code: string; readonly items: number }[]
  readonly budget: {
    readonly values: number
    readonly minute?: Left
    readonly day?: Left
    readonly exceeds?: 'minute' | 'day'
    readonly retryAfterSeconds?: number
  }
  readonly withoutApproval: readonly Allowance[]
  readonly approval?: {
    readonly fields: readonly string[]
    readonly approvers: readonly string[]
    readonly request?: { readonly id: string; readonly state: 'pending' | 'approved'; readonly expiresAt: string }
  }
}

/** A preview for people: what the call would be answered in the first line, and then a line for each thing that bears on it. */
export function describePreview(preview: Preview): string[] {
  const { answer, fields, withheld, budget, withoutApproval, approval } = preview
  return [
    `answer: ${describeAnswer(answer)}`,
    ...fields.map(({ field, level, values }) => `field ${field}: ${count(values)}, level ${level}`),
    ...withheld.map(({ code, items }) => `withheld: ${items} ${items === 1 ? 'token' : 'tokens'}, ${code}`),
    ...(['minute', 'day'] as const).flatMap(window => describeBudget(window, budget)),
    ...withoutApproval.map(describeRemaining),
    ...(approval === undefined ? [] : describeNeed(approval)),
  ]
}

function describeAnswer(answer: string): string {
  if (answer === 'values') return 'the values'
  const code = answer === 'approval_required' ? undefined : answer
  if (code === undefined) return 'an approval is needed first'
  // A newer API may have codes that are unknown here.
  return Object.hasOwn(errorCatalogue, code) ? `${code}: ${errorCatalogue[code as ErrorCode].meaning}` : code
}

function describeBudget(window: 'minute' | 'day', budget: Preview['budget']): string[] {
  const bound = budget[window]
  if (bound === undefined) return []
  const told = `budget of a ${window}: ${bound.left} of ${count(bound.limit)} are left, and the call takes ${budget.values}`
  if (budget.exceeds !== window) return [told]
  const suspends = window === 'day' ? '; whoever makes the call is suspended' : ''
  return [`${told}; it fits in ${budget.retryAfterSeconds} seconds${suspends}`]
}

function describeNeed({ fields, approvers, request }: NonNullable<Preview['approval']>): string[] {
  const always = fields.length === 0 ? '' : `, always for ${fields.join(', ')}`
  const who = approvers.length === 0 ? 'nobody has a role that may' : `decided by ${approvers.join(', ')}`
  const open =
    request === undefined
      ? 'not asked for yet: the call asks for it'
      : request.state === 'approved'
        ? `approved until ${request.expiresAt}: make the call with --approval ${request.id}`
        : `asked for until ${request.expiresAt}: ${request.id}`
  return [`approval: ${who}${always}; ${open}`]
}

function count(values: number): string {
  return `${values} ${values === 1 ? 'value' : 'values'}`
}
