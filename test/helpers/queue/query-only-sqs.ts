import { type ProxyServer, startProxyServer } from '../http/proxy-server.ts'

// biome-ignore lint/suspicious/noExplicitAny: whatever the emulator behind it takes and gives
type Json = any

/** Flattened lists of the Query protocol (API version 2012-11-05), by the name of their parameter. */
const lists: Readonly<Record<string, string>> = {
  AttributeName: 'AttributeNames',
  MessageAttributeName: 'MessageAttributeNames',
  SendMessageBatchRequestEntry: 'Entries',
  DeleteMessageBatchRequestEntry: 'Entries',
  ChangeMessageVisibilityBatchRequestEntry: 'Entries',
}
const numbers = new Set(['MaxNumberOfMessages', 'WaitTimeSeconds', 'VisibilityTimeout', 'DelaySeconds'])
const actions = new Set([
  'ReceiveMessage',
  'SendMessageBatch',
  'DeleteMessageBatch',
  'ChangeMessageVisibilityBatch',
  'GetQueueAttributes',
  'GetQueueUrl',
])

/**
 * An SQS server as emulators were before 2024: form-encoded requests, XML replies, no JSON, and none of the names that came
 * later (`MessageSystemAttributeName`). The queue behind it is a real one.
 *
 * @param target origin of a server that speaks JSON
 * @param log names of the actions that were asked for
 */
export function startQueryOnlySqs(target: string, log: string[] = []): Promise<ProxyServer> {
  return startProxyServer(async ({ headers: given, body, response, signal }) => {
    const reply = (status: number, xml: string) => {
      response.writeHead(status, { 'content-type': 'text/xml' }).end(`<?xml version="1.0"?>${xml}`)
    }
    const parameters = new URLSearchParams(body)
    const action = parameters.get('Action') ?? ''
    const isForm = given['content-type'] === 'application/x-www-form-urlencoded'
    if (!isForm || 'x-amz-target' in given || !actions.has(action)) {
      return reply(400, errorXml('InvalidAction', 'Could not find operation'))
    }
    log.push(action)
    const headers = {
      'content-type': 'application/x-amz-json-1.0',
      'x-amz-target': `AmazonSQS.${action}`,
      authorization: String(given.authorization),
    }
    const input = JSON.stringify(readInput(parameters))
    const forwarded = await fetch(target, { method: 'POST', headers, body: input, signal })
    const output: Json = await forwarded.json()
    if (!forwarded.ok) {
      const code = forwarded.headers.get('x-amzn-query-error')?.split(';')[0] ?? output.__type
      return reply(forwarded.status, errorXml(code, output.message))
    }
    reply(
      200,
      `<${action}Response><${action}Result>${writeOutput(action, output)}</${action}Result></${action}Response>`,
    )
  })
}

/** `Entry.1.MessageAttribute.2.Value.StringValue=x` and the like, as the JSON protocol has it. */
function readInput(parameters: URLSearchParams): Json {
  const input: Json = {}
  for (const [name, value] of parameters) {
    const [first = '', index, ...rest] = name.split('.')
    const list = lists[first]
    if (index === undefined) input[first] = readValue(first, value)
    else if (list !== undefined) {
      input[list] ??= []
      if (rest.length === 0) input[list][Number(index) - 1] = value
      else {
        input[list][Number(index) - 1] ??= {}
        readMember(input[list][Number(index) - 1], rest, value)
      }
    }
  }
  return input
}

function readMember(entry: Json, path: readonly string[], value: string): void {
  const [name = '', index, kind, part] = path
  if (name !== 'MessageAttribute') {
    entry[name] = readValue(name, value)
    return
  }
  entry.pending ??= {}
  entry.pending[index!] ??= {}
  const attribute = entry.pending[index!]
  if (kind === 'Name') attribute.name = value
  else attribute[part!] = value
  entry.MessageAttributes = Object.fromEntries(
    Object.values<Json>(entry.pending).map(({ name, ...attribute }) => [name, attribute]),
  )
}

function readValue(name: string, value: string): string | number {
  return numbers.has(name) ? Number(value) : value
}

function writeOutput(action: string, output: Json): string {
  if (action === 'GetQueueUrl') return element('QueueUrl', output.QueueUrl)
  if (action === 'GetQueueAttributes') return writePairs('Attribute', output.Attributes)
  if (action === 'ReceiveMessage') return (output.Messages ?? []).map(writeMessage).join('')
  const entry = `${action}ResultEntry`
  return [
    ...(output.Successful ?? []).map((one: Json) => `<${entry}>${writeMembers(one)}</${entry}>`),
    ...(output.Failed ?? []).map((one: Json) => `<BatchResultErrorEntry>${writeMembers(one)}</BatchResultErrorEntry>`),
  ].join('')
}

function writeMessage({ Attributes, MessageAttributes = {}, ...message }: Json): string {
  const attributes = Object.entries<Json>(MessageAttributes).map(
    ([name, value]) =>
      `<MessageAttribute>${element('Name', name)}<Value>${writeMembers(value)}</Value></MessageAttribute>`,
  )
  return `<Message>${writeMembers(message)}${writePairs('Attribute', Attributes)}${attributes.join('')}</Message>`
}

function writePairs(name: string, pairs: Json = {}): string {
  return Object.entries(pairs)
    .map(([key, value]) => `<${name}>${element('Name', key)}${element('Value', value)}</${name}>`)
    .join('')
}

function writeMembers(members: Json): string {
  return Object.entries(members)
    .map(([name, value]) => element(name, value))
    .join('')
}

/** As Python's and Java's XML writers do, on which those emulators stood. */
const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\r': '&#13;',
}

function element(name: string, value: unknown): string {
  const text = String(value).replace(/[&<>"\r]/g, character => entities[character]!)
  return `<${name}>${text}</${name}>`
}

function errorXml(code: string, message: string): string {
  const error = `<Type>Sender</Type>${element('Code', code)}${element('Message', message)}`
  return `<ErrorResponse><Error>${error}</Error><RequestId>00000000</RequestId></ErrorResponse>`
}
