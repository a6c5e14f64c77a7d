import { EventEmitter } from 'node:events'
import { Client, type ClientConfig } from 'pg'
import { type ConnectionUrl, clientConfig, type Host, nameHost, type SessionAttributes } from './connection-url.ts'
import { classifyFailure, type Failure, NoHostServes, refusesLogin } from './failures.ts'

/**
 * What pg's pool takes for one of its clients: it finds its server only when it is connected, among the hosts that the URL
 * names at that moment.
 */
export class Session extends EventEmitter {
  readonly #open: (isWanted: (client: Client) => boolean) => Promise<Client>
  #client: Client | undefined
  #isConnected = false
  #isEnded = false

  constructor(open: (isWanted: (client: Client) => boolean) => Promise<Client>) {
    super()
    this.#open = open
  }

  connect(callback: (error: Error | null) => void): void {
    // The pool gives up by ending the session, whichever host is being tried.
    const isWanted = (client: Client) => {
      this.#client = client
      return !this.#isEnded
    }
    this.#open(isWanted).then(client => {
      this.#isConnected = true
      client.on('error', error => this.emit('error', error))
      client.on('end', () => this.emit('end'))
      callback(null)
    }, callback)
  }

  get query(): Client['query'] {
    return this.#client!.query.bind(this.#client) as Client['query']
  }

  isConnected(): boolean {
    return this.#isConnected
  }

  /** Read by the pool: a session whose connection broke does not go back to it. */
  get _queryable(): boolean {
    return (this.#client as unknown as { _queryable: boolean })._queryable
  }

  end(callback: () => void = () => {}): void {
    this.#isEnded = true
    if (this.#isConnected) this.#client!.end(callback)
    else {
      this.#client?.connection.stream.destroy()
      callback()
    }
  }
}

/**
 * Connects to the first host that lets the login in and is what the URL asks for, in the order of libpq (34.1.1.3): a host
 * that refuses the login ends the search, since the others would refuse it too.
 *
 * @param isWanted is told each client before it connects; false gives up
 * @throws what pg throws where the URL names one host and any server will do; otherwise NoHostServes
 */
export async function openClient(
  url: ConnectionUrl,
  settings: ClientConfig,
  isWanted: (client: Client) => boolean,
): Promise<Client> {
  const hosts = url.isBalanced ? shuffle(url.hosts) : url.hosts
  const attributes: readonly SessionAttributes[] =
    url.targetSessionAttrs === 'prefer-standby' ? ['standby', 'any'] : [url.targetSessionAttrs]
  let failures: { readonly host: string; readonly failure: Failure }[] = []
  for (const wanted of attributes) {
    failures = []
    for (const host of hosts) {
      try {
        return await openHost({ ...settings, ...clientConfig(url, host) }, wanted, isWanted)
      } catch (error) {
        if (hosts.length === 1 && url.targetSessionAttrs === 'any') throw error
        const failure = error instanceof Unsuitable ? error.failure : classifyFailure(error)
        failures.push({ host: nameHost(host), failure })
        if (refusesLogin(failure)) throw new NoHostServes(failures)
      }
    }
  }
  throw new NoHostServes(failures)
}

/** The server lets the login in, and is not what the URL asks for. */
class Unsuitable extends Error {
  readonly failure: Failure
  constructor(wanted: SessionAttributes, says: string) {
    super(says)
    this.failure = { kind: 'session', label: `target_session_attrs=${wanted}`, says }
  }
}

async function openHost(
  config: ClientConfig,
  wanted: SessionAttributes,
  isWanted: (client: Client) => boolean,
): Promise<Client> {
  const client = new Client(config)
  // Unheard, an error between two statements would end the process.
  client.on('error', () => {})
  if (!isWanted(client)) throw new Error('timeout exceeded when trying to connect')
  try {
    await client.connect()
    if (wanted !== 'any') await checkServer(client, wanted)
    return client
  } catch (error) {
    // pg leaves a socket open on which connecting failed before the login, for want of TLS or of a password. The server
    // waits a minute at its other end, holding a connection, and meanwhile no database can be dropped.
    client.connection.stream.destroy()
    throw error
  }
}

async function checkServer(client: Client, wanted: SessionAttributes): Promise<void> {
  const { rows } = await client.query<{ isStandby: boolean; isReadOnly: boolean }>(
    `SELECT pg_is_in_recovery() AS "isStandby", current_setting('transaction_read_only') = 'on' AS "isReadOnly"`,
  )
  const { isStandby, isReadOnly } = rows[0]!
  if (wanted === 'primary' && isStandby) throw new Unsuitable(wanted, 'is a standby')
  if (wanted === 'standby' && !isStandby) throw new Unsuitable(wanted, 'is not a standby')
  if (wanted === 'read-write' && isReadOnly) throw new Unsuitable(wanted, 'takes no writes')
  if (wanted === 'read-only' && !isReadOnly) throw new Unsuitable(wanted, 'takes writes')
}

/** A new order, each as likely as any other (Fisher and Yates). */
function shuffle(hosts: readonly Host[]): readonly Host[] {
  const shuffled = [...hosts]
  for (let last = shuffled.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1))
    ;[shuffled[last], shuffled[other]] = [shuffled[other]!, shuffled[last]!]
  }
  return shuffled
}
