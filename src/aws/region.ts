import { partition } from '@aws-sdk/core/client'

/** A region as a label of a host: eu-central-1, us-gov-west-1, us-isob-east-1, eusc-de-east-1. */
const regionLabel = /^(?:[a-z]{2}|eusc)(?:-[a-z]+)+-\d{1,2}$/

/** LocalStack's hosts carry the region as those of AWS do. */
const emulatorSuffix = 'localhost.localstack.cloud'

/**
 * The region that a host of AWS carries, whatever stands around it: `sqs.<region>.amazonaws.com` and its FIPS, dual-stack,
 * VPC (`vpce-….sqs.<region>.vpce.amazonaws.com`) and legacy (`<region>.queue.amazonaws.com`) forms, in all partitions.
 *
 * @returns undefined where the host is not one of AWS, or says no region
 */
export function regionOfHost(hostname: string): string | undefined {
  const host = hostname.toLowerCase().replace(/\.$/, '')
  // The first endpoint of SQS. Its queues are in the first region.
  if (host === 'queue.amazonaws.com') return 'us-east-1'
  const region = host.split('.').findLast(label => regionLabel.test(label))
  if (region === undefined) return undefined
  const { dnsSuffix, dualStackDnsSuffix } = partition(region)
  return [dnsSuffix, dualStackDnsSuffix, emulatorSuffix].some(suffix => host.endsWith(`.${suffix}`))
    ? region
    : undefined
}

/** Whether the host is what AWS names a queue's by itself, today or before: it stands for the service, and not for one way to it. */
export function isStandardSqsHost(hostname: string, region: string): boolean {
  const { dnsSuffix } = partition(region)
  const standard = [`sqs.${region}.${dnsSuffix}`, `${region}.queue.${dnsSuffix}`, 'queue.amazonaws.com']
  return standard.includes(hostname)
}

/** Whether calls to the host go by FIPS and dual-stack where these are asked for. */
export function isHostOf(hostname: string, region: string, asked: { fips: boolean; dualStack: boolean }): boolean {
  const { dualStackDnsSuffix } = partition(region)
  return (
    (!asked.fips || hostname.split('.').some(label => label.endsWith('-fips'))) &&
    (!asked.dualStack || hostname.endsWith(`.${dualStackDnsSuffix}`))
  )
}

/** Real services are on hosts of AWS, or reached over TLS. */
export function isEmulator({ protocol, hostname }: URL): boolean {
  return protocol === 'http:' && (regionOfHost(hostname) === undefined || hostname.endsWith(`.${emulatorSuffix}`))
}
