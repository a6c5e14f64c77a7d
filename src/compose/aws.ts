import { type AwsService, type AwsSettings, type AwsVariables, readAwsSettings } from '../aws/client-settings.ts'
import type { Environment } from '../config/load.ts'
import { readProxies } from '../config/proxies.ts'

/**
 * What every client of AWS is made with, whichever service it calls.
 *
 * @param variables as configured, so that each may have come from a file
 * @param environment what only the SDK reads
 * @param queueUrl of SQS
 * @throws TokenvaultError `config_invalid` as readAwsSettings and readProxies
 */
export function composeAwsSettings(
  service: AwsService,
  variables: AwsVariables,
  environment: Environment,
  queueUrl?: string,
): Promise<AwsSettings> {
  return readAwsSettings(service, { variables, environment, queueUrl, proxies: readProxies(environment) })
}
