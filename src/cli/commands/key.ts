import type { Command } from 'commander'
import { makeIdentityFile, makeKeyFile } from '../local/new-secrets.ts'
import { collect } from '../terminal/options.ts'
import { print, printable } from '../terminal/print.ts'

/** `tokenvault key …`: the key-encryption key. */
export function configure(key: Command): void {
  key
    .command('new <file>')
    .description('make a key-encryption key: 32 random bytes, mode 0600; a file that exists is never replaced')
    .option(
      '--recipient <age1…>',
      'encrypt it to this age recipient, so that the file alone opens nothing; repeatable',
      collect,
    )
    .option('--json', 'print one JSON line', false)
    .action(async (file: string, { recipient: recipients = [], json }: NewKeyOptions) => {
      const { id } = await makeKeyFile(file, recipients)
      const holds = recipients.length === 0 ? 'a new key' : 'a new key, encrypted'
      print(
        json
          ? JSON.stringify({ file, kekId: id })
          : `${printable(file)} holds ${holds}, ${id}.\nBack it up, apart from the database: without it no original can ever be opened again.`,
      )
    })
  key
    .command('identity <file>')
    .description(
      'make an age identity: a secret file, mode 0600, whose recipient is printed; age-keygen makes the same',
    )
    .option('--json', 'print one JSON line', false)
    .action(async (file: string, { json }: { json: boolean }) => {
      const recipient = await makeIdentityFile(file)
      print(json ? JSON.stringify({ file, recipient }) : recipient)
    })
}

interface NewKeyOptions {
  readonly recipient?: readonly string[]
  readonly json: boolean
}
