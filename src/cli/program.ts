import { Command, CommanderError, Help } from 'commander'
import { version } from '../compose/version.ts'

interface ListedCommand {
  readonly name: string
  /** What the list of commands shows behind the name. */
  readonly usage?: string
  readonly description: string
  /** Brings the options and the action. Called for the one command that runs, so that no other is paid for. */
  readonly load: () => Promise<{ readonly configure: (command: Command) => void }>
}

const options = '[options]'

const commands: readonly ListedCommand[] = [
  {
    name: 'up',
    usage: options,
    description: 'run everything on this machine: Postgres, the queue, worker and API, with sample events',
    load: () => import('./commands/up.ts'),
  },
  {
    name: 'status',
    usage: options,
    description:
      'show what `tokenvault up` runs: URLs, rows, next steps; with --env as lines for a shell; exit code 1 for nothing',
    load: () => import('./commands/status.ts'),
  },
  {
    name: 'key',
    description: 'make a key-encryption key, or an age identity',
    load: () => import('./commands/key.ts'),
  },
  {
    name: 'keys',
    description: 'list, rotate, disable and destroy the keys of the vault, re-seal originals, and change the KEK',
    load: () => import('./commands/keys.ts'),
  },
  {
    name: 'recover',
    usage: options,
    description:
      'make a working vault of a pg_dump with a recovery identity and no KEK, and report what it holds; exit code 1 if anything is wrong',
    load: () => import('./commands/recover.ts'),
  },
  {
    name: 'drill',
    usage: options,
    description: 'recover a pg_dump into a temporary cluster that is removed at the end, and report what it held',
    load: () => import('./commands/drill.ts'),
  },
  {
    name: 'passwords',
    description: 'make passwords for the database roles that log in',
    load: () => import('./commands/passwords.ts'),
  },
  {
    name: 'migrate',
    usage: options,
    description: 'apply missing migrations, make the first keys, and set passwords of roles; safe to run at any time',
    load: () => import('./commands/migrate.ts'),
  },
  {
    name: 'worker',
    usage: options,
    description: 'ingest login events from the queue until stopped; SIGTERM stores and settles what is in flight',
    load: () => import('./commands/worker.ts'),
  },
  {
    name: 'api',
    description: 'serve the HTTP API until stopped; SIGTERM finishes the requests under way',
    load: () => import('./commands/api.ts'),
  },
  {
    name: 'doctor',
    usage: options,
    description:
      'check configuration, keys, database, queue, issuer and clocks, and say what to do; exit code 1 if anything is wrong',
    load: () => import('./commands/doctor.ts'),
  },
  {
    name: 'reconcile',
    usage: options,
    description:
      'prove that every delivery record has its rows and every token its original; exit code 1 if anything differs',
    load: () => import('./commands/reconcile.ts'),
  },
  {
    name: 'retain',
    usage: options,
    description: 'remove what is older than the retention of FIELDS_FILE says; to be run every day',
    load: () => import('./commands/retain.ts'),
  },
  {
    name: 'honey',
    description: 'make tokens that nobody has a reason to open, and see who did',
    load: () => import('./commands/honey.ts'),
  },
  {
    name: 'archive',
    usage: options,
    description: 'move whole months of rows with tokens out of the database into Parquet files with a signed manifest',
    load: () => import('./commands/archive.ts'),
  },
  {
    name: 'recall',
    usage: options,
    description: 'bring an archived month back into the database, checked against its signed manifest',
    load: () => import('./commands/recall.ts'),
  },
  {
    name: 'export',
    usage: options,
    description: 'copy whole months of rows with tokens to Parquet files for Redshift, Athena, Spark or DuckDB',
    load: () => import('./commands/export.ts'),
  },
  {
    name: 'sample',
    usage: options,
    description: 'print realistic login events as a JSON array; the same seed gives the same events',
    load: () => import('./commands/sample.ts'),
  },
  {
    name: 'jwt',
    usage: options,
    description: 'print a JWT of the development issuer of `tokenvault up`',
    load: () => import('./commands/jwt.ts'),
  },
  {
    name: 'detokenize',
    usage: `${options} <token...>`,
    description:
      'ask the API for the values of tokens; exit code 1 when a token is refused, 3 when an approval is needed',
    load: () => import('./commands/detokenize.ts'),
  },
  {
    name: 'tokenize',
    usage: `${options} <field> [value...]`,
    description: 'ask the API for the tokens of values, with --store to keep them; exit code 1 when a value is refused',
    load: () => import('./commands/tokenize.ts'),
  },
  {
    name: 'import',
    usage: `${options} <file>`,
    description: 'store a column of a CSV, JSONL or Parquet file, and write the file with tokens in its place',
    load: () => import('./commands/import.ts'),
  },
  {
    name: 'backfill',
    usage: options,
    description:
      'give a Postgres column of clear values its tokens in another column, in batches; run it again to go on',
    load: () => import('./commands/backfill.ts'),
  },
  {
    name: 'crosswalk',
    usage: options,
    description:
      'ask the API for every token of a field beside a hash of its value; exit code 1 when an original does not open',
    load: () => import('./commands/crosswalk.ts'),
  },
  {
    name: 'approval',
    description: 'list requests for approval, and decide about those of others',
    load: () => import('./commands/approval.ts'),
  },
  {
    name: 'erasure',
    description: 'get and check certificates of erasures',
    load: () => import('./commands/erasure.ts'),
  },
  {
    name: 'suspension',
    description: 'list who is suspended, and lift suspensions',
    load: () => import('./commands/suspension.ts'),
  },
  {
    name: 'quarantine',
    description: 'list, redrive or discard quarantined messages',
    load: () => import('./commands/quarantine.ts'),
  },
  {
    name: 'person',
    description: 'show what is held about a person, hold it, erase it',
    load: () => import('./commands/person.ts'),
  },
  {
    name: 'policy',
    description: 'show what the policy permits, and why; needs no server',
    load: () => import('./commands/policy.ts'),
  },
  {
    name: 'dlq',
    description: 'show the dead-letter queue, and redrive its messages',
    load: () => import('./commands/dlq.ts'),
  },
  {
    name: 'audit',
    description: 'verify and search the audit log, prove that events are in it, and check proofs',
    load: () => import('./commands/audit.ts'),
  },
  {
    name: 'receipt',
    description: 'check the receipts that the API gives with every detokenize reply',
    load: () => import('./commands/receipt.ts'),
  },
  {
    name: 'openapi',
    usage: options,
    description: 'print the OpenAPI document, or write it to a file',
    load: () => import('./commands/openapi.ts'),
  },
]

/**
 * The command line: every command by its name and description, and one of them whole.
 *
 * @param called name of the command that is to run; the others are listed and suggested, and cannot run
 */
export async function createProgram(called?: string): Promise<Command> {
  const program = new Command('tokenvault')
    .description(
      'Reversible PII tokenization vault: reads login events from SQS, gives tokens to analysts, and values to those who may see them.',
    )
    .version(version)
    .helpCommand(false)
    .showHelpAfterError('Run it with --help.')
    .exitOverride()
  const terms = new Map<Command, string>()
  for (const { name, usage, description, load } of commands) {
    const command = program.command(name).description(description)
    terms.set(command, usage === undefined ? name : `${name} ${usage}`)
    if (name === called) (await load()).configure(command)
  }
  // After the commands were made, as each of them takes over the settings that its parent has then.
  return program.configureHelp({ subcommandTerm: command => terms.get(command) ?? new Help().subcommandTerm(command) })
}

/** Runs one command and sets the exit code: 0 done, 1 failed, 2 wrong usage, configuration or input, 3 waits for approval. */
export async function run(argv: readonly string[]): Promise<void> {
  const [first, second] = argv.slice(2)
  try {
    // No option of the program goes before a command: --help and --version are answered without one.
    const program = await createProgram(first === '--' ? second : first)
    await program.parseAsync(argv)
  } catch (error) {
    // Commander has printed its own message, or the help that was asked for.
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2
      return
    }
    const { reportFailure } = await import('./terminal/failure.ts')
    process.exitCode = reportFailure(error, text => process.stderr.write(text))
  }
}
