import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/** A call as the server saw it. */
export interface SeenCall {
  /** Host that was called; through a proxy, the one behind it. */
  readonly host: string
  readonly service: string
  /** From the scope of the signature. */
  readonly region: string
  readonly accessKeyId: string
  readonly sessionToken: string | undefined
}

export interface AwsServer {
  readonly url: string
  /** Calls of SQS and S3, and tunnels that a proxy was asked for as `{host}`. */
  readonly calls: (SeenCall | Pick<SeenCall, 'host'>)[]
}

const scope = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/\d{8}\/([^/]+)\/([^/]+)\/aws4_request/

/**
 * One server that stands for all that an AWS client talks to: SQS, S3, an HTTP proxy, and the four that hand out credentials
 * (STS, SSO, the metadata of a container and of an instance). Each of these gives keys that are named for it.
 */
export async function startAwsServer(t: Pick<Test, 'teardown'>): Promise<AwsServer> {
  const calls: AwsServer['calls'] = []
  const server = createServer((request, response) => {
    request.resume()
    const answer = credentialsFor(request)
    if (answer === undefined) calls.push(readCall(request))
    response.writeHead(200, answer?.startsWith('<') ? { 'content-type': 'text/xml' } : {})
    response.end(answer ?? '{}')
  })
  server.on('connect', ({ url = '' }, socket) => {
    calls.push({ host: url })
    socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, calls }
}

function readCall({ headers, url = '' }: IncomingMessage): SeenCall {
  const [, accessKeyId = '', region = '', service = ''] = scope.exec(headers.authorization ?? '') ?? []
  const host = URL.parse(url)?.host ?? headers.host ?? ''
  return { host, service, region, accessKeyId, sessionToken: headers['x-amz-security-token'] as string | undefined }
}

const expiration = '2099-01-01T00:00:00Z'

/** @returns undefined for a call that is not about credentials */
function credentialsFor({ url = '', headers, method }: IncomingMessage): string | undefined {
  const keys = (AccessKeyId: string) =>
    JSON.stringify({ Code: 'Success', AccessKeyId, SecretAccessKey: 's', Token: 't', Expiration: expiration })
  if (url.startsWith('/container')) return keys(headers.authorization === 'container-token' ? 'CONTAINER' : 'REFUSED')
  if (url.startsWith('/latest/api/token') && method === 'PUT') return 'imds-token'
  if (url.startsWith('/latest/meta-data/iam/')) return url.endsWith('/role') ? keys('INSTANCE') : 'role'
  if (url.startsWith('/federation/credentials')) {
    return JSON.stringify({
      roleCredentials: {
        accessKeyId: 'SSO',
        secretAccessKey: 's',
        sessionToken: 't',
        expiration: Date.parse(expiration),
      },
    })
  }
  if (!url.startsWith('/sts')) return undefined
  const inner = `<Credentials><AccessKeyId>WEBIDENTITY</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>${expiration}</Expiration></Credentials>`
  return `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>${inner}</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`
}
