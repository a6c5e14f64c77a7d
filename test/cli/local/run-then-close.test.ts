import t from 'tap'
import { runThenClose } from '../../../src/cli/local/run-then-close.ts'

t.test('everything is closed, the last opened first, even where closing fails', async t => {
  const closed: string[] = []
  const closer = (name: string) => async () => {
    closed.push(name)
    throw new Error(name)
  }
  const running = runThenClose(async closing => {
    closing.push(closer('stack'), closer('api'))
  })
  await t.rejects(running, { message: 'api' })
  t.strictSame(closed, ['api', 'stack'])
})

t.test('a run that fails is what is told', async t => {
  const running = runThenClose(async closing => {
    closing.push(async () => {
      throw new Error('close')
    })
    throw new Error('run')
  })
  await t.rejects(running, { message: 'run' })
})
