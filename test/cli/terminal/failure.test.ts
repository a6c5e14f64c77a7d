import t from 'tap'
import { reportFailure } from '../../../src/cli/terminal/failure.ts'
import { TokenvaultError } from '../../../src/errors.ts'

t.test('a fault of ours asks for no request id, which nobody at a terminal has', async t => {
  let written = ''
  const exitCode = reportFailure(new TokenvaultError('internal', 'a batch failed'), text => {
    written += text
  })
  t.equal(exitCode, 1)
  t.match(written, 'tokenvault: internal: a batch failed. Please report it')
  t.notMatch(written, 'request id')
})
