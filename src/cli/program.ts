import { Command, CommanderError } from 'commander'
import { version } from '../compose/version.ts'
import { addApiCommand } from './commands/api.ts'
import { addApprovalCommand } from './commands/approval.ts'
import { addAuditCommand } from './commands/audit.ts'
import { addDetokenizeCommand } from './commands/detokenize.ts'
import { addDlqCommand } from './commands/dlq.ts'
import { addJwtCommand } from './commands/jwt.ts'
import { addMigrateCommand } from './commands/migrate.ts'
import { addOpenapiCommand } from './commands/openapi.ts'
import { addPolicyCommand } from './commands/policy.ts'
import { addQuarantineCommand } from './commands/quarantine.ts'
import { addReceiptCommand } from './commands/receipt.ts'
import { addReconcileCommand } from './commands/reconcile.ts'
import { addSampleCommand } from './commands/sample.ts'
import { addSuspensionCommand } from './commands/suspension.ts'
import { addUpCommand } from './commands/up.ts'
import { addWorkerCommand } from './commands/worker.ts'
import { reportFailure } from './terminal/failure.ts'

/** The command line: every command with its help. */
export function createProgram(): Command {
  const program = new Command('tokenvault')
    .description(
      'Reversible PII tokenization vault: login events in from SQS, tokens for analysts, originals for those who may.',
    )
    .version(version)
    .helpCommand(false)
    .showHelpAfterError('Run it with --help.')
    .exitOverride()
  addUpCommand(program)
  addMigrateCommand(program)
  addWorkerCommand(program)
  addApiCommand(program)
  addReconcileCommand(program)
  addSampleCommand(program)
  addJwtCommand(program)
  addDetokenizeCommand(program)
  addApprovalCommand(program)
  addSuspensionCommand(program)
  addQuarantineCommand(program)
  addPolicyCommand(program)
  addDlqCommand(program)
  addAuditCommand(program)
  addReceiptCommand(program)
  addOpenapiCommand(program)
  return program
}

/** Runs one command and sets the exit code: 0 done, 1 failed, 2 wrong usage, configuration or input, 3 waits for approval. */
export async function run(argv: readonly string[]): Promise<void> {
  try {
    await createProgram().parseAsync(argv)
  } catch (error) {
    // Commander has printed its own message, or the help that was asked for.
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
    else process.exitCode = reportFailure(error, text => process.stderr.write(text))
  }
}
