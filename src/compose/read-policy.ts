import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Config } from '../config/load.ts'
import { TokenvaultError } from '../errors.ts'
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
export function policyPlace({ POLICY_FILE: path }: Pick<Config<'api'>, 'POLICY_FILE'>): PolicyPlace {
  return path === undefined ? shippedPolicy : { path, name: path }
}

/** @throws TokenvaultError `policy_invalid` with the lines that are wrong, or why the file cannot be read */
export function readPolicy({ path, name }: PolicyPlace, fields: FieldSchema): Policy {
  return parsePolicyFile(readPolicyText(path), { source: name, fields })
}

/** @throws TokenvaultError `policy_invalid` */
export function readPolicyText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw unreadable(error)
  }
}

/** A failure of the file system, by its code: the path may be nobody's business. */
export function unreadable(error: unknown): TokenvaultError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
  return new TokenvaultError('policy_invalid', `the policy file cannot be read (${code})`)
}
