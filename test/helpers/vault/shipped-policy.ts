import { readFileSync } from 'node:fs'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { parsePolicyFile } from '../../../src/vault/files/policy-file.ts'

export const shippedPolicyText = readFileSync(new URL('../../../deploy/policy.yaml', import.meta.url), 'utf8')

/** The policy that tokenvault ships with, over the login fields. */
export const shippedPolicy = parsePolicyFile(shippedPolicyText, { source: 'deploy/policy.yaml', fields: loginFields })
