import { readFile } from 'node:fs/promises'
import { TokenvaultError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { FieldSchema } from '../vault/fields/fields.ts'
import { parsePolicyFile } from '../vault/files/policy-file.ts'
import type { Policy } from '../vault/policy/policy.ts'
import { type PolicyPlace, readPolicyText, unreadable } from './read-policy.ts'

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
  let timer: NodeJS.Timeout | undefined
  log.info({ event: 'policy_loaded', policy: policy.digest })

  const look = async () => {
    const found = await readFile(place.path, 'utf8').catch(unreadable)
    if (timer === undefined) return
    timer = setTimeout(look, intervalMilliseconds).unref()
    const isSettled = isSame(found, lastSeen) && !isSame(found, decided)
    lastSeen = found
    if (!isSettled) return
    decided = found
    try {
      policy = parse(found)
      log.info({ event: 'policy_loaded', policy: policy.digest })
    } catch (err) {
      log.error({ event: 'policy_refused', err, policy: policy.digest })
    }
  }
  timer = setTimeout(look, intervalMilliseconds).unref()
  const close = () => {
    clearTimeout(timer)
    timer = undefined
  }
  return { current: () => policy, close }
}

/** The text of a file, or why there is none. */
type Found = string | TokenvaultError

function isSame(a: Found, b: Found): boolean {
  return typeof a === 'string' || typeof b === 'string' ? a === b : a.message === b.message
}
