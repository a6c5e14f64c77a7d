import t from 'tap'
import { createProgressBar } from '../../../src/cli/terminal/progress-bar.ts'

t.test('a terminal gets a bar that fills, is never longer than full, and is wiped', async t => {
  const parts: string[] = []
  const bar = createProgressBar({ total: 10, unit: 'moved', isTerminal: true, write: part => void parts.push(part) })
  bar.update(0)
  bar.update(5)
  bar.update(12)
  const drawn = parts.join('').split('\r').slice(1)
  t.match(drawn[0], /^\[-{24}\] 0 of 10 moved/)
  t.match(drawn[1], /^\[#{12}-{12}\] 5 of 10 moved/)
  t.match(drawn[2], /^\[#{24}\] 12 of 12 moved/)
  bar.end()
  t.equal(parts.at(-1), '\r\u001b[K')
  createProgressBar({ total: 0, unit: 'moved', isTerminal: true, write: () => {} }).update(0)
})

t.test('a file gets a plain line for every thousand', async t => {
  const lines: string[] = []
  const bar = createProgressBar({ total: 2500, unit: 'moved', isTerminal: false, write: part => void lines.push(part) })
  for (let done = 0; done <= 2500; done += 10) bar.update(done)
  bar.end()
  t.strictSame(lines, ['1000 of 2500 moved\n', '2000 of 2500 moved\n'])
})
