import type { Command } from 'commander'
import { readFields } from '../../compose/fields.ts'
import { policyPlace, readPolicy } from '../../compose/policy.ts'
import { TokenvaultError } from '../../errors.ts'
import { fileVariables } from '../local/state.ts'
import { describeRunning, exportLines, findRunning, statusOf } from '../local/status.ts'
import { dataDirOption } from '../terminal/options.ts'

/** Options and action of `tokenvault status`. */
export function configure(command: Command): void {
  command
    .addOption(dataDirOption())
    .option('--env', 'print lines for a shell to read: eval "$(npx tokenvault status --env)"')
    .option('--json', 'print one JSON line')
    .action(async ({ dataDir, env, json }: { dataDir: string; env?: true; json?: true }) => {
      if (env && json) throw new TokenvaultError('usage', 'give either --env or --json')
      const running = await findRunning(dataDir)
      const status = statusOf(running, dataDir)
      if (json) process.stdout.write(`${JSON.stringify(status)}\n`)
      else if (env) process.stdout.write(exportLines(status))
      else {
        const variables = fileVariables(running)
        const fields = readFields({ FIELDS_FILE: variables['FIELDS_FILE'] })
        const policy = readPolicy(policyPlace({ POLICY_FILE: variables['POLICY_FILE'] }), fields)
        process.stdout.write(await describeRunning(running, dataDir, { policy, fields }, process.stdout))
      }
    })
}
