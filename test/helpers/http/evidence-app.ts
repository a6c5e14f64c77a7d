import type { Test } from 'tap'
import { createActionLog } from '../../../src/store/action-log.ts'
import { createAuditSearch } from '../../../src/store/audit-search.ts'
import { createRelatedTokens } from '../../../src/store/related-tokens.ts'
import { createNoteVerifier } from '../../../src/tlog/signed-note.ts'
import { createOpenAction } from '../../../src/vault/admission/open-action.ts'
import type { ActionLog } from '../../../src/vault/admission/ports.ts'
import { createEvidenceVerbs } from '../../../src/vault/evidence/proofs.ts'
import { createProver } from '../../../src/vault/evidence/prove.ts'
import { createSearchAudit } from '../../../src/vault/evidence/search.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import type { FieldKeys } from '../../../src/vault/keys/field-keys.ts'
import type { Policy } from '../../../src/vault/policy/policy.ts'
import { startEvidence } from '../evidence/evidence.ts'
import { investigator, worldPolicy } from '../vault/vault-world.ts'
import { post, startApp } from './http-app.ts'
import { signJwt } from './jwks-server.ts'

/** The real app over a real log, for who reads the evidence. */
export async function startEvidenceApp(
  t: Test,
  change: { keys?: FieldKeys; log?: (log: ActionLog) => ActionLog; policy?: Policy } = {},
) {
  const evidence = await startEvidence(t)
  const { apiDatabase, reader, signer } = evidence
  const keys = change.keys ?? evidence.keys
  const policy = () => change.policy ?? worldPolicy
  const log = createActionLog(apiDatabase)
  const now = () => new Date()
  const openAction = createOpenAction({ log: change.log?.(log) ?? log, keys, now, policy })
  const prover = createProver(reader, createNoteVerifier(signer.verifierKey))
  const search = createAuditSearch(apiDatabase)
  const app = await startApp(t, {
    verbs: {
      evidence: createEvidenceVerbs({ openAction, reader, prover, signer }),
      searchAudit: createSearchAudit({
        ...{ openAction, fields: loginFields, keys, search },
        related: createRelatedTokens(apiDatabase),
      }),
    },
  })
  /** Asks as an auditor, unless told otherwise; a body makes it a POST. */
  const call = async (path: string, options: { roles?: string[]; body?: object | string } = {}) => {
    const jwt = await signJwt(app.key, { roles: options.roles ?? ['auditor'] })
    const reply =
      options.body === undefined
        ? await fetch(`${app.origin}/v1/audit${path}`, { headers: { authorization: `Bearer ${jwt}` } })
        : await post(app, `/v1/audit${path}`, options.body, { jwt })
    const text = await reply.text()
    return { status: reply.status, text, json: JSON.parse(text) }
  }
  return {
    ...evidence,
    app,
    call,
    /** Records that an investigator got the tokens; by keys of another time where they are given. */
    async reveal(tokens: readonly string[], by: FieldKeys = keys) {
      const open = createOpenAction({ log, keys: by, now, policy })
      const { record } = await open({
        operation: 'detokenize',
        principal: investigator,
        requestId: '00000000-0000-4000-8000-000000000000',
        purpose: 'fraud_investigation',
        requested: tokens.length,
      })
      const { sequence } = await record({ grantedTokens: tokens })
      return sequence
    },
    /** Every event, as people read it, and what is counted until now. */
    async events() {
      await evidence.admin.query('SELECT pii_vault.fold_refusals(true)')
      const { rows } = await evidence.admin.query(
        'SELECT type, subject, purpose, decision, code, requested, granted, tokens, withheld FROM pii_vault.audit_events ORDER BY sequence',
      )
      return rows
    },
  }
}
