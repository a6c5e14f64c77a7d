import type { Command } from 'commander'
import { readFields } from '../../compose/fields.ts'
import { policyPlace, readPolicy } from '../../compose/policy.ts'
import { loadConfig } from '../../config/load.ts'
import { signWithDataDir } from '../../embedded/issuer.ts'
import { TokenvaultError } from '../../errors.ts'
import { loginFields } from '../../vault/fields/fields.ts'
import { developmentAudience, developmentJwtLifetimeSeconds, fileVariables, readRunning } from '../local/state.ts'
import { collect, dataDirOption, wholeNumber } from '../terminal/options.ts'
import { printable } from '../terminal/print.ts'

/** Options and action of `tokenvault jwt`. */
export function configure(command: Command): void {
  command
    .requiredOption('--role <role>', 'a role of the JWT, which a policy knows; repeat the option for several', collect)
    .requiredOption('--sub <subject>', 'subject of the JWT: the person or service that it stands for')
    .option(
      '--lifetime <seconds>',
      'seconds until it expires',
      wholeNumber(1, 999_999, 'It must be a number of seconds.'),
      developmentJwtLifetimeSeconds,
    )
    .addOption(dataDirOption())
    .action(async (options: { role: string[]; sub: string; lifetime: number; dataDir: string }) => {
      checkRoles(options.role, options.dataDir)
      const claims = { subject: options.sub, roles: options.role, lifetimeSeconds: options.lifetime }
      process.stdout.write(`${await signWithDataDir(options.dataDir, developmentAudience, claims)}\n`)
    })
}

/**
 * A misspelt role would be refused by every call, long after this one. Known are the roles of the policy that tokenvault
 * ships with, those of the policy that `up` was started with, and those of POLICY_FILE, which another API may take.
 *
 * @throws TokenvaultError `usage` for a role that neither knows; `config_invalid`, `policy_invalid`
 */
function checkRoles(roles: readonly string[], dataDir: string): void {
  const config = loadConfig('policy', process.env)
  const places = [[policyPlace({}), loginFields] as const]
  if (config.POLICY_FILE !== undefined) places.push([policyPlace(config), readFields(config)])
  const { POLICY_FILE, FIELDS_FILE } = fileVariables(readRunning(dataDir) ?? {})
  if (POLICY_FILE !== undefined) places.push([policyPlace({ POLICY_FILE }), readFields({ FIELDS_FILE })])
  const known = new Set(places.flatMap(([place, fields]) => [...readPolicy(place, fields).roles.keys()]))
  const unknown = roles.filter(role => !known.has(role))
  if (unknown.length > 0)
    throw new TokenvaultError(
      'usage',
      `no policy knows the role ${unknown.map(printable).join(', ')}; known are ${[...known].join(', ')}, and those of a policy that POLICY_FILE names`,
    )
}
