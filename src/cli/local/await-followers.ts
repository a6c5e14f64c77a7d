import type { KeyAdministrator } from '../../compose/key-administration.ts'
import { pause } from '../../concurrency/waiting.ts'
import { TokenvaultError } from '../../errors.ts'
import type { KeyFollower } from '../../vault/keys/ports.ts'

/**
 * After which a process that says nothing has taken up a key, too: one that is just starting, or of an earlier release. They look
 * every two seconds.
 */
export const takeUpSeconds = 6

/** How long one that says that it goes by other keys is waited for. */
const longestSeconds = 30

/**
 * Waits until every running process goes by the stored keys.
 *
 * @returns those that do not, after all that time
 */
export async function awaitFollowers(
  administrator: Pick<KeyAdministrator, 'readFollowers'>,
  limits: { readonly leastSeconds?: number; readonly longestSeconds?: number } = {},
): Promise<readonly KeyFollower[]> {
  const startedAtMs = performance.now()
  await pause((limits.leastSeconds ?? takeUpSeconds) * 1000)
  for (;;) {
    const { laggards } = await administrator.readFollowers()
    const isLate = performance.now() - startedAtMs > (limits.longestSeconds ?? longestSeconds) * 1000
    if (laggards.length === 0 || isLate) return laggards
    await pause(500)
  }
}

/** @throws TokenvaultError `keys_not_followed`, which names them */
export function refuseLaggards(laggards: readonly KeyFollower[]): void {
  if (laggards.length === 0) return
  throw new TokenvaultError('keys_not_followed', laggards.map(nameFollower).join(', '))
}

/** As the first letters of its instance, which `keys status` shows, too. */
export function nameFollower({ process, instance }: Pick<KeyFollower, 'process' | 'instance'>): string {
  return `${process} ${instance.slice(0, 8)}`
}
