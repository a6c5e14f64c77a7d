import { writeFileSync } from 'node:fs'
import type { Command } from 'commander'
import { version } from '../../compose/version.ts'
import { TokenvaultError } from '../../errors.ts'
import { renderOpenApi } from '../../http/openapi/render.ts'

/** Options and action of `tokenvault openapi`. */
export function configure(command: Command): void {
  command.option('--write <file>', 'where to write it').action(async ({ write }: { write?: string }) => {
    const document = await renderOpenApi(version)
    if (write === undefined) {
      process.stdout.write(document)
      return
    }
    try {
      writeFileSync(write, document)
    } catch (cause) {
      throw new TokenvaultError('usage', '--write names a file that cannot be written', { cause })
    }
  })
}
