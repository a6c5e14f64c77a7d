import { TokenvaultError } from '../../errors.ts'
import { spanAt } from '../../tlog/key-history.ts'
import type { ConsistencyProof, InclusionProof } from '../../tlog/proof.ts'
import type { NoteSigner } from '../../tlog/signed-note.ts'
import { type LogSigner, readVerifierOf } from '../admission/log-signer.ts'
import type { OpenAction } from '../admission/open-action.ts'
import type { Principal } from '../admission/ports.ts'
import type { AuditReader } from './ports.ts'
import { findNewest, type Prover } from './prove.ts'

/** A checkpoint, and the key to check it with; a prudent reader compares that with the one it keeps. */
export interface ShownCheckpoint {
  readonly origin: string
  readonly treeSize: number
  /** Signed note. */
  readonly note: string
  /** Of the key that signed it. */
  readonly verifierKey: string
  /** Signed notes by which the log handed over from key to key, in order. */
  readonly handOvers: string[]
}

/**
 * What auditors take away to prove things to others.
 *
 * All throw TokenvaultError `role_not_permitted`, `principal_suspended`, `audit_unavailable`, `store_unavailable`, and
 * `audit_event_unknown` where the newest checkpoint does not reach so far, or none of that size is kept.
 */
export interface EvidenceVerbs {
  newestCheckpoint(principal: Principal, request: { requestId: string }): Promise<ShownCheckpoint>
  /** @param request.size of the checkpoint to prove it by; the newest without it */
  proveEvent(
    principal: Principal,
    request: { requestId: string; sequence: number; size?: number | undefined },
  ): Promise<InclusionProof>
  /** @param request.from and `to`: sizes of checkpoints; `to` is the newest where it is absent */
  proveGrowth(
    principal: Principal,
    request: { requestId: string; from: number; to?: number | undefined },
  ): Promise<ConsistencyProof>
}

/** @returns the verbs; the log stands behind its port */
export function createEvidenceVerbs(deps: {
  readonly reader: Pick<AuditReader, 'listCheckpoints' | 'readHandOvers'>
  readonly prover: Prover
  readonly signer: Pick<NoteSigner, 'name' | 'verifierKey'> | LogSigner
  readonly openAction: OpenAction
}): EvidenceVerbs {
  const { reader, prover, signer, openAction } = deps
  const prove = async <T>(principal: Principal, requestId: string, read: () => Promise<T>): Promise<T> => {
    const { record, withhold } = await openAction({ operation: 'audit_prove', principal, requestId, needs: 'audit' })
    let found: T
    try {
      found = await read()
    } catch (error) {
      if (error instanceof TokenvaultError && error.code === 'audit_event_unknown') return withhold(error.code)
      throw error
    }
    await record()
    return found
  }
  return {
    newestCheckpoint: (principal, { requestId }) =>
      prove(principal, requestId, async () => {
        const verifier = await readVerifierOf(signer)
        const newest = await findNewest(reader, verifier)
        if (newest === undefined) throw new TokenvaultError('audit_event_unknown')
        const { verifierKey } = spanAt(verifier, newest.treeSize).verifier
        const handOvers = (await reader.readHandOvers()).map(({ note }) => note)
        return { origin: signer.name, treeSize: newest.treeSize, note: newest.note, verifierKey, handOvers }
      }),
    proveEvent: (principal, { requestId, sequence, size }) =>
      prove(principal, requestId, () => {
        checkKnown(sequence, size)
        return prover.proveInclusion(sequence, size)
      }),
    proveGrowth: (principal, { requestId, from, to }) =>
      prove(principal, requestId, () => {
        checkKnown(from, to)
        return prover.proveConsistency(from, to)
      }),
  }
}

/** Numbers that no log reaches are not exact, and would ask for others than were meant. */
function checkKnown(...numbers: readonly (number | undefined)[]): void {
  if (!numbers.every(number => number === undefined || Number.isSafeInteger(number)))
    throw new TokenvaultError('audit_event_unknown')
}
