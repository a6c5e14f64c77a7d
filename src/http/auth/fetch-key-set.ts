/** A hundred keys with their certificates are smaller. */
const maxBytes = 256 * 1024

/**
 * Fetches a JWK Set (RFC 7517 section 5) and believes nothing of it: no redirect is followed, no more is read than a
 * set can have (after decompression, too), and a list of objects must be in it. What the objects are is for the importer.
 *
 * @param options of fetch; its signal ends the reading of the body, too
 * @returns the set as JSON text
 * @throws Error of any kind when there is no set to be had
 */
export async function fetchKeySet(url: string, options: RequestInit): Promise<string> {
  return (await fetchReply(url, options)).text
}

/** As fetchKeySet, with the headers of the reply. */
export async function fetchReply(
  url: string,
  options: RequestInit,
): Promise<{ readonly text: string; readonly headers: Headers }> {
  const response = await fetch(url, { ...options, redirect: 'manual' })
  if (response.status !== 200) {
    await response.body?.cancel()
    throw new Error(`status ${response.status}`)
  }
  const text = await readBounded(response)
  const set: unknown = JSON.parse(text)
  if (!isKeySet(set)) throw new Error('no JWK Set')
  return { text, headers: response.headers }
}

async function readBounded({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let length = 0
  // Leaving the loop early cancels the stream, which closes the connection.
  for await (const chunk of body ?? []) {
    length += chunk.length
    if (length > maxBytes) throw new Error(`more than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
}

function isKeySet(set: unknown): boolean {
  if (typeof set !== 'object' || set === null || !('keys' in set) || !Array.isArray(set.keys)) return false
  return set.keys.every(key => typeof key === 'object' && key !== null && !Array.isArray(key))
}
