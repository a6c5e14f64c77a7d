import { createHmac } from 'node:crypto'
import { backoff, pause } from '../concurrency/waiting.ts'
import type { Log } from '../log.ts'
import type { HoneyAlarm, RaiseAlarm } from '../vault/admission/honey-traps.ts'
import type { ApprovalNotice, NotifyApprovers } from '../vault/admission/ports.ts'

export interface WebhookOptions {
  readonly url: string
  /** `whsec_` and the base64 of 24 to 64 bytes. */
  readonly secret: string
  readonly log: Pick<Log, 'error'>
  /** For one try, from connecting to the last header of the answer. */
  readonly timeoutMilliseconds?: number
  /** Before the second try, before jitter; the third waits twice as long. */
  readonly backoffMilliseconds?: number
  /** How long the deliveries under way may take once `close` was called. */
  readonly closeMilliseconds?: number
}

export interface Webhook {
  readonly notifyApprovers: NotifyApprovers
  readonly raiseAlarm: RaiseAlarm
  /** Finishes the deliveries under way without further waits, and gives up those that take too long. Never throws. */
  close(): Promise<void>
}

const tries = 3
/** Where the receiver is down, deliveries last for seconds; more than this at once are given up instead of kept. */
const maxPending = 1000

/**
 * Tells approvers of requests, and whoever is on guard of alarms, as Standard Webhooks says (https://www.standardwebhooks.com): POST, signed by
 * HMAC-SHA256 over `id.timestamp.body`. Tells at least once, at most three times: any answer but 2xx, a redirect too, is a
 * failure. A delivery that fails for good is one line in the log; what it was about can be found by listing, all the same.
 */
export function createWebhook(options: WebhookOptions): Webhook {
  const { url, log, timeoutMilliseconds = 5_000, backoffMilliseconds = 1_000, closeMilliseconds = 5_000 } = options
  const key = Buffer.from(options.secret.slice('whsec_'.length), 'base64')
  const pending = new Set<Promise<void>>()
  const closing = new AbortController()
  const givenUp = new AbortController()

  async function post(id: string, body: string): Promise<Response> {
    const timestamp = String(Math.floor(Date.now() / 1000))
    const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')
    const response = await fetch(url, {
      method: 'POST',
      // Whoever can redirect the receiver's answers must not choose who is called next.
      redirect: 'manual',
      headers: {
        'content-type': 'application/json',
        'user-agent': 'tokenvault',
        'webhook-id': id,
        'webhook-timestamp': timestamp,
        'webhook-signature': `v1,${signature}`,
      },
      body,
      signal: AbortSignal.any([AbortSignal.timeout(timeoutMilliseconds), givenUp.signal]),
    })
    // Nothing of what it says is used, however long it goes on.
    await response.body?.cancel()
    return response
  }

  async function deliver(id: string, body: string): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const failure = await post(id, body).then(
        ({ ok, status }) => (ok ? undefined : { status }),
        (error: unknown) => ({ reason: reasonOf(error) }),
      )
      if (failure === undefined) return
      if (attempt === tries || givenUp.signal.aborted) {
        // Neither URL nor text of the receiver: a URL may be a secret in itself.
        log.error({ event: 'webhook_failed', attempt, ...failure })
        return
      }
      const wait = { first: backoffMilliseconds, longest: Number.POSITIVE_INFINITY }
      await pause(backoff(attempt, wait), closing.signal)
    }
  }

  function send(id: string, body: object): void {
    if (pending.size >= maxPending || closing.signal.aborted) {
      log.error({ event: 'webhook_failed', reason: closing.signal.aborted ? 'closing' : 'too_many_pending' })
      return
    }
    const delivery = deliver(id, JSON.stringify(body)).finally(() => {
      pending.delete(delivery)
    })
    pending.add(delivery)
  }

  return {
    notifyApprovers: notice => send(notice.id, describeNotice(notice)),
    raiseAlarm: alarm => send(alarm.requestId, describeAlarm(alarm)),
    async close() {
      closing.abort()
      const deadline = setTimeout(() => givenUp.abort(), closeMilliseconds)
      await Promise.all(pending)
      clearTimeout(deadline)
    },
  }
}

/** The body, property by property: what a notice may come to hold later does not leave unless it is named here. */
function describeNotice(notice: ApprovalNotice) {
  const { id, issuer, subject, roles, purpose, ticket, reveal, values, fields, expiresAt } = notice
  return {
    type: 'approval.requested',
    timestamp: new Date().toISOString(),
    id,
    issuer,
    subject,
    roles,
    purpose,
    ...(ticket === undefined ? {} : { ticket }),
    reveal,
    values,
    fields,
    expiresAt,
  }
}

/** The body, property by property, as that of a notice. */
function describeAlarm(alarm: HoneyAlarm) {
  const { requestId, issuer, subject, roles, client, purpose, ticket, tokens, notes, suspends, at } = alarm
  return {
    type: 'honey.met',
    timestamp: at,
    requestId,
    issuer,
    subject,
    roles,
    ...(client === undefined ? {} : { client }),
    purpose,
    ...(ticket === undefined ? {} : { ticket }),
    tokens,
    notes,
    suspended: suspends,
  }
}

/** An identifier such as ECONNREFUSED or TimeoutError, and never a message. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  if (!(cause instanceof Error)) return 'unknown'
  const name = 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.name
  return /^[A-Za-z][A-Za-z0-9_]{0,63}$/.test(name) ? name : 'unknown'
}
