import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { version } from '../../../src/compose/version.ts'
import { errorCatalogue } from '../../../src/errors.ts'
import { renderOpenApi } from '../../../src/http/openapi/render.ts'
import { appearance, itemCodes, problemCodes } from '../../../src/http/problems/problem.ts'
import { startApp } from '../../helpers/http/http-app.ts'

const file = new URL('../../../openapi/openapi.json', import.meta.url)

t.test('openapi/openapi.json is what the routes say', async t => {
  const rendered = await renderOpenApi(version)
  const committed = existsSync(file) ? readFileSync(file, 'utf8') : ''
  t.equal(committed === rendered, true, 'on drift run: npm run openapi')
  t.equal(await renderOpenApi(version), rendered, 'rendering twice gives the same bytes')
  t.equal(JSON.parse(committed).info.version, version, 'its version is that of the product')
})

t.test('every error code that can reach a caller is listed with its meaning', async t => {
  const { components } = JSON.parse(await renderOpenApi(version))
  const { ErrorCode, ItemErrorCode } = components.schemas
  t.strictSame(ErrorCode.enum, problemCodes)
  t.strictSame(ItemErrorCode.enum, itemCodes)
  for (const code of problemCodes) t.ok(ErrorCode.description.includes(errorCatalogue[code].meaning), code)
  for (const code of itemCodes) t.ok(ItemErrorCode.description.includes(errorCatalogue[code].meaning), code)
  t.strictSame(Object.keys(appearance).sort(), Object.keys(errorCatalogue).sort())
})

t.test('every operation has an id, examples, and an example for each of its problems', async t => {
  const document = JSON.parse(await renderOpenApi(version))
  const operations = Object.entries<Record<string, Operation>>(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ name: `${method} ${path}`, operation })),
  )
  t.strictSame(
    operations.map(({ name }) => name),
    [
      'get /healthz',
      'get /readyz',
      'post /v1/detokenize',
      'post /v1/tokenize',
      'post /v1/crosswalk',
      'post /v1/tokens/translate',
      'get /v1/audit/checkpoint',
      'get /v1/audit/{sequence}/proof',
      'get /v1/audit/consistency',
      'post /v1/audit/search',
      'get /v1/approvals',
      'get /v1/approvals/{id}',
      'post /v1/approvals/{id}/decision',
      'get /v1/suspensions',
      'post /v1/suspensions/lift',
      'get /v1/quarantine',
      'get /v1/quarantine/{id}',
      'post /v1/quarantine/{id}/open',
      'post /v1/quarantine/{id}/redrive',
      'post /v1/quarantine/redrive',
      'post /v1/quarantine/{id}/discard',
      'post /v1/honey',
      'get /v1/honey',
      'post /v1/honey/{id}/retire',
      'get /v1/people/{userId}',
      'post /v1/people/show',
      'post /v1/people/export',
      'post /v1/people/hold',
      'post /v1/people/release',
      'post /v1/people/{userId}/erasure',
      'get /v1/erasures/{number}',
      'get /v1/keys',
    ],
  )
  for (const { name, operation } of operations) {
    t.ok(operation.operationId, name)
    for (const [status, response] of Object.entries(operation.responses)) {
      for (const { examples } of Object.values(response.content)) {
        t.ok(Object.keys(examples).length > 0, `${name} ${status}`)
        for (const { $ref } of Object.values(examples)) {
          if ($ref === undefined) continue
          const example = document.components.examples[$ref.split('/').at(-1)!]
          t.equal(example.value.status, Number(status), `${name} ${$ref}`)
        }
      }
    }
  }
})

t.test('the document and its page are public, and the page brings everything it needs', async t => {
  const { origin } = await startApp(t, { version })
  const document = await fetch(`${origin}/openapi.json`)
  t.equal(document.status, 200)
  t.strictSame(await document.json(), JSON.parse(await renderOpenApi(version)))
  const page = await fetch(`${origin}/docs`)
  t.equal(page.status, 200)
  t.match(page.headers.get('content-security-policy'), /script-src 'self';/)
  t.notMatch(page.headers.get('content-security-policy'), /unsafe|https?:/)
  const html = await page.text()
  t.notMatch(html, /https?:\/\/|<script>|style=/)
  const assets = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path!)
  t.ok(assets.length >= 5)
  for (const path of [...assets, '/docs/json', '/docs/']) {
    const asset = await fetch(new URL(path, `${origin}/docs`))
    t.equal(asset.status, 200, path)
    t.equal(asset.headers.get('cache-control'), 'no-store', path)
    t.equal(asset.headers.get('etag'), null, path)
    t.ok((await asset.arrayBuffer()).byteLength > 0, path)
  }
  const root = await fetch(`${origin}/?x=1`, { redirect: 'manual' })
  t.match({ status: root.status, location: root.headers.get('location') }, { status: 302, location: 'docs' })
  t.equal((await fetch(`${origin}/`)).url, `${origin}/docs`, 'the root leads to the page')
  t.equal((await fetch(`${origin}/docs/static/../../package.json`)).status, 404)
  t.equal((await fetch(`${origin}/docs/static/%2e%2e%2fpackage.json`)).status, 400)
})

interface Operation {
  readonly operationId?: string
  readonly responses: Record<string, { content: Record<string, { examples: Record<string, { $ref?: string }> }> }>
}
