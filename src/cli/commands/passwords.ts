import type { Command } from 'commander'
import { makePasswordFiles } from '../local/new-secrets.ts'
import { print, printable } from '../terminal/print.ts'

/** `tokenvault passwords …`: those of the database roles that log in. */
export function configure(passwords: Command): void {
  passwords
    .command('new <directory>')
    .description('make a password for each role that logs in, one file a role; a file that exists is never replaced')
    .option('--json', 'print one JSON line', false)
    .addHelpText(
      'after',
      '\nThe directory gets mode 0700 and the files 0600. `migrate` sets the passwords that ROLE_PASSWORDS_DIR holds.',
    )
    .action((directory: string, { json }: { json: boolean }) => {
      const roles = makePasswordFiles(directory)
      print(
        json
          ? JSON.stringify({ directory, roles })
          : `${printable(directory)} holds new passwords of ${roles.join(', ')}.\nROLE_PASSWORDS_DIR names the directory for \`tokenvault migrate\`, which sets them.`,
      )
    })
}
