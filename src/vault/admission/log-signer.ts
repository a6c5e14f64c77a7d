import { pause } from '../../concurrency/waiting.ts'
import { TokenvaultError } from '../../errors.ts'
import { type LogVerifier, spansOf, traceHandOvers } from '../../tlog/key-history.ts'
import { type Receipt, signReceipt } from '../../tlog/receipt.ts'
import { createNoteVerifier, type NoteSigner } from '../../tlog/signed-note.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { CommittedAction, HandOverReader } from './ports.ts'

/** Signs for a log whose signing key may give way to another while the process runs. */
export interface LogSigner extends NoteSigner {
  /**
   * The key of a version; where another process made it the one that signs a moment ago, this waits until it is held.
   * @throws TokenvaultError `keyset_incomplete` where it does not come
   */
  ofVersion(version: number): Promise<NoteSigner>
  /** The key that signs a tree of the size, of those that the verifier knows. @throws TokenvaultError as ofVersion */
  forTree(treeSize: number, verifier: LogVerifier): Promise<NoteSigner>
  /** Every key of the log, and what is stored of hand-overs. @throws TokenvaultError `audit_invalid`, `store_unavailable` */
  readVerifier(): Promise<LogVerifier>
}

/** The key that a process holds for good, or one that follows the hand-overs of its log. */
export type AnySigner = NoteSigner | LogSigner

/** How long a key that was handed over to may take to come; processes look every two seconds. */
const waitMilliseconds = 10_000
const lookMilliseconds = 50

/**
 * @param name of the log
 * @throws TokenvaultError `keyset_incomplete` without a signing key, `config_invalid` for a log name with spaces or a plus
 */
export function createLogSigner(keys: FieldKeys, name: string, handOvers: HandOverReader): LogSigner {
  const current = () => keys.signer(name)
  current()
  const ofVersion = async (version: number) => {
    for (let leftMs = waitMilliseconds; ; leftMs -= lookMilliseconds) {
      const signer = keys.signerOf(name, version)
      if (signer !== undefined) return signer
      if (leftMs <= 0)
        throw new TokenvaultError(
          'keyset_incomplete',
          `signing//v${version} signs now, and this process does not hold it`,
        )
      await pause(lookMilliseconds, AbortSignal.timeout(waitMilliseconds))
    }
  }
  return {
    name,
    get verifierKey() {
      return current().verifierKey
    },
    sign: text => current().sign(text),
    ofVersion,
    async forTree(treeSize, verifier) {
      const place = verifier.spans.findIndex(({ upTo }) => treeSize <= upTo)
      const key = verifier.spans[place]!.verifier.verifierKey
      const held = keys.signers(name).find(({ verifierKey }) => verifierKey === key)
      if (held === undefined)
        throw new TokenvaultError('keyset_incomplete', `the signing key of trees of ${treeSize} events is not held`)
      return held
    },
    async readVerifier() {
      const stored = await handOvers.readHandOvers()
      // The one that the newest hand-over leads to; until one is stored, a key that was made waits for it.
      const last = stored.at(-1)
      const signer = last === undefined ? current() : await ofVersion(last.keyVersion)
      try {
        return traceHandOvers(
          signer.verifierKey,
          stored.map(({ note }) => note),
        )
      } catch (cause) {
        if (!(cause instanceof TokenvaultError)) throw cause
        throw new TokenvaultError('audit_invalid', `a stored hand-over is not one of this log: ${cause.message}`, {
          cause,
        })
      }
    },
  }
}

/** The receipt of an action, by the key that signs its place. @throws TokenvaultError `keyset_incomplete` */
export async function signReceiptOf(signer: AnySigner, committed: CommittedAction): Promise<Receipt> {
  const { signingKeyVersion: version } = committed
  return signReceipt(
    'ofVersion' in signer && version !== undefined ? await signer.ofVersion(version) : signer,
    committed,
  )
}

/** Every key of the log. */
export async function readVerifierOf(signer: Pick<NoteSigner, 'verifierKey'> | LogSigner): Promise<LogVerifier> {
  if ('readVerifier' in signer) return signer.readVerifier()
  const verifier = createNoteVerifier(signer.verifierKey)
  return { name: verifier.name, spans: spansOf(verifier) }
}
