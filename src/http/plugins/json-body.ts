import fp from 'fastify-plugin'
import { TokenvaultError } from '../../errors.ts'

/**
 * Bodies are application/json and nothing else. Bytes that are not UTF-8 are refused rather than replaced by U+FFFD,
 * which would tokenize another value than was sent; so are `__proto__` and `constructor.prototype`.
 */
export const jsonBody = fp(async app => {
  const utf8 = new TextDecoder('utf-8', { fatal: true })
  const parse = app.getDefaultJsonParser('error', 'error')
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    let text: string
    try {
      text = utf8.decode(body as Buffer)
    } catch {
      return done(new TokenvaultError('body_malformed'))
    }
    parse(request, text, done)
  })
})
