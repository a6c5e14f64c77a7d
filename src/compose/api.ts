import type { Environment } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import { type App, createApp } from '../http/app.ts'
import { clearProperties } from '../ingest/events/login-event.ts'
import type { Log } from '../log.ts'
import { createWebhook, type Webhook } from '../publish/webhook.ts'
import { createActionLog } from '../store/action-log.ts'
import { createApprovalReader, createSuspensionReader } from '../store/approvals.ts'
import { createErasureLedger } from '../store/erasures.ts'
import { createHoneyStore } from '../store/honey-tokens.ts'
import { createIdempotencyStore } from '../store/idempotency.ts'
import { createKeyRecordReader } from '../store/key-changes.ts'
import { createFieldOriginals, createOriginalReader } from '../store/originals.ts'
import { createApiHealth } from '../store/postgres/health.ts'
import { createQuarantineStore } from '../store/quarantine.ts'
import { createSuccessorReader } from '../store/successors.ts'
import { createIsAdmissible } from '../vault/admission/admissible.ts'
import { createApprovalVerbs } from '../vault/admission/approvals.ts'
import { createKeyVerbs } from '../vault/admission/key-list.ts'
import { createOpenAction } from '../vault/admission/open-action.ts'
import { createSuspensionVerbs } from '../vault/admission/suspensions.ts'
import { createHoneyVerbs } from '../vault/honey/honey-tokens.ts'
import { createOpenQuarantined } from '../vault/quarantine/sealed-bodies.ts'
import { createQuarantineVerbs } from '../vault/quarantine/verbs.ts'
import { createCrosswalk } from '../vault/tokens/crosswalk.ts'
import { createDetokenize } from '../vault/tokens/detokenize.ts'
import { createPreviewDetokenize } from '../vault/tokens/preview.ts'
import { createTokenize } from '../vault/tokens/tokenize.ts'
import { createTokenizer } from '../vault/tokens/tokenizer.ts'
import { createTranslate } from '../vault/tokens/translate.ts'
import { composeErasures, refuseOldErasures } from './erasures.ts'
import { composeEvidence, composeSink } from './evidence.ts'
import { readFields, readFieldsFile } from './fields.ts'
import { followTraps } from './honey.ts'
import { readIssuers } from './issuers.ts'
import { composePeople, openPeople } from './people.ts'
import { policyPlace, watchPolicy } from './policy.ts'
import { openStoring } from './storing.ts'
import { openSigningVault } from './vault.ts'
import { version } from './version.ts'

/** An API that is not yet listening, and must be closed. */
export interface ComposedApi {
  readonly app: App
  close(): Promise<void>
}

/**
 * Puts the API together, not yet listening.
 *
 * @param environment what only the SDK of AWS reads
 * @throws TokenvaultError as openSigningVault, `policy_invalid`, and `config_invalid` where the issuers' file is wrong
 */
export async function composeApi(config: Config<'api'>, log: Log, environment: Environment): Promise<ComposedApi> {
  const issuers = readIssuers(config)
  const sink = await composeSink(config, environment)
  const watched = watchPolicy(policyPlace(config), { fields: readFields(config), log })
  const policy = watched.current
  const vault = await openSigningVault(config, {
    environment,
    applicationName: 'tokenvault api',
    role: 'tokenvault_api',
  }).catch(error => {
    watched.close()
    throw error
  })
  const { fields, database, keys, signer } = vault
  await refuseOldErasures(database, sink?.erasures, log).catch(async error => {
    watched.close()
    await database.destroy()
    throw error
  })
  const storing = await openStoring(config, database, log).catch(async error => {
    watched.close()
    await database.destroy()
    throw error
  })
  const webhook = composeWebhook(config.APPROVAL_WEBHOOK_URL, config.APPROVAL_WEBHOOK_SECRET, log)
  const alarms = composeWebhook(config.ALARM_WEBHOOK_URL, config.ALARM_WEBHOOK_SECRET, log)
  const honey = createHoneyStore(database)
  const privacy = await openPeople(config, database, log).catch(async error => {
    watched.close()
    await storing?.close()
    await database.destroy()
    throw error
  })
  const traps = await followTraps({ store: honey, fields, log, raiseAlarm: alarms?.raiseAlarm }).catch(async error => {
    watched.close()
    await storing?.close()
    await privacy?.destroy()
    await database.destroy()
    throw error
  })
  const openAction = createOpenAction({
    log: createActionLog(database),
    keys,
    policy,
    notifyApprovers: webhook?.notifyApprovers,
    traps,
  })
  const originals = createOriginalReader(database)
  const storingTools = storing && { tokenizer: createTokenizer(keys, fields), writer: storing.writer }
  const suspensions = createSuspensionReader(database)
  const evidence = composeEvidence(config, vault, openAction, sink, log)
  const followed = vault.follow(log)
  const { findErasedTokens } = createErasureLedger(database)
  const detokenize = createDetokenize({ fields, keys, originals, signer, openAction, findErasedTokens })
  const app = await createApp({
    log,
    verbs: {
      detokenize,
      previewDetokenize: createPreviewDetokenize({ fields, keys, originals, signer, openAction }),
      tokenize: createTokenize({
        fields,
        keys,
        signer,
        openAction,
        storing: storingTools,
      }),
      translate: createTranslate({ fields, keys, successors: createSuccessorReader(database), signer, openAction }),
      crosswalk: createCrosswalk({ fields, keys, originals: createFieldOriginals(database), signer, openAction }),
      quarantine: createQuarantineVerbs({
        fields,
        clearProperties: [
          ...new Set([...clearProperties, ...readFieldsFile(config).clear.map(({ property }) => property)]),
        ],
        store: createQuarantineStore(database),
        openQuarantined: createOpenQuarantined(keys),
        openAction,
      }),
      approvals: createApprovalVerbs({ approvals: createApprovalReader(database), openAction }),
      suspensions: createSuspensionVerbs({ suspensions, openAction }),
      honey: createHoneyVerbs({
        ...{ fields, store: honey, originals, storing: storingTools, openAction },
        refresh: traps.refresh,
      }),
      keys: createKeyVerbs({ readRecords: createKeyRecordReader(database), openAction }),
      ...evidence.verbs,
      ...composePeople(vault, { openAction, detokenize }, privacy),
      erasures: composeErasures({
        fields,
        keys,
        signer,
        openAction,
        database,
        privacy,
        sink,
      }),
    },
    idempotency: {
      store: createIdempotencyStore(database),
      isAdmissible: createIsAdmissible({ policy, suspensions }),
    },
    health: [createApiHealth(database)],
    storing: storing?.health,
    keysProblem: () => followed.problem(),
    jwt: { policy, issuers },
    ...(config.TRUST_PROXY === undefined ? {} : { trustProxy: config.TRUST_PROXY.split(',') }),
    rateLimitPerMinute: config.RATE_LIMIT_PER_MINUTE,
    maxConnections: config.MAX_CONNECTIONS,
    maxBodyBytes: config.MAX_BODY_BYTES_IN_FLIGHT,
    version,
  }).catch(async error => {
    watched.close()
    followed.stop()
    traps.stop()
    await storing?.close()
    await privacy?.destroy()
    await database.destroy()
    throw error
  })
  evidence.start()
  const close = async () => {
    watched.close()
    followed.stop()
    traps.stop()
    await app.close()
    // After the requests under way, of which each may have had something to tell.
    await Promise.all([webhook?.close(), alarms?.close()])
    // The last request is in the last checkpoint.
    await evidence.close()
    await storing?.close()
    await privacy?.destroy()
    await database.destroy()
  }
  return { app, close }
}

function composeWebhook(url: string | undefined, secret: string | undefined, log: Log): Webhook | undefined {
  return url === undefined || secret === undefined ? undefined : createWebhook({ url, secret, log })
}
