import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { TokenvaultError } from '../../errors.ts'
import { formatMetrics, type MetricsSnapshot, metricsContentType } from '../../ingest/metrics/prometheus.ts'
import type { Log } from '../../log.ts'

/**
 * Serves `GET /metrics`, and nothing else, on a port of its own: a worker answers no other request.
 *
 * @param options.read the snapshots of all processes
 * @returns the port, and what ends it
 * @throws TokenvaultError `port_unavailable`
 */
export async function serveMetrics(options: {
  readonly host: string
  readonly port: number
  readonly read: () => Promise<readonly MetricsSnapshot[]>
  readonly log: Log
}): Promise<{ readonly port: number; close(): void }> {
  const { host, port, read, log } = options
  const server = createServer({ requestTimeout: 10_000 }, async (request, reply) => {
    if (request.url !== '/metrics') return reply.writeHead(404).end()
    if (request.method !== 'GET' && request.method !== 'HEAD') return reply.writeHead(405, { allow: 'GET, HEAD' }).end()
    try {
      const text = await formatMetrics(await read())
      reply.writeHead(200, { 'content-type': metricsContentType, 'cache-control': 'no-store' }).end(text)
    } catch (err) {
      log.error({ event: 'metrics_failed', err })
      reply.writeHead(500).end()
    }
  })
  server.listen({ host, port })
  try {
    await once(server, 'listening')
  } catch {
    throw new TokenvaultError('port_unavailable', `cannot listen on METRICS_PORT ${port}`)
  }
  const { port: listeningPort } = server.address() as AddressInfo
  log.info({ event: 'metrics_listening', port: listeningPort })
  const close = () => {
    server.close()
    server.closeAllConnections()
  }
  return { port: listeningPort, close }
}
