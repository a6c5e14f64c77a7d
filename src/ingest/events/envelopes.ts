import { memberText, parseJson, repeatsName, repeatsOwnName } from './json-text.ts'
import { clearProperties } from './login-event.ts'

/** A JSON value of a body. */
export interface Part {
  /** Parsed JSON; undefined where the text is not JSON. */
  readonly content: unknown
  /** Source text of the content, as it was sent. */
  readonly text: () => string
  /** Whether a name stands twice in an object anywhere in it. */
  readonly repeats: boolean
}

/** Reads a text as JSON. A byte-order mark before it is dropped, which RFC 8259 section 8.1 permits a reader. */
export function readPart(text: string): Part {
  const json = text.startsWith('\ufeff') ? text.slice(1) : text
  const content = parseJson(json)
  return { content, text: () => json, repeats: content !== undefined && repeatsName(json, content) }
}

/** A value that stands in another one. */
export function partWithin(outer: Part, content: unknown, text: () => string): Part {
  return { content, text, repeats: outer.repeats && repeatsName(text(), content) }
}

/**
 * Takes one layer off: a JSON text in a JSON string, or what AWS puts around a message on its way to the queue.
 *
 * An object that has a property of a login event is never taken for an envelope, whatever else it has: producers may call a
 * property `detail`, and what is refused must be kept whole. Never throws.
 *
 * @returns undefined where nothing is around it; `name_repeated` where an envelope says two things at once
 */
export function openLayer(part: Part): Part | 'name_repeated' | undefined {
  const { content } = part
  if (typeof content === 'string') return looksLikeLayer.test(content) ? readPart(content) : undefined
  if (!isObject(content) || clearProperties.some(name => Object.hasOwn(content, name))) return undefined
  for (const open of openers) {
    const inner = open(content, part)
    if (inner === undefined) continue
    return part.repeats && repeatsOwnName(part.text(), content) ? 'name_repeated' : inner
  }
  return undefined
}

/** Other texts are values, such as a name. */
const looksLikeLayer = /^[\ufeff \t\r\n]*["[{]/

type Envelope = Readonly<Record<string, unknown>>

/** Each gives what the envelope holds, or undefined where it is another one. */
const openers: readonly ((envelope: Envelope, part: Part) => Part | undefined)[] = [
  openNotification,
  openEventBridgeEvent,
  openQueueRecord,
]

/**
 * SNS without raw message delivery: `Message` is the text that was published.
 * @see https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html (HTTP/S notification JSON format)
 */
function openNotification(envelope: Envelope): Part | undefined {
  const message = own(envelope, 'Message')
  return own(envelope, 'Type') === 'Notification' && typeof message === 'string' ? readPart(message) : undefined
}

/** @see https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html */
function openEventBridgeEvent(envelope: Envelope, part: Part): Part | undefined {
  const detail = own(envelope, 'detail')
  // EventBridge itself knows objects only; a transformer can make it an array or a text, and keeps the event's type beside it.
  const isDetail =
    isObject(detail) ||
    (typeof own(envelope, 'detail-type') === 'string' && (Array.isArray(detail) || typeof detail === 'string'))
  return isDetail ? partWithin(part, detail, () => memberText(part.text(), 'detail')) : undefined
}

/** The record of a message from another queue, as Lambda and EventBridge Pipes hand it on: `body` is that message's text. */
function openQueueRecord(envelope: Envelope): Part | undefined {
  const body = own(envelope, 'body')
  return own(envelope, 'eventSource') === 'aws:sqs' && typeof body === 'string' ? readPart(body) : undefined
}

/**
 * Whether a value is what the extended clients of SQS and SNS send where they put the body into S3: a class name and a pointer
 * (Java, Python, .NET), or the pointer alone.
 * @see https://github.com/awslabs/payload-offloading-java-common-lib-for-aws
 */
export function isPointerToS3(content: unknown): boolean {
  if (!Array.isArray(content)) return isPointer(content)
  const [name, pointer] = content
  return content.length === 2 && typeof name === 'string' && name.endsWith('S3Pointer') && isPointer(pointer)
}

function isPointer(value: unknown): boolean {
  return isObject(value) && typeof own(value, 's3BucketName') === 'string' && typeof own(value, 's3Key') === 'string'
}

function isObject(value: unknown): value is Envelope {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** JSON.parse makes own properties only, `__proto__` too; what an object inherits does not belong to the body. */
function own(envelope: Envelope, name: string): unknown {
  return Object.hasOwn(envelope, name) ? envelope[name] : undefined
}
