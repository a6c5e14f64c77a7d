import type { IncomingMessage } from 'node:http'
import fp from 'fastify-plugin'
import { TokenvaultError } from '../../errors.ts'

/** Origin-form (RFC 9112 section 3.2.1): a path without percent-encoding, which no path of ours needs, and a query as browsers write it. */
const target = /^\/[\w\-.~!$&'()*+,;=:@/]*(\?([!-"$&-~]|%[0-9a-f]{2})*)?$/i
/** Empty segments inside of the path, and dot segments, which others take out (RFC 3986 section 6.2.2.3). */
const removableSegment = /^[^?]*\/(\/|\.{1,2}(\/|\?|$))/
/** A name, an IPv4 address or an IPv6 address in brackets, and a port (RFC 9110 section 7.2), and never empty. */
const host = /^([\w\-.~!$&'()*+,;=]+|\[[0-9a-f:.]+\])(:\d{0,5})?$/i
/** A media type and its parameters (RFC 9110 section 8.3.1). */
const mediaType =
  /^[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+(\s*;\s*([\w!#$%&'*+.^`|~-]+=([\w!#$%&'*+.^`|~-]+|"[^"\\]*"))?)*\s*$/
const charset = /;\s*charset=("?)([^";\s]*)\1/gi
/** What names one thing: of two, two readers may each take another. Authorization and Idempotency-Key are read elsewhere. */
const singleHeaders = ['host', 'content-type', 'content-encoding', 'transfer-encoding', 'expect'] as const

/**
 * Refuses what a gateway in front of us, which may let requests through by their path or host, could read otherwise than we
 * do: paths in a second spelling, targets that bring a host of their own, and no, two or strange Host headers. Nothing is
 * mended. It runs before authentication, and what it refuses was not looked at further.
 */
export const requestForm = fp(async app => {
  app.addHook('onRequest', async ({ raw }) => {
    checkTarget(raw)
    for (const name of singleHeaders) {
      if (valuesOf(raw, name).length > 1) throw malformed(`the header ${name} stands twice`)
    }
    checkHost(raw)
    checkFraming(raw)
  })
  // After authentication, before the body is read.
  app.addHook('preParsing', async ({ raw }, _reply, payload) => {
    if (hasBody(raw)) checkContent(raw)
    return payload
  })
})

function checkTarget({ url = '', method }: IncomingMessage): void {
  if (url === '*' && method === 'OPTIONS') return
  if (!target.test(url))
    throw malformed(
      'the request target takes a path, with the characters of RFC 3986 and without percent-encoding, and a query',
    )
  if (removableSegment.test(url)) throw malformed('the path holds an empty segment, . or ..')
}

function checkHost(message: IncomingMessage): void {
  const [value] = valuesOf(message, 'host')
  // RFC 9112 section 3.2: only HTTP/1.0 does without.
  if (value === undefined && message.httpVersion === '1.0') return
  if (value === undefined) throw malformed('the header host is missing')
  if (!host.test(value)) throw malformed('the header host takes a name or an address, and perhaps a port')
}

/** RFC 9112 sections 6.1 and 6.3. Node's parser refuses chunks together with a length, and two lengths. */
function checkFraming(message: IncomingMessage): void {
  if (!/^1\.[01]$/.test(message.httpVersion)) throw malformed('the version of HTTP is neither 1.1 nor 1.0')
  const [encoding] = valuesOf(message, 'transfer-encoding')
  if (encoding === undefined) return
  if (message.httpVersion === '1.0') throw malformed('HTTP/1.0 has no transfer-encoding')
  // Node reads the chunks and leaves the encoding before them as it is.
  if (encoding.trim().toLowerCase() !== 'chunked') throw malformed('the only transfer-encoding is chunked')
}

function checkContent(message: IncomingMessage): void {
  const [encoding = 'identity'] = valuesOf(message, 'content-encoding')
  if (encoding.toLowerCase() !== 'identity') throw new TokenvaultError('content_encoding_unsupported')
  const [type] = valuesOf(message, 'content-type')
  if (type === undefined) return
  if (!mediaType.test(type)) throw new TokenvaultError('content_type_unsupported')
  const charsets = [...type.matchAll(charset)].map(([, , name]) => name!.toLowerCase())
  if (charsets.length > 1) throw new TokenvaultError('content_type_unsupported', 'charset stands twice')
  if (charsets.some(name => !/^utf-?8$/.test(name)))
    throw new TokenvaultError('content_type_unsupported', 'the only charset is utf-8')
}

/** Whether the message says that a body follows, if only an empty one in chunks. */
export function hasBody({ headers }: IncomingMessage): boolean {
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = headers
  return encoding !== undefined || Number(length) > 0
}

/** @returns each value of a header; `headers` shows the first of some names, and joins those of others */
function valuesOf({ rawHeaders }: IncomingMessage, name: string): string[] {
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]!.toLowerCase() === name)
}

function malformed(detail: string): TokenvaultError {
  return new TokenvaultError('request_malformed', detail)
}
