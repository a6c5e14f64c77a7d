import type { Command } from 'commander'
import { openLocalKek } from '../../kms/local.ts'
import { makeKeyFile } from '../local/new-secrets.ts'
import { print, printable } from '../terminal/print.ts'

/** `tokenvault key …`: the key-encryption key. */
export function configure(key: Command): void {
  key
    .command('new <file>')
    .description('make a key-encryption key: 32 random bytes, mode 0600; a file that exists is never replaced')
    .option('--json', 'print one JSON line', false)
    .action((file: string, { json }: { json: boolean }) => {
      makeKeyFile(file)
      const { id } = openLocalKek(file)
      print(
        json
          ? JSON.stringify({ file, kekId: id })
          : `${printable(file)} holds a new key, ${id}.\nBack it up, apart from the database: without it no original can ever be opened again.`,
      )
    })
}
