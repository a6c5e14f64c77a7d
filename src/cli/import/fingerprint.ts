import { createHash, randomBytes, scryptSync, timingSafeEqual } from 'node:crypto'
import { createReadStream, statSync } from 'node:fs'

/** Tells whether a file is the one of before. */
export interface Fingerprint {
  readonly bytes: number
  readonly salt: string
  readonly digest: string
}

/** Of scrypt: 32 MiB and a tenth of a second for each guess. */
const cost = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 1024 * 1024 } as const

/**
 * What is kept of a file to know it again. A plain hash of a file with one address would tell the address to whoever tries
 * them all, so the hash goes through scrypt.
 */
export async function takeFingerprint(path: string): Promise<Fingerprint> {
  const { bytes, hash } = await hashFile(path)
  const salt = randomBytes(16)
  return { bytes, salt: salt.toString('base64'), digest: scryptSync(hash, salt, 32, cost).toString('base64') }
}

export async function matchesFingerprint(path: string, { bytes, salt, digest }: Fingerprint): Promise<boolean> {
  if (statSync(path).size !== bytes) return false
  const { hash } = await hashFile(path)
  const found = scryptSync(hash, Buffer.from(salt, 'base64'), 32, cost)
  const kept = Buffer.from(digest, 'base64')
  return kept.length === found.length && timingSafeEqual(kept, found)
}

async function hashFile(path: string): Promise<{ readonly bytes: number; readonly hash: Buffer }> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
    hash.update(chunk)
    bytes += chunk.length
  }
  return { bytes, hash: hash.digest() }
}

/** What changes when anybody writes to the file, for while a command runs. */
export function versionOf(path: string): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true })
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
}
