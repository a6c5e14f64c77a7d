/** Everything that a look at a database may find; a code is part of the public contract. */
export type SetupCode =
  | 'server_version'
  | 'server_encoding'
  | 'server_language'
  | 'server_collation'
  | 'server_setting'
  | 'schema_missing'
  | 'role_missing'
  | 'role_privileged'
  | 'role_unlimited'
  | 'owner_wrong'
  | 'grant_missing'
  | 'grant_unknown'
  | 'object_missing'
  | 'object_changed'
  | 'object_unknown'
  | 'not_durable'

/** One thing that is not as the product needs it. Both texts are one line of ours, and hold names but no value of a person. */
export interface SetupFinding {
  readonly code: SetupCode
  /** `fail`: the work cannot be done, or not safely. `warn`: it is done, and a promise does not hold. */
  readonly status: 'fail' | 'warn'
  /** What is wrong. */
  readonly says: string
  /** How to mend it. */
  readonly remedy: string
}

/** One line for each finding, for people and logs. */
export function describeFindings(findings: readonly SetupFinding[]): string {
  const lines = findings.map(({ code, says, remedy }) => `${code}: ${says}; ${remedy}`)
  return lines.length === 1 ? lines[0]! : [`${lines.length} problems:`, ...lines].join('\n  ')
}
