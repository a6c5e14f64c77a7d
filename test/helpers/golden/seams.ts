/**
 * All that the golden tests take from the rest of the repository. Whatever moves or gets another name is followed here:
 * what watches the code is not edited together with it.
 */

import { processNames, variablesOf } from '../../../src/config/variables.ts'

export { reportFailure } from '../../../src/cli/terminal/failure.ts'
export { type ErrorCode, errorCatalogue, TokenvaultError } from '../../../src/errors.ts'
export { appearance } from '../../../src/http/problems/problem.ts'
export { createFirstIdentitySeal } from '../../../src/ingest/first-identity.ts'
export { createLambdaFunction } from '../../../src/lambda.ts'
export { openReceipt, signReceipt } from '../../../src/tlog/receipt.ts'
export { createNoteSigner, createNoteVerifier } from '../../../src/tlog/signed-note.ts'
export { FieldKeys } from '../../../src/vault/keys/field-keys.ts'
export { Keyset } from '../../../src/vault/keys/keyset.ts'
export { type Command, startCommand } from '../cli/cli.ts'
export { runInProcess } from '../cli/cli-in-process.ts'
export { temporaryDirectory } from '../embedded/embedded-directory.ts'
export { fetchCalmly } from '../http/http-app.ts'
export {
  audience,
  createIssuerKey,
  type IssuerKey,
  issuer,
  signJwt,
  startJwksServer,
} from '../http/jwks-server.ts'
export { createVaultDatabase, type VaultDatabase } from '../postgres/vault-database.ts'
export { startQueue } from '../queue/server.ts'

/** Schemas of the variables, by process and name. */
export const configVariables = Object.fromEntries(
  processNames.map(processName => {
    const schemas = [...variablesOf(processName)].map(([name, { schema }]) => [name, schema] as const)
    return [processName, Object.fromEntries(schemas)]
  }),
)

/** Paths of the API that the golden tests call. They may change; what a call leaves in the evidence may not. */
export const routes = {
  detokenize: () => ['POST', '/v1/detokenize'],
  tokenize: () => ['POST', '/v1/tokenize'],
  crosswalk: () => ['POST', '/v1/crosswalk'],
  listQuarantine: () => ['GET', '/v1/quarantine'],
  showQuarantined: (id: string) => ['GET', `/v1/quarantine/${id}`],
  openQuarantined: (id: string) => ['POST', `/v1/quarantine/${id}/open`],
  redriveQuarantined: (id: string) => ['POST', `/v1/quarantine/${id}/redrive`],
  redriveAll: () => ['POST', '/v1/quarantine/redrive'],
  discardQuarantined: (id: string) => ['POST', `/v1/quarantine/${id}/discard`],
  listApprovals: () => ['GET', '/v1/approvals'],
  showApproval: (id: string) => ['GET', `/v1/approvals/${id}`],
  listSuspensions: () => ['GET', '/v1/suspensions'],
  liftSuspension: () => ['POST', '/v1/suspensions/lift'],
  searchAudit: () => ['POST', '/v1/audit/search'],
  newestCheckpoint: () => ['GET', '/v1/audit/checkpoint'],
  proveEvent: (sequence: string) => ['GET', `/v1/audit/${sequence}/proof`],
  proveGrowth: (from: string) => ['GET', `/v1/audit/consistency?from=${from}`],
} satisfies Record<string, (id: string) => readonly [string, string]>

/** The call that decides about a request for approval: method and path, and its body. */
export function decideApproval(id: string, decision: string): [readonly [string, string], object] {
  return [['POST', `/v1/approvals/${id}/decision`], { decision }]
}
