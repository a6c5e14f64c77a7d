import { type DestinationStream, type Logger, pino } from 'pino'
import { TokenvaultError } from './errors.ts'

/** The logger handed to every room. Rooms log an event name and counts, ids or codes; never a payload. */
export type Log = Logger

/** Text of ours passes; text of a library's never does, because parsers and drivers quote what they were given. */
export function describeError(error: unknown): Record<string, unknown> {
  if (error instanceof TokenvaultError) {
    return {
      code: error.code,
      message: error.message,
      ...(error.cause === undefined ? {} : { cause: describeError(error.cause) }),
    }
  }
  if (!(error instanceof Error)) return { type: typeof error }
  const { name, stack } = error
  const code: unknown = 'code' in error ? error.code : undefined
  return {
    type: name,
    ...(typeof code === 'string' && /^[A-Za-z0-9_.-]{1,64}$/.test(code) ? { code } : {}),
    // Only the frames: the lines before them repeat the message.
    frames: (stack ?? '')
      .split('\n')
      .filter(line => /^ {4}at /.test(line))
      .slice(0, 8)
      .map(line => line.trim()),
  }
}

/** The only fields that a log line may carry. Anything else is dropped, so a new field is a decision made here. */
const allowedFields = new Set([
  'err', 'event', 'component', 'requestId', 'method', 'route', 'status', 'code', 'durationMs', 'messages', 'rows',
  'duplicates', 'quarantined', 'reason', 'count', 'port', 'signal', 'attempt', 'retryInMs', 'migration', 'key',
  'problems', 'principal', 'batch', 'receivers', 'url', 'pid', 'version', 'day', 'worker', 'policy',
  'claim', 'parameter', 'field',
]) // biome-ignore format: one list, not one line a word

function keepAllowed(fields: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => allowedFields.has(name)))
}

/**
 * A pino logger that writes JSON lines and, by allow-list, nothing that was not meant for a log.
 *
 * @param level pino level, e.g. `info`
 * @param destination where lines go; standard error by default, so that standard output stays machine-readable
 */
export function createLog(level: string, destination: DestinationStream = pino.destination(2)): Log {
  const log = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: label => ({ level: label }),
        log: keepAllowed,
      },
      serializers: { err: describeError },
      hooks: {
        // Where a line has no text of its own, pino takes the error's message, which may quote what a library was given.
        logMethod(args, method) {
          const [first, text, ...rest] = args as unknown[]
          const fields = first instanceof Error ? { err: first } : first
          const hasError = typeof fields === 'object' && fields !== null && 'err' in fields
          Reflect.apply(method, this, hasError ? [fields, text ?? '', ...rest] : args)
        },
      },
    },
    destination,
  )
  // The fields that a child carries never pass formatters.log.
  const makeChild = log.child
  log.child = function (this: Log, bindings: object, options?: object) {
    return Reflect.apply(makeChild, this, [keepAllowed(bindings), options])
  } as typeof log.child
  return log
}
