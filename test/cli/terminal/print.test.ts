import t from 'tap'
import { printable } from '../../../src/cli/terminal/print.ts'
import { formatTextTable } from '../../../src/cli/terminal/text-table.ts'
import { formatWelcome } from '../../../src/cli/terminal/welcome.ts'

const attack = 'a\u001b]0;title\u0007\r\u202eb\u009b2J\u200bc'
const harmless = String.raw`a\u{1b}]0;title\u{7}\u{d}\u{202e}b\u{9b}2J\u{200b}c`

t.test('what could steer a terminal is written out, everything else stays', async t => {
  t.equal(printable(attack), harmless)
  t.equal(printable('naïve 例 🛰'), 'naïve 例 🛰')
})

t.test('tables steer no terminal', async t => {
  t.match(formatTextTable(['column'], [['\u001b[2J']]), String.raw`\u{1b}[2J`)
  const row = {
    user_id: '\u001b[2J',
    device_type: 'ios',
    masked_ip: 'ip_v1_x',
    masked_device_id: 'device_id_v1_x',
    locale: null,
    app_version: 1,
    create_date: '2026-01-01',
  }
  const welcome = formatWelcome(
    {
      apiUrl: 'http://127.0.0.1:3000',
      queueUrl: '',
      analystUrl: '',
      dataDir: '\u001b[2J',
      rows: [row],
      revealer: 'investigator',
    },
    { columns: 80, paint: (_, text) => text },
  )
  t.notMatch(welcome, '\u001b')
})
