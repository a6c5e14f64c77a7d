import { type Command, InvalidArgumentError } from 'commander'
import { signWithDataDir } from '../../embedded/issuer.ts'
import { developmentAudience, developmentJwtLifetimeSeconds } from '../local/embedded-stack.ts'
import { defaultDataDir, parseDataDir } from '../local/state.ts'

export function addJwtCommand(program: Command): void {
  program
    .command('jwt')
    .description('print a JWT of the development issuer of `tokenvault up`')
    .requiredOption('--role <role>', 'role in it; repeat for several', collectRoles)
    .requiredOption('--sub <subject>', 'whom it speaks for')
    .option('--lifetime <seconds>', 'seconds until it expires', seconds, developmentJwtLifetimeSeconds)
    .option('--data-dir <dir>', 'where `tokenvault up` keeps its state', parseDataDir, defaultDataDir)
    .action(async (options: { role: string[]; sub: string; lifetime: number; dataDir: string }) => {
      const claims = { subject: options.sub, roles: options.role, lifetimeSeconds: options.lifetime }
      process.stdout.write(`${await signWithDataDir(options.dataDir, developmentAudience, claims)}\n`)
    })
}

function collectRoles(role: string, earlier: string[] = []): string[] {
  return [...earlier, role]
}

function seconds(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('It must be a number of seconds.')
  return Number(text)
}
