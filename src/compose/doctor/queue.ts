import { TokenvaultError } from '../../errors.ts'
import {
  createQueueInspector,
  type DeadLetterFacts,
  type QueueFacts,
  type QueueInspector,
  type QueueReply,
} from '../../queue/inspect.ts'
import { type QueueConfig, queueOptions } from '../queue.ts'
import { headerResolutionMilliseconds, judgeClock } from './clocks.ts'
import { type Check, type Finding, fail, failed, ok, skip, warn } from './findings.ts'
import type { Subject } from './subjects.ts'

/** Longest that one call may take; it is tried twice more. */
const callTimeoutMilliseconds = 2_500

/** Seconds after which SQS drops a message that nobody could store; an outage over a weekend is longer than less. */
const shortRetentionSeconds = 4 * 86_400

/** Receives below which a failover makes dead letters of good messages. */
const fewReceives = 3

/** SigV4 requests whose time is that far from AWS's are refused. */
const signatureToleranceSeconds = 300

/** The queue as it says it is. Nothing is received, so no message's receive count is spent. */
export function checkQueue(subject: Subject): readonly Check[] {
  const config = queueConfig(subject.config)
  if (config === undefined)
    return [{ name: 'queue', run: async () => [skip('a variable of the queue is missing or wrong')] }]
  const open = async () => {
    const options = await queueOptions(config, subject.environment)
    const inspector = createQueueInspector({ ...options, callTimeoutMilliseconds })
    subject.defer(() => inspector.close())
    return { inspector, ...(await inspector.inspect()) }
  }
  let opened: ReturnType<typeof open> | undefined
  const ask = () => {
    opened ??= open()
    return opened
  }
  const whenAnswered = async (work: (opened: Opened) => Promise<Finding[]> | Finding[]) => {
    const reply = await ask().catch(() => undefined)
    return reply === undefined ? [skip('there is no answer from the queue')] : work(reply)
  }
  const same = config.SQS_QUEUE_URL
  return [
    {
      name: 'queue',
      same,
      run: async () => {
        try {
          return judgeQueue((await ask()).facts)
        } catch (error) {
          return describeFailure(error)
        }
      },
    },
    {
      name: 'dead-letter queue',
      same,
      run: () =>
        whenAnswered(async ({ inspector, facts }) => {
          if (facts.redrive === undefined) return [withoutRedrive(subject.name)]
          return judgeDeadLetters(facts, facts.redrive, await inspector.inspectDeadLetters(facts.redrive.arn))
        }),
    },
    {
      name: 'clock of the queue',
      same,
      run: () =>
        whenAnswered(({ dated }) => [
          judgeClock(dated, {
            resolutionMilliseconds: headerResolutionMilliseconds,
            toleranceSeconds: signatureToleranceSeconds,
            breaks: 'AWS refuses requests for their time',
          }),
        ]),
    },
  ]
}

type Opened = QueueReply & { readonly inspector: QueueInspector }

function queueConfig(config: Subject['config']): QueueConfig | undefined {
  const { SQS_QUEUE_URL, SQS_PROTOCOL } = config
  return SQS_QUEUE_URL === undefined || SQS_PROTOCOL === undefined
    ? undefined
    : { ...config, SQS_QUEUE_URL, SQS_PROTOCOL }
}

function judgeQueue({ isFifo, retentionSeconds, deduplicatesByContent }: QueueFacts): Finding[] {
  const findings: Finding[] = []
  if (retentionSeconds < shortRetentionSeconds)
    findings.push(
      warn(
        `the queue drops messages after ${describeSeconds(retentionSeconds)}: an outage that lasts longer loses them`,
        'Raise MessageRetentionPeriod to 4 days or more (14 at most).',
      ),
    )
  if (isFifo && !deduplicatesByContent)
    findings.push(
      ok(
        'the FIFO queue answers; producers must send a MessageDeduplicationId, since it has no content-based deduplication',
      ),
    )
  else findings.push(ok(`the ${isFifo ? 'FIFO queue, with content-based deduplication,' : 'queue'} answers`))
  return findings
}

function withoutRedrive(name: Subject['name']): Finding {
  const says =
    'the queue has no redrive policy: a message that can never be stored comes again until it expires, and is lost'
  const remedy = 'Give the queue a RedrivePolicy with a dead-letter queue and a maxReceiveCount of about 5.'
  return name === 'dlq' ? fail(says, remedy) : warn(says, remedy)
}

function judgeDeadLetters(
  source: QueueFacts,
  { maxReceiveCount }: { readonly maxReceiveCount: number },
  deadLetters: DeadLetterFacts,
): Finding[] {
  if (deadLetters.state === 'missing')
    return [
      fail(
        'the redrive policy names a dead-letter queue that does not exist: messages that should go there come again for ever',
        'Create the dead-letter queue, or correct deadLetterTargetArn of the RedrivePolicy.',
      ),
    ]
  const findings: Finding[] = []
  if (maxReceiveCount < fewReceives)
    findings.push(
      warn(
        `maxReceiveCount is ${maxReceiveCount}: one crash or failover makes dead letters of good messages`,
        'Set maxReceiveCount of the RedrivePolicy to about 5.',
      ),
    )
  if (deadLetters.state === 'not_permitted')
    return [
      ...findings,
      skip(
        'these credentials may not look at the dead-letter queue, which a worker need not; `tokenvault dlq status` does it with those of an operator',
      ),
    ]
  // The age of a message counts on from its first queue, so an equal retention leaves no time at all.
  if (
    !source.isFifo &&
    deadLetters.retentionSeconds <= source.retentionSeconds &&
    deadLetters.retentionSeconds < 1_209_600
  )
    findings.push(
      warn(
        `the dead-letter queue keeps messages ${describeSeconds(deadLetters.retentionSeconds)}, counted from when they were first sent, and the queue ${describeSeconds(source.retentionSeconds)}`,
        'Raise MessageRetentionPeriod of the dead-letter queue to 14 days.',
      ),
    )
  const { messages } = deadLetters
  if (messages > 0)
    findings.push(
      warn(
        `${messages} dead letters are waiting`,
        'Look at them with `tokenvault dlq status`, and send them back with `tokenvault dlq redrive`.',
      ),
    )
  return findings.length > 0 ? findings : [ok(`dead letters after ${maxReceiveCount} receives; none is waiting`)]
}

/** What the names of SQS's and Node's errors mean here. */
const failures: readonly (readonly [name: RegExp, says: string, remedy: string])[] = [
  [/NonExistentQueue|QueueDoesNotExist/, 'there is no such queue', 'Correct SQS_QUEUE_URL and the region.'],
  [
    /CredentialsProviderError/,
    'no AWS credentials were found',
    'Give the process a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.',
  ],
  [
    /AccessDenied|NotAuthorized|OptInRequired/,
    'the credentials do not permit sqs:GetQueueAttributes on the queue',
    'Permit sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility and sqs:GetQueueAttributes.',
  ],
  [
    /Token|Signature|Unrecognized|Security|KeyId/,
    'AWS does not accept the credentials',
    'Renew them, and compare the clock of this host and the region.',
  ],
  [
    /Timeout|ECONN|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH/,
    'the queue cannot be reached',
    'Check SQS_QUEUE_URL, AWS_ENDPOINT_URL_SQS and the network between here and there.',
  ],
]

function describeFailure(error: unknown): Finding[] {
  const found = error instanceof TokenvaultError ? failures.find(([name]) => name.test(error.message)) : undefined
  if (found === undefined) return failed(error)
  const [, says, remedy] = found
  return [fail(`${says}; ${(error as TokenvaultError).message}`, remedy)]
}

function describeSeconds(seconds: number): string {
  if (seconds % 86_400 === 0) return seconds === 86_400 ? '1 day' : `${seconds / 86_400} days`
  return seconds % 3600 === 0 ? `${seconds / 3600} h` : `${seconds} s`
}
