import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'

const root = join(import.meta.dirname, '../../..')

// openapi-typescript builds its text by the API that TypeScript had before version 7. @ts-morph/common brings that along,
// and no second `tsc` with it.
const hooks = registerHooks({
  resolve: (specifier, context, next) =>
    next(specifier === 'typescript' ? '@ts-morph/common/dist/typescript.js' : specifier, context),
})
const { default: generate, astToString } = await import('openapi-typescript')
hooks.deregister()

const compilerOptions = {
  ...{ module: 'nodenext', target: 'es2024', lib: ['es2024', 'dom'], types: [], noEmit: true },
  ...{ strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, skipLibCheck: true },
  allowImportingTsExtensions: true,
}

/**
 * Compiles a program as somebody would who generates types from the document, as `./api.ts`, and has openapi-fetch.
 *
 * @param document OpenAPI 3.1
 * @returns what the compiler complains of, a line each; nothing where it compiles
 */
export async function compileClient(t: Test, document: object, program: string): Promise<string[]> {
  // Inside of the checkout, so that packages are found, and where git looks away.
  mkdirSync(join(root, '.tap'), { recursive: true })
  const directory = mkdtempSync(join(root, '.tap/typed-client-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const files = {
    'api.ts': astToString(await generate(document as never)),
    'program.ts': program,
    'package.json': '{"type":"module"}',
    'tsconfig.json': JSON.stringify({ compilerOptions, files: ['program.ts'] }),
  }
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content)
  // Without the options that tap gives every process: its hooks do not load the compiler.
  const command = [
    '-u',
    'NODE_OPTIONS',
    process.execPath,
    join(root, 'node_modules/typescript/bin/tsc'),
    '-p',
    directory,
  ]
  const compiler = spawn('env', command)
  const [output, errors] = await Promise.all([text(compiler.stdout), text(compiler.stderr), once(compiler, 'close')])
  t.equal(errors, '', 'the compiler runs')
  return output.split('\n').filter(line => line !== '')
}
