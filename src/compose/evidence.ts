import type { AwsVariables } from '../aws/client-settings.ts'
import type { Environment } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import type { Log } from '../log.ts'
import { type OpenSink, openCheckpointSink } from '../publish/open-sink.ts'
import {
  foldRefusals,
  followLog,
  publishErasureLedger,
  publishRecoveries,
  startCheckpoints,
} from '../publish/schedules.ts'
import { createRefusalCounts } from '../store/action-log.ts'
import { createAuditReader, createCheckpointStore } from '../store/audit-reader.ts'
import { createAuditSearch } from '../store/audit-search.ts'
import { createErasureLedger } from '../store/erasures.ts'
import { createKeyRecoveryStore } from '../store/key-recovery.ts'
import { createRelatedTokens } from '../store/related-tokens.ts'
import { readVerifierOf } from '../vault/admission/log-signer.ts'
import type { OpenAction } from '../vault/admission/open-action.ts'
import { createMakeCheckpoint } from '../vault/evidence/make-checkpoint.ts'
import { createEvidenceVerbs, type EvidenceVerbs } from '../vault/evidence/proofs.ts'
import { createProver } from '../vault/evidence/prove.ts'
import { createSearchAudit, type SearchAudit } from '../vault/evidence/search.ts'
import { composeAwsSettings } from './aws.ts'
import { publishErasures } from './erasures.ts'
import type { SigningVault } from './vault.ts'

/** How long counted refusals wait at most once their minute is over. */
const foldMilliseconds = 10_000

/** What becomes of the audit log outside of requests, and who may read it inside of them. */
export interface ComposedEvidence {
  readonly verbs: { readonly evidence: EvidenceVerbs; readonly searchAudit: SearchAudit }
  /** From now on checkpoints are made, until `close` makes the last one: after the last request, before the database goes. */
  start(): void
  close(): Promise<void>
}

/** Puts together what signs, publishes, proves and searches the log. Nothing happens before `start`. */
export function composeEvidence(
  config: Config<'api'>,
  vault: Omit<SigningVault, 'follow' | 'followByTask'>,
  openAction: OpenAction,
  sink: OpenSink | undefined,
  log: Log,
): ComposedEvidence {
  const { fields, database, keys, signer } = vault
  const reader = createAuditReader(database)
  const search = createAuditSearch(database)
  let isLogHeld = false
  const makeSigned = createMakeCheckpoint({
    reader,
    store: createCheckpointStore(database),
    signer,
    sink,
    published: sink?.published,
    onInvalid: err => log.error({ event: 'checkpoint_invalid', err }),
  })
  const makeCheckpoint = async () => {
    isLogHeld = false
    const made = await makeSigned()
    isLogHeld = true
    return made
  }
  let stop = async () => {}
  return {
    verbs: {
      evidence: createEvidenceVerbs({
        openAction,
        reader,
        prover: createProver(reader, () => readVerifierOf(signer)),
        signer,
      }),
      searchAudit: createSearchAudit({ openAction, fields, keys, search, related: createRelatedTokens(database) }),
    },
    start() {
      if (sink === undefined) log.warn({ event: 'checkpoints_not_published' })
      const intervalMilliseconds = config.CHECKPOINT_SECONDS * 1000
      const schedule = startCheckpoints({ makeCheckpoint, intervalMilliseconds, log })
      // Beside the checkpoints and never before one: an index may have much to catch up with.
      const stopIndexing = followLog({ search, intervalMilliseconds, log })
      const refusals = createRefusalCounts(database)
      const stopFolding = foldRefusals({ refusals, intervalMilliseconds: foldMilliseconds, log })
      const place = sink?.recovery
      const recoveries = { store: createKeyRecoveryStore(database), isLogHeld: () => isLogHeld }
      const stopRecoveries =
        place === undefined ? () => {} : publishRecoveries({ ...recoveries, place, intervalMilliseconds, log })
      const erasures = sink?.erasures
      let published = 0
      const stopErasures =
        erasures === undefined
          ? () => {}
          : publishErasureLedger({
              async publish() {
                published = await publishErasures(createErasureLedger(database), erasures, published)
              },
              intervalMilliseconds,
              log,
            })
      stop = async () => {
        stopErasures()
        stopRecoveries()
        stopIndexing()
        stopFolding()
        // What was counted is kept if this fails, and the next process makes events of it.
        await refusals.fold({ everything: true }).catch(err => log.warn({ event: 'refusals_not_folded', err }))
        await schedule.stop()
      }
    },
    async close() {
      await stop()
      sink?.close()
    },
  }
}

/**
 * The sink that CHECKPOINT_URL names.
 *
 * @param environment what only the SDK of AWS reads
 * @returns undefined where none is named
 * @throws TokenvaultError `config_invalid`
 */
export async function composeSink(
  config: Pick<Config<'api'>, 'CHECKPOINT_URL'> & AwsVariables,
  environment: Environment,
): Promise<OpenSink | undefined> {
  const url = config.CHECKPOINT_URL
  if (url === undefined) return undefined
  const s3 = url.startsWith('s3:') ? await composeAwsSettings('s3', config, environment) : undefined
  return openCheckpointSink(url, { stdout: process.stdout, s3 })
}
