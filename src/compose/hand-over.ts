import { TokenvaultError } from '../errors.ts'
import type { KeyChange } from '../store/key-changes.ts'
import { readUnverifiedCheckpoint } from '../tlog/checkpoint.ts'
import { type HandOverReason, signHandOver } from '../tlog/hand-over.ts'
import { spanAt, traceHandOvers } from '../tlog/key-history.ts'
import { rootOf } from '../vault/evidence/make-checkpoint.ts'
import type { AuditReader } from '../vault/evidence/ports.ts'
import type { FieldKeys } from '../vault/keys/field-keys.ts'
import { formatKeyName, type KeyName } from '../vault/keys/keyset.ts'

type HandOverReader = Pick<AuditReader, 'readHandOvers' | 'listCheckpoints'>

/**
 * The hand-over from the signing key that is the primary one to another, to be signed as the log stands when it is applied.
 *
 * @param deps.keys hold both of them
 * @throws TokenvaultError `config_invalid` where the log has another name, `audit_invalid` where its hand-overs do not lead to the
 *   present key
 */
export async function planHandOver(
  deps: { readonly reader: HandOverReader; readonly keys: FieldKeys; readonly logName: string },
  name: KeyName,
  reason: HandOverReason,
): Promise<NonNullable<KeyChange['handOver']>> {
  const { reader, keys, logName } = deps
  const from = keys.signer(logName)
  const to = keys.signerOf(logName, name.version)!
  const [newest] = await reader.listCheckpoints({ limit: 1 })
  const named = newest && readUnverifiedCheckpoint(newest.note).logName
  if (named !== undefined && named !== logName)
    throw new TokenvaultError(
      'config_invalid',
      `the log signs as ${named}, not as ${logName}: AUDIT_ORIGIN and TENANT must be those of the API`,
    )
  trace(from.verifierKey, await reader.readHandOvers())
  const at = new Date().toISOString()
  const sign: NonNullable<KeyChange['handOver']>['sign'] = head =>
    signHandOver({ from, to }, { treeSize: head.treeSize, root: rootOf(head), at, reason })
  return { keyVersion: name.version, sign }
}

/**
 * The private half of a signing key may go once it was handed over: what it signed is checked with the hand-over.
 *
 * @throws TokenvaultError `key_state_invalid` where no hand-over names it, `audit_invalid` where they do not lead to the present key
 */
export async function checkHandedOver(
  deps: { readonly reader: HandOverReader; readonly keys: FieldKeys; readonly logName: string },
  name: KeyName,
): Promise<void> {
  const { reader, keys, logName } = deps
  const stored = await reader.readHandOvers()
  const traced = trace(keys.signer(logName).verifierKey, stored)
  const next = stored.find(({ keyVersion }) => keyVersion > name.version)
  const own = keys.signerOf(logName, name.version)
  // The tree of the hand-over is the last that the earlier key signs.
  const ends = next && spanAt(traced, next.treeSize).verifier.verifierKey
  if (own !== undefined && ends === own.verifierKey) return
  throw new TokenvaultError(
    'key_state_invalid',
    `no hand-over names ${formatKeyName(name)}: nothing could be checked with it`,
  )
}

function trace(verifierKey: string, stored: readonly { readonly note: string }[]) {
  try {
    return traceHandOvers(
      verifierKey,
      stored.map(({ note }) => note),
    )
  } catch (cause) {
    if (!(cause instanceof TokenvaultError)) throw cause
    throw new TokenvaultError('audit_invalid', `a stored hand-over is not one of this log: ${cause.message}`, { cause })
  }
}
