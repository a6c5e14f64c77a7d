import { readFileSync } from 'node:fs'
import spectral from '@stoplight/spectral-core'
import rulesets from '@stoplight/spectral-rulesets'
import t from 'tap'

const readDocument = () => JSON.parse(readFileSync(new URL('../../../openapi/openapi.json', import.meta.url), 'utf8'))

/** @returns what spectral:oas finds; a document of ours names no person to contact */
async function lint(document: object): Promise<string[]> {
  const linter = new spectral.Spectral()
  linter.setRuleset({ extends: [[rulesets.oas, 'recommended']], rules: { 'info-contact': 'off' } } as never)
  const findings = await linter.run(document as never)
  return findings.map(({ code, path, message }) => `${code} ${path.join('.')}: ${message}`)
}

t.test('spectral:oas finds nothing in the document', async t => {
  t.strictSame(await lint(readDocument()), [])
})

t.test('it does find an example that its schema refuses when patterns are read without the flag u', async t => {
  const document = readDocument()
  // The others have nothing to do with it.
  document.paths = { '/v1/suspensions/lift': document.paths['/v1/suspensions/lift'] }
  document.components.schemas.LiftSuspensionRequest.properties.subject.pattern = '^[^\\p{Cc}\\p{Cs}]+$'
  t.match((await lint(document)).join('\n'), /^oas3-valid-media-example .*suspensions\/lift/m)
})
