import Type, { type Static } from 'typebox'
import { TokenvaultError } from '../../errors.ts'
import type { HealthCheck } from '../../vault/admission/ports.ts'
import { operation } from '../operation.ts'
import { commonProblems } from '../problems/by-operation.ts'
import { NotReady } from '../problems/problem.ts'

const storingSchema = Type.Object(
  {
    status: Type.Enum(['ready', 'off', 'unavailable'], {
      type: 'string',
      description: '`off`: STORE_DATABASE_URL is not set. `unavailable`: calls that store are refused; others are not.',
    }),
    code: Type.Optional(Type.Enum(['store_unavailable', 'store_misconfigured', 'internal'], { type: 'string' })),
    detail: Type.Optional(Type.String({ description: 'What is wrong.' })),
  },
  { title: 'StoringReadiness' },
)

const keysSchema = Type.Object(
  {
    code: Type.String({ description: 'Why the newest change could not be taken up.' }),
    detail: Type.String({ description: 'What is wrong.' }),
  },
  { title: 'KeysReadiness', description: 'Present where the process goes by earlier keys than those that are stored.' },
)

const schema = {
  operationId: 'readyz',
  summary: 'Say whether the process can do its work',
  description:
    'For readiness probes. It checks what the process needs: that the database takes writes, that every function and table is ' +
    'there and granted, and that the keys can be read. The detail of a 503 reply names what is wrong. Whether values can be ' +
    'stored is told beside, and makes no reply a 503: an API that cannot store still reveals. So is a change of keys that the process cannot take up.',
  tags: ['health'],
  security: [],
  response: {
    200: Type.Object(
      { status: Type.Literal('ready'), storing: storingSchema, keys: Type.Optional(keysSchema) },
      { title: 'Readiness' },
    ),
  },
  'x-problems': ['store_unavailable', 'store_misconfigured', 'queue_unavailable', ...commonProblems],
  'x-reply-examples': {
    ready: { summary: 'Ready', value: { status: 'ready', storing: { status: 'ready' } } },
    notStoring: {
      summary: 'Ready, but for storing',
      value: {
        status: 'ready',
        storing: {
          status: 'unavailable',
          code: 'store_unavailable',
          detail: 'the server takes no writes: it is a standby, or read-only',
        },
      },
    },
  },
} as const

type Storing = Static<typeof storingSchema>

interface ReadinessDependencies {
  readonly health: readonly HealthCheck[]
  readonly storing?: HealthCheck | undefined
  /** Why the newest change of keys could not be taken up; gives undefined while the process goes by what is stored. */
  readonly keysProblem?: (() => TokenvaultError | undefined) | undefined
}

/**
 * Longest wait for what the reply does not depend on. A probe waits a second as a rule, and one that waits in vain would take
 * the process out of service for what the process can do without.
 */
const storingMilliseconds = 400

/** GET /readyz. Probes that come while one is under way share its answer, so that nobody can flood the database. */
export const readyz = operation({
  method: 'GET',
  url: '/readyz',
  schema,
  serve: ({ health, storing, keysProblem }: ReadinessDependencies) => {
    const askAll = sharing(() => Promise.all(health.map(part => part.check())))
    const askStoring = sharing(() => describeStoring(storing))
    return async () => {
      try {
        const [told] = await Promise.all([within(storingMilliseconds, askStoring()), askAll()])
        // KMS that is away stops no process that runs: it goes on with the keys that it has.
        const problem = keysProblem?.()
        return {
          status: 'ready',
          storing: told,
          ...(problem === undefined ? {} : { keys: { code: problem.code, detail: problem.message } }),
        } as const
      } catch (error) {
        throw error instanceof TokenvaultError ? new NotReady(error) : error
      }
    }
  },
})

/** Never throws. */
async function describeStoring(storing: HealthCheck | undefined): Promise<Storing> {
  if (storing === undefined) return { status: 'off' }
  try {
    await storing.check()
    return { status: 'ready' }
  } catch (error) {
    const isTold = error instanceof TokenvaultError && error.code !== 'internal'
    return {
      status: 'unavailable',
      ...(isTold ? { code: error.code as never, detail: error.message } : { code: 'internal' }),
    }
  }
}

async function within(milliseconds: number, answer: Promise<Storing>): Promise<Storing> {
  const { promise, resolve } = Promise.withResolvers<Storing>()
  const late: Storing = {
    status: 'unavailable',
    code: 'store_unavailable',
    detail: 'the database has not answered yet',
  }
  const timer = setTimeout(() => resolve(late), milliseconds)
  try {
    return await Promise.race([answer, promise])
  } finally {
    clearTimeout(timer)
  }
}

function sharing<T>(ask: () => Promise<T>): () => Promise<T> {
  let underWay: Promise<T> | undefined
  return () => {
    underWay ??= ask().finally(() => {
      underWay = undefined
    })
    return underWay
  }
}
