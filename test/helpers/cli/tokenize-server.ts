import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import type { Test } from 'tap'
import { temporaryDirectory } from '../embedded/embedded-directory.ts'

export interface TokenizeCall {
  readonly purpose: string
  readonly store?: boolean
  readonly values: readonly { readonly field: string; readonly value: string }[]
}

/** The token that the server gives: of the shape of a real one, and without a key. */
export function fakeToken(value: string, field = 'ip'): string {
  return `${field}_v1_${createHash('sha256').update(value).digest().subarray(0, 16).toString('base64url')}`
}

/**
 * A server that answers POST /v1/tokenize as the API does, for tests of what a command makes of the answers: `bad…` is
 * invalid, `unknown` a placeholder, and what begins with `ip_v1_` a token.
 *
 * @param answer answers a call in its own way, and returns true
 */
export async function startTokenizeServer(
  t: Pick<Test, 'teardown'>,
  answer: (reply: ServerResponse, call: TokenizeCall, number: number) => boolean | Promise<boolean> = () => false,
) {
  const calls: TokenizeCall[] = []
  const server = createServer(async (request, reply) => {
    const call = (await json(request)) as TokenizeCall
    calls.push(call)
    if (!(await answer(reply, call, calls.length)))
      reply.end(JSON.stringify({ results: call.values.map(item), stored: call.store === true }))
  }).listen(0, '127.0.0.1')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  await once(server, 'listening')
  const jwtFile = join(temporaryDirectory(t), 'jwt')
  writeFileSync(jwtFile, 'x')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { calls, server, args: ['--url', url, '--jwt-file', jwtFile, '--purpose', 'test_case'] as const }
}

function item({ field, value }: TokenizeCall['values'][number]): object {
  if (value.startsWith('bad')) return { field, error: { code: 'value_invalid' } }
  if (value === 'unknown') return { field, error: { code: 'value_is_placeholder' } }
  if (/^\w+_v1_/.test(value)) return { field, error: { code: 'value_is_token' } }
  return { field, token: fakeToken(value, field) }
}

/** Refuses a call with problem details, as the API does. */
export function refuse(
  reply: ServerResponse,
  status: number,
  code: string,
  headers: Record<string, string> = {},
): true {
  const problem = { status, code, title: `It is ${code}.`, requestId: 'some-id', remedy: 'Do what the remedy says.' }
  reply.writeHead(status, headers).end(JSON.stringify(problem))
  return true
}
