import { createHash, randomUUID } from 'node:crypto'
import { TokenvaultError } from '../../errors.ts'
import {
  type ErasedCount,
  type ErasureCertificate,
  hashOfNote,
  hashOfTokens,
  openCompletion,
  openErasure,
  signErasure,
} from '../../tlog/erasure-certificate.ts'
import type { InclusionProof } from '../../tlog/proof.ts'
import type { Receipt } from '../../tlog/receipt.ts'
import { type AnySigner, readVerifierOf, signReceiptOf } from '../admission/log-signer.ts'
import { checkApprovalId, type OpenAction, type OpenedAction } from '../admission/open-action.ts'
import type { Principal } from '../admission/ports.ts'
import type { FieldSchema } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { formatKeyName, type KeyName } from '../keys/keyset.ts'
import { digestTokens } from '../tokens/erased-tokens.ts'
import { describePersonErased } from './erasure-event.ts'
import type { ErasedRows, ErasureLedger, ErasureRequest, ErasureStore, PublishedErasures } from './erasure-ports.ts'
import { checkUserId, digestPerson, personKey } from './person.ts'

export interface EraseCall {
  readonly requestId: string
  readonly userId: string
  readonly ticket: string
  /** As the policy says where absent. */
  readonly rows?: ErasedRows | undefined
  readonly dryRun: boolean
  readonly approvalId?: string | undefined
}

/** Counts by kind and field, and quarantined bodies that name nobody. */
export interface ErasureCounts {
  readonly rows: ErasedRows
  readonly counts: readonly ErasedCount[]
  readonly unattributed: number
}

export type EraseResult =
  | ({ readonly outcome: 'counted' } & ErasureCounts)
  | {
      readonly outcome: 'approval_required'
      readonly approval: { readonly id: string; readonly state: 'pending' | 'approved'; readonly expiresAt: string }
      readonly receipt: Receipt
    }
  | ({
      readonly outcome: 'erased'
      readonly number: number
      /** Signed note. */
      readonly certificate: string
      /** Whether the entry of the ledger stands outside of the database; absent where no sink is configured. */
      readonly isPublished?: boolean
      readonly receipt: Receipt
    } & ErasureCounts)

export interface ErasureVerbs {
  /**
   * Erases a person: rows, what only they had, their quarantined bodies. One transaction with its event and its entry in the ledger: a
   * process that dies leaves either nothing done or all.
   *
   * @throws TokenvaultError `ticket_required`, `ticket_invalid`, `role_not_permitted`, `principal_suspended`, `people_off`,
   *   `person_unknown`, `person_erased`, `person_held`, `approval_unknown`, `approval_unusable`, `approvals_too_many`,
   *   `store_unavailable`, `audit_unavailable`
   */
  erase(principal: Principal, call: EraseCall): Promise<EraseResult>
  /** The certificate, with what proves it so far. @throws TokenvaultError `role_not_permitted`, `erasure_unknown`, as `erase` */
  show(principal: Principal, call: { readonly requestId: string; readonly number: number }): Promise<ErasureCertificate>
}

export interface ErasureDependencies {
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly signer: AnySigner
  readonly openAction: OpenAction
  /** Absent where PRIVACY_DATABASE_URL is not set. */
  readonly store: ErasureStore | undefined
  readonly ledger: ErasureLedger
  /** The person's quarantined entries, and how many name nobody. */
  readonly findQuarantined: (
    userId: string,
  ) => Promise<{ readonly ids: readonly string[]; readonly unattributed: number }>
  /** Data and quarantine keys of now, which open what backups hold, and the KEKs that wrap them. */
  readonly readBackupKeys: () => Promise<{ readonly keys: readonly KeyName[]; readonly keks: readonly string[] }>
  readonly proveInclusion: (sequence: number) => Promise<InclusionProof>
  readonly published?: Pick<PublishedErasures, 'publish'> | undefined
  readonly now?: () => Date
}

/** @returns the verbs; what they need stands behind ports */
export function createErasureVerbs(deps: ErasureDependencies): ErasureVerbs {
  const { fields, keys, openAction, ledger, now = () => new Date() } = deps
  return {
    async erase(principal, call) {
      const { requestId, userId, ticket, approvalId } = call
      if (ticket === '') throw new TokenvaultError('ticket_required')
      checkUserId(userId)
      const person = personKey(keys, userId)
      const action = await openAction({
        operation: 'person_erase',
        principal,
        requestId,
        ticket,
        person: digestPerson(keys, userId),
        needs: 'people',
      })
      checkApprovalId(approvalId)
      const { store } = deps
      if (store === undefined) return action.refuse('people_off')
      const { ids: quarantined, unattributed } = await deps.findQuarantined(userId)
      const rows = call.rows ?? action.policy.erasure.rows
      const request = { userId, person, fields, rows, quarantined }
      const counts = await countOrHeld(store, request)
      if (counts === undefined) return action.refuse('person_held')
      if (!counts.some(isOfPerson)) return refuseNothing(action, ledger, person)
      if (call.dryRun) {
        await action.record({ mode: 'preview' })
        return { outcome: 'counted', rows, counts, unattributed }
      }

      const change = action.policy.erasure.needsApproval ? describeApproval(keys, { person, ticket, rows }) : undefined
      if (change !== undefined && approvalId === undefined) {
        const committed = await action.record({ change: { kind: 'request_approval', id: randomUUID(), ...change } })
        const { admission } = committed
        if (!admission.allowed || admission.approvalId === undefined)
          throw new TokenvaultError('internal', 'no request')
        const approval = {
          id: admission.approvalId,
          state: admission.approvalState!,
          expiresAt: admission.approvalExpiresAt!,
        }
        return { outcome: 'approval_required', approval, receipt: await signReceiptOf(deps.signer, committed) }
      }
      if (change === undefined || approvalId === undefined) await action.record()
      // A process that died between this event and the erasure used the approval up for nothing.
      else if (await ledger.isUnfinished({ approval: approvalId, digest: change.digest, principal }))
        await action.record({ approval: approvalId })
      else await action.record({ change: { kind: 'use_approval', id: approvalId, digest: change.digest } })

      const done = await eraseNow({ ...deps, store, now }, { principal, call, request, person, unattributed })
      if (done === undefined) return refuseNothing(action, ledger, person)
      return { outcome: 'erased', rows, unattributed, ...done }
    },

    async show(principal, { requestId, number }) {
      const action = await openAction({ operation: 'erasure_show', principal, requestId, needs: 'people' })
      const entry = await ledger.findEntry(number)
      if (entry === undefined) return action.withhold('erasure_unknown')
      const file = await proveCertificate(deps, entry)
      await action.record()
      return file
    },
  }
}

/** Erases in one transaction, and publishes the entry. @returns undefined where nothing was left to erase */
async function eraseNow(
  deps: ErasureDependencies & { readonly store: ErasureStore; readonly now: () => Date },
  asked: {
    readonly principal: Principal
    readonly call: EraseCall
    readonly request: ErasureRequest
    readonly person: string
    readonly unattributed: number
  },
) {
  const { keys, signer, store, published } = deps
  const { principal, call, request, person, unattributed } = asked
  const { rows } = request
  const at = deps.now().toISOString()
  const backups = await deps.readBackupKeys()
  let tokens: readonly string[] = []
  const done = await store.erase(request, {
    event: erased => {
      if (!erased.counts.some(isOfPerson)) return undefined
      return describePersonErased({
        eraser: principal,
        requestId: call.requestId,
        ticket: call.ticket,
        at,
        person: digestPerson(keys, request.userId),
        personKey: person,
        rows,
        erased,
      })
    },
    async entry(erased, { sequence, leafHash, signingKeyVersion }) {
      tokens = digestTokens(keys, erased.tokens)
      const fields = new Set(erased.tokens.map(({ field }) => field))
      const certificate = signErasure('ofVersion' in signer ? await signer.ofVersion(signingKeyVersion) : signer, {
        number: erased.number,
        previous: Buffer.from(erased.previous).toString('base64'),
        at,
        person,
        event: { sequence, leafHash: Buffer.from(leafHash).toString('base64') },
        rows,
        counts: erased.counts,
        tokens: { count: tokens.length, sha256: hashOfTokens(tokens) },
        unattributed,
        backups: {
          keys: backups.keys
            .filter(({ field, purpose }) => (purpose === 'data' ? fields.has(field) : request.quarantined.length > 0))
            .map(formatKeyName),
          keks: backups.keks,
        },
      })
      const hash = Buffer.from(hashOfNote(certificate), 'base64')
      return { person, approval: call.approvalId, at, certificate, hash, tokens }
    },
  })
  if (done === undefined) return undefined
  const { erased, certificate, ...place } = done
  const { number, counts } = erased
  const isPublished =
    published &&
    (await published.publish({ number, certificate, tokens }).then(
      () => true,
      () => false,
    ))
  return {
    number,
    counts,
    certificate,
    ...(isPublished === undefined ? {} : { isPublished }),
    receipt: await signReceiptOf(signer, { admission: { allowed: true }, ...place }),
  }
}

/** @returns undefined where a legal hold forbids the erasure */
async function countOrHeld(store: ErasureStore, request: ErasureRequest): Promise<readonly ErasedCount[] | undefined> {
  try {
    return (await store.count(request)).counts
  } catch (error) {
    if (error instanceof TokenvaultError && error.code === 'person_held') return undefined
    throw error
  }
}

/** What is a person's own: shared values are others' as well. */
function isOfPerson({ kind }: ErasedCount): boolean {
  return /^(anonymized_)?(row|detail)$|^quarantined$/.test(kind)
}

async function refuseNothing(action: OpenedAction, ledger: ErasureLedger, person: string): Promise<never> {
  const before = await ledger.findByPerson([person])
  return action.withhold(before.length > 0 ? 'person_erased' : 'person_unknown')
}

/** Exactly what a second person decides about. Under the oldest key, as of every approval. */
function describeApproval(
  keys: FieldKeys,
  { person, ticket, rows }: { readonly person: string; readonly ticket: string; readonly rows: ErasedRows },
) {
  const hash = createHash('sha256')
    .update(JSON.stringify(['person_erase', person, ticket, rows]))
    .digest('hex')
  const digest = keys.digests[0]!.digest([`tokenvault approval v1 ${hash}`])[0]!
  return { digest, ticket, reveal: 'full' as const, values: 0, fields: {} }
}

/** The certificate with the proofs that can be given by now. */
async function proveCertificate(
  { signer, proveInclusion }: Pick<ErasureDependencies, 'signer' | 'proveInclusion'>,
  { certificate, completion }: { readonly certificate: string; readonly completion?: string },
): Promise<ErasureCertificate> {
  const verifier = await readVerifierOf(signer)
  const { event } = openErasure(certificate, verifier)
  const proof = await proveIfCovered(proveInclusion, event.sequence)
  const file = { certificate, ...(proof && { proof }) }
  if (completion === undefined) return file
  const { destroyed, rewrapped } = openCompletion(completion, verifier)
  const sequences = new Set([...destroyed, rewrapped].map(({ sequence }) => sequence))
  const completionProofs: InclusionProof[] = []
  for (const sequence of sequences) completionProofs.push(await proveInclusion(sequence))
  return { ...file, completion, completionProofs }
}

/** An event is proven once a checkpoint covers it. */
async function proveIfCovered(proveInclusion: (sequence: number) => Promise<InclusionProof>, sequence: number) {
  try {
    return await proveInclusion(sequence)
  } catch (error) {
    if (error instanceof TokenvaultError && error.code === 'audit_event_unknown') return undefined
    throw error
  }
}
