import { TokenvaultError } from '../../errors.ts'
import type { Ruling } from './ports.ts'

/** A budget does not hold the call: in which window, and after how many whole seconds the same call fits again. */
export class BudgetExceeded extends TokenvaultError {
  readonly window: 'minute' | 'day'
  readonly retryAfterSeconds: number

  /** @param window which of the budgets @param retryAfterSeconds at least 1 is told */
  constructor(window: 'minute' | 'day', retryAfterSeconds: number) {
    super('budget_exceeded')
    this.window = window
    this.retryAfterSeconds = Math.max(1, Math.ceil(retryAfterSeconds))
  }
}

/** What a ruling that refuses throws. */
export function refusalOf(ruling: Extract<Ruling, { readonly allowed: false }>): TokenvaultError {
  const { code, window = 'day', retryAfterSeconds = 1 } = ruling
  return code === 'budget_exceeded' ? new BudgetExceeded(window, retryAfterSeconds) : new TokenvaultError(code)
}
