import { privacyDatabaseUrl } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import { TokenvaultError } from '../errors.ts'
import type { Log } from '../log.ts'
import { createAuditReader } from '../store/audit-reader.ts'
import { createAuditSearch } from '../store/audit-search.ts'
import { createSecondLoginHealth } from '../store/original-writer.ts'
import { createOriginalReader } from '../store/originals.ts'
import { createAccessSearch, createQuarantineScan } from '../store/people/access.ts'
import { createHoldStore } from '../store/people/holds.ts'
import { createPersonReader } from '../store/people/rows.ts'
import { createDatabase, type TokenvaultDatabase } from '../store/postgres/database.ts'
import { readVerifierOf } from '../vault/admission/log-signer.ts'
import type { OpenAction } from '../vault/admission/open-action.ts'
import { createProver } from '../vault/evidence/prove.ts'
import { eventFields } from '../vault/fields/fields.ts'
import { createExportPerson, type ExportPerson } from '../vault/people/export.ts'
import { createHoldVerbs, type HoldVerbs } from '../vault/people/hold.ts'
import { createShowPerson, type ShowPerson } from '../vault/people/show.ts'
import { createOpenQuarantined } from '../vault/quarantine/sealed-bodies.ts'
import type { Detokenize } from '../vault/tokens/detokenize.ts'
import type { SigningVault } from './vault.ts'

/** A person with a million rows takes seconds. */
const statementTimeoutMilliseconds = 60_000

/**
 * Opens the database with the login of the role that answers people, as openStoring does with that of the role that stores.
 *
 * @param vault the database of DATABASE_URL
 * @returns undefined where PRIVACY_DATABASE_URL is not set
 * @throws TokenvaultError `config_invalid`, `store_misconfigured`
 */
export async function openPeople(
  config: Config<'api'>,
  vault: TokenvaultDatabase,
  log: Log,
): Promise<TokenvaultDatabase | undefined> {
  const url = privacyDatabaseUrl(config)
  if (url === undefined) return undefined
  const database = createDatabase({
    url,
    urlName: 'PRIVACY_DATABASE_URL',
    poolMax: Math.min(4, config.DATABASE_POOL_MAX),
    applicationName: 'tokenvault api (people)',
    statementTimeoutMilliseconds,
  })
  try {
    await createSecondLoginHealth(database, vault, 'tokenvault_privacy', 'PRIVACY_DATABASE_URL').check()
  } catch (err) {
    if (!(err instanceof TokenvaultError && err.code === 'store_unavailable')) {
      await database.destroy()
      throw err
    }
    log.warn({ event: 'people_unavailable', err })
  }
  return database
}

/** What is done about people; without a login for it, each verb refuses with `people_off`. */
export function composePeople(
  { fields, keys, database, signer }: Pick<SigningVault, 'fields' | 'keys' | 'database' | 'signer'>,
  { openAction, detokenize }: { readonly openAction: OpenAction; readonly detokenize: Detokenize },
  privacy: TokenvaultDatabase | undefined,
): { readonly showPerson: ShowPerson; readonly exportPerson: ExportPerson; readonly holds: HoldVerbs } {
  const always = { fields, keys, openAction }
  if (privacy === undefined)
    return {
      showPerson: createShowPerson(always),
      exportPerson: createExportPerson(always),
      holds: createHoldVerbs(always),
    }
  const people = createPersonReader(privacy, eventFields(fields))
  const holds = createHoldStore(privacy)
  const showing = {
    ...always,
    people,
    holds,
    originals: createOriginalReader(database),
    quarantine: createQuarantineScan(database),
    openQuarantined: createOpenQuarantined(keys),
    access: createAccessSearch(database, createAuditSearch(database)),
  }
  const prover = createProver(createAuditReader(database), () => readVerifierOf(signer))
  return {
    showPerson: createShowPerson(showing),
    exportPerson: createExportPerson({
      ...showing,
      detokenize,
      signer,
      proveInclusion: (sequence: number) => prover.proveInclusion(sequence),
    }),
    holds: createHoldVerbs({ ...always, people, holds }),
  }
}
