import fp from 'fastify-plugin'
import { TokenvaultError } from '../../errors.ts'
import { parseStrictJson } from './strict-json.ts'

/** No schema of ours is as deep. */
const maxDepth = 16

/**
 * Bodies are application/json and nothing else. Bytes that are not UTF-8 are refused rather than replaced by U+FFFD,
 * which would tokenize another value than was sent; so are a byte-order mark (RFC 8259 section 8.1), names that stand
 * twice, which a gateway before us may read otherwise than we do, `__proto__`, and nesting beyond any schema.
 */
export const jsonBody = fp(async app => {
  // A byte-order mark is kept, so that JSON.parse refuses it.
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    let value: unknown
    try {
      value = parseStrictJson(utf8.decode(body as Buffer), maxDepth)
    } catch {
      return done(new TokenvaultError('body_malformed'))
    }
    done(null, value)
  })
})
