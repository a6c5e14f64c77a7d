import { writeFileSync } from 'node:fs'
import { prepareDatabase } from '../../compose/prepare-database.ts'
import { loadConfig } from '../../config/load.ts'
import { verifierKeyFile } from '../audit-files.ts'
import type { EmbeddedStack } from './embedded-stack.ts'

/** What `tokenvault migrate` does, and the verifier key put where `tokenvault audit` and `receipt` look for it. */
export async function prepareEmbedded(stack: EmbeddedStack): Promise<void> {
  const config = loadConfig('migrate', { ...stack.environment, DATABASE_URL: stack.adminUrl })
  const { verifierKey } = await prepareDatabase(config)
  writeFileSync(stack.dataDir.file(verifierKeyFile), `${verifierKey}\n`)
}
