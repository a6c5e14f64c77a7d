import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { repeat } from '../concurrency/waiting.ts'
import { TokenvaultError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { FieldSchema } from '../vault/fields/fields.ts'
import { parsePolicyFile } from '../vault/files/policy-file.ts'
import type { Policy } from '../vault/policy/policy.ts'

/** The policy that tokenvault ships with. */
const shippedPolicy = {
  path: fileURLToPath(new URL('../../deploy/policy.yaml', import.meta.url)),
  name: 'deploy/policy.yaml',
}

/** A policy file, and what people call it. */
export interface PolicyPlace {
  readonly path: string
  readonly name: string
}

/** The file of POLICY_FILE, or the one that tokenvault ships with. */
export function policyPlace({ POLICY_FILE: path }: { readonly POLICY_FILE?: string | undefined }): PolicyPlace {
  return path === undefined ? shippedPolicy : { path, name: path }
}

/** @throws TokenvaultError `policy_invalid` with the lines that are wrong, or why the file cannot be read */
export function readPolicy({ path, name }: PolicyPlace, fields: FieldSchema): Policy {
  return parsePolicyFile(readPolicyText(path), { source: name, fields })
}

/** @throws TokenvaultError `policy_invalid` */
function readPolicyText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw unreadable(error)
  }
}

/** A failure of the file system, by its code: the path may be nobody's business. */
function unreadable(error: unknown): TokenvaultError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
  return new TokenvaultError('policy_invalid', `the policy file cannot be read (${code})`)
}

/** A policy that follows its file. */
export interface WatchedPolicy {
  /** The newest one that was right. */
  current(): Policy
  close(): void
}

/**
 * Reads a policy, and looks at its file again twice a second. The text itself is compared, so it does not matter how the file came to be
 * another one: written in place, renamed over, or a link of Kubernetes that was turned. Another text counts once two looks
 * agree on it, because half a policy may be a policy too. One that is wrong is told once, and changes nothing; one that is
 * right is told by its digest.
 *
 * @param options.intervalMilliseconds between two looks
 * @throws TokenvaultError `policy_invalid` where the first one is wrong already
 */
export function watchPolicy(
  place: PolicyPlace,
  options: { readonly fields: FieldSchema; readonly log: Log; readonly intervalMilliseconds?: number },
): WatchedPolicy {
  const { fields, log, intervalMilliseconds = 500 } = options
  const parse = (found: Found) => {
    if (found instanceof TokenvaultError) throw found
    return parsePolicyFile(found, { source: place.name, fields })
  }
  let decided: Found = readPolicyText(place.path)
  let lastSeen: Found = decided
  let policy = parse(decided)
  const closing = new AbortController()
  log.info({ event: 'policy_loaded', policy: policy.digest })

  const look = async () => {
    const found = await readFile(place.path, 'utf8').catch(unreadable)
    if (closing.signal.aborted) return intervalMilliseconds
    const isSettled = isSame(found, lastSeen) && !isSame(found, decided)
    lastSeen = found
    if (!isSettled) return intervalMilliseconds
    decided = found
    try {
      policy = parse(found)
      log.info({ event: 'policy_loaded', policy: policy.digest })
    } catch (err) {
      log.error({ event: 'policy_refused', err, policy: policy.digest })
    }
    return intervalMilliseconds
  }
  void repeat(look, closing.signal, { firstAfterMilliseconds: intervalMilliseconds, ref: false })
  return { current: () => policy, close: () => closing.abort() }
}

/** The text of a file, or why there is none. */
type Found = string | TokenvaultError

function isSame(a: Found, b: Found): boolean {
  return typeof a === 'string' || typeof b === 'string' ? a === b : a.message === b.message
}
