import { createHash } from 'node:crypto'
import { TokenvaultError } from '../../errors.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { PersonKey } from './ports.ts'

/** Most characters of a user id, as the column has them. */
export const maxUserIdCharacters = 128

/**
 * Refuses texts that are the user id of no row: Postgres keeps neither NUL nor lone surrogates, and no more than 128 characters.
 *
 * @throws TokenvaultError `request_invalid`, which repeats nothing of the text
 */
export function checkUserId(userId: string): void {
  const isPossible = userId !== '' && [...userId].length <= maxUserIdCharacters
  if (!isPossible || userId.includes('\0') || !userId.isWellFormed())
    throw new TokenvaultError('request_invalid', 'a user id has 1 to 128 characters of Unicode, without NUL')
}

/** By which an event names a person: under the primary audit key. */
export function digestPerson(keys: FieldKeys, userId: string): string {
  return keys.digest.digest([labelled(userId)])[0]!
}

/** By all of which events of the past may name a person. */
export function digestsOfPerson(keys: FieldKeys, userId: string): readonly string[] {
  return keys.digests.flatMap(digest => digest.digest([labelled(userId)]))
}

/** By which tables of ours name people, each in its place: under the oldest audit key, so that it stays. See ports.ts. */
export function personKeys(keys: FieldKeys, userIds: readonly string[]): readonly PersonKey[] {
  return keys.digests[0]!.digest(userIds.map(labelled))
}

/** As personKeys, of one. */
export function personKey(keys: FieldKeys, userId: string): PersonKey {
  return personKeys(keys, [userId])[0]!
}

/** A token never begins so, nor does what is digested of an approval or of a JWT. Hashed first, as an id may be long. */
function labelled(userId: string): string {
  return `tokenvault person v1 ${createHash('sha256').update(userId, 'utf8').digest('hex')}`
}

/** The other Unicode forms of a user id, which are other people to whoever compares bytes. */
export function otherForms(userId: string): readonly string[] {
  return (['NFC', 'NFD', 'NFKC', 'NFKD'] as const)
    .map(form => userId.normalize(form))
    .filter((form, place, all) => form !== userId && all.indexOf(form) === place)
}
