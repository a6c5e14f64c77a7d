import type { Command } from 'commander'
import { signWithDataDir } from '../../embedded/issuer.ts'
import { developmentAudience, developmentJwtLifetimeSeconds } from '../local/state.ts'
import { collect, dataDirOption, wholeNumber } from '../terminal/options.ts'

/** Options and action of `tokenvault jwt`. */
export function configure(command: Command): void {
  command
    .requiredOption('--role <role>', 'role in it; repeat for several', collect)
    .requiredOption('--sub <subject>', 'whom it speaks for')
    .option(
      '--lifetime <seconds>',
      'seconds until it expires',
      wholeNumber(1, 999_999, 'It must be a number of seconds.'),
      developmentJwtLifetimeSeconds,
    )
    .addOption(dataDirOption())
    .action(async (options: { role: string[]; sub: string; lifetime: number; dataDir: string }) => {
      const claims = { subject: options.sub, roles: options.role, lifetimeSeconds: options.lifetime }
      process.stdout.write(`${await signWithDataDir(options.dataDir, developmentAudience, claims)}\n`)
    })
}
