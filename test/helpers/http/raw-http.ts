import { connect } from 'node:net'
import type { RawReply } from './http-app.ts'

/**
 * Sends a request line and headers exactly as they are given, with repeats, odd spellings and odd bytes, which every
 * client library would refuse or mend, and reads one reply.
 *
 * @param head lines without their ends; `connection: close` is added
 * @param body sent as it is; it is the caller's to announce
 */
export async function exchange(
  port: number,
  head: readonly string[],
  body: string | Uint8Array = '',
): Promise<RawReply> {
  const text = Buffer.from(`${[...head, 'connection: close'].join('\r\n')}\r\n\r\n`, 'latin1')
  return parseReply(await converse(port, Buffer.concat([text, Buffer.from(body)])))
}

/** Sends bytes and gives all that comes back until the server closes. */
export function converse(port: number, bytes: Uint8Array): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    socket.on('data', chunk => chunks.push(chunk))
    // A server that refuses in the middle of a request resets the connection, sometimes after its reply.
    socket.on('error', error => (chunks.length > 0 ? undefined : reject(error)))
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('utf8')))
  })
}

/** The first reply of what came back; a status of 0 when there is none. */
export function parseReply(text: string): RawReply {
  const end = text.indexOf('\r\n\r\n')
  const [statusLine = '', ...lines] = text.slice(0, end === -1 ? text.length : end).split('\r\n')
  const headers: NodeJS.Dict<string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1] ?? 0)
  const content = end === -1 ? '' : text.slice(end + 4)
  return { status, headers, text: headers['transfer-encoding'] === 'chunked' ? unchunk(content) : content }
}

function unchunk(content: string): string {
  let rest = Buffer.from(content)
  let text = ''
  for (;;) {
    const end = rest.indexOf('\r\n')
    const length = Number.parseInt(rest.subarray(0, end).toString(), 16)
    if (end === -1 || !(length > 0)) return text
    text += rest.subarray(end + 2, end + 2 + length).toString()
    rest = rest.subarray(end + 2 + length + 2)
  }
}
