import { PassThrough } from 'node:stream'
import { stripVTControlCharacters, styleText } from 'node:util'
import t from 'tap'
import { createStartProgress, startSteps } from '../../../src/cli/terminal/start-progress.ts'
import { formatWelcome, type Paint, quoteForShell, type Welcome } from '../../../src/cli/terminal/welcome.ts'

const letters = (length: number, seed: number) => String.fromCharCode(65 + seed).repeat(length)
const rows = Array.from({ length: 5 }, (_, index) => ({
  user_id: `a08ff49b-6f77-4263-8271-6c43069c43a${index}`,
  device_type: 'android',
  masked_ip: `ip_v1_${letters(40, index)}`,
  masked_device_id: `device_id_v1_${letters(36, index)}`,
  locale: 'FR',
  app_version: 7,
  create_date: '2026-11-29',
}))
const everything: Welcome = {
  apiUrl: 'http://127.0.0.1:65535',
  queueUrl: 'http://127.0.0.1:65535/000000000000/login-events',
  metricsUrl: 'http://127.0.0.1:65535/metrics',
  analystUrl: 'postgresql://tokenvault_analyst@127.0.0.1:65535/tokenvault',
  dataDir: '.tokenvault',
  rows,
  revealer: 'investigator',
}
const plain: Paint = (_, text) => text
const coloured: Paint = (format, text) => styleText(format, text, { validateStream: false })
const shapes: Record<string, Partial<Welcome>> = {
  everything: {},
  'one field more': { rows: rows.map(row => ({ ...row, masked_email: `email_v1_${letters(36, 7)}` })) },
  'placeholders, which are null': { rows: rows.map(row => ({ ...row, masked_ip: null })) },
  'no rows': { rows: [] },
  'a policy without investigators': { revealer: undefined },
}

for (const [name, change] of Object.entries(shapes)) {
  t.test(`the welcome fits 24 rows and 80 columns, with colour and without: ${name}`, async t => {
    const welcome = { ...everything, ...change }
    const text = formatWelcome(welcome, { columns: 80, paint: plain })
    const lines = text.split('\n')
    t.ok(lines.length <= 24, `${lines.length} lines, the one of the cursor included`)
    const isWide = name === 'one field more'
    for (const line of lines) t.ok(line.length <= (isWide ? 92 : 80), `${line.length}: ${line}`)
    t.equal(stripVTControlCharacters(formatWelcome(welcome, { columns: 80, paint: coloured })), text)
    t.notMatch(text, '\u001b')
  })
}

t.test('rows stay comparable, however narrow the terminal is, and whole where it is wide', async t => {
  for (const columns of [40, 80, 120, 400]) {
    const text = formatWelcome(everything, { columns, paint: plain })
    for (const [index] of rows.entries()) {
      t.match(text, `ip_v1_${letters(3, index)}`)
      t.match(text, `device_id_v1_${letters(3, index)}`)
    }
    t.equal(text.includes(`${rows[0]!.masked_device_id}  FR`), columns === 400)
  }
})

t.test('the line that reveals is one command, on one line where that fits', async t => {
  const command = (columns: number) => {
    const text = formatWelcome(everything, { columns, paint: plain })
    return /npx tokenvault detokenize (?:.*\\\n)*.*/.exec(text)![0].replace(/ \\\n +/, ' ')
  }
  const expected = `npx tokenvault detokenize --purpose fraud_investigation ${rows[0]!.masked_ip}`
  t.equal(command(80), expected)
  t.equal(command(200), expected)
  t.notMatch(formatWelcome(everything, { columns: 200, paint: plain }), '\\')
})

t.test('another directory stands in every command, as one word', async t => {
  const text = formatWelcome({ ...everything, dataDir: "it's here" }, { columns: 80, paint: plain })
  t.equal(text.match(/--data-dir 'it'\\''s here'/g)?.length, 3)
})

t.test('quoteForShell makes one word of anything', async t => {
  t.equal(quoteForShell('http://127.0.0.1:3000/a_b.c'), 'http://127.0.0.1:3000/a_b.c')
  for (const text of ['', 'a b', '$(id)', '`id`', "'", 'a\nb', '*', '~', '&', '\\'])
    t.equal(quoteForShell(text), `'${text.replaceAll("'", "'\\''")}'`, text)
})

t.test('a start is one changing line on a terminal, and a line for each thing otherwise', async t => {
  const run = (isTerminal: boolean) => {
    const output = new PassThrough({ encoding: 'utf8' })
    const progress = createStartProgress(isTerminal, text => void output.write(text))
    for (const step of startSteps) {
      progress.done(step)
      progress.done(step)
    }
    progress.end()
    progress.end()
    return String(output.read())
  }
  t.equal(run(false), startSteps.map(step => `${step} ready\n`).join(''))
  const live = run(true)
  t.notMatch(live, '\n')
  const shown = live.split('\r\u001b[K')
  t.equal(shown.length, startSteps.length + 2, 'each state once, and nothing left')
  t.equal(shown.at(-1), '')
  for (const line of shown) t.ok(line.length < 80)
})
