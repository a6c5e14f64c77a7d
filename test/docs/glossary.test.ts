import { readdirSync } from 'node:fs'
import t from 'tap'
import { pages, readText, root } from '../helpers/docs/pages.ts'

/** Each retired word of docs/glossary.md, by the word to use, and how it is found in its retired meaning. */
const retired: Readonly<Record<string, RegExp>> = {
  value: /plaintext PII/i,
  token: /\b(bearer|auth|JWT) tokens?\b/i,
  'tokenize, detokenize': /\b(un)?mask(s|ed|ing|er)?\b/i,
  person: /\bdata subjects?\b/i,
  'encrypt, decrypt': /\b(en|de)crypt(s|ed|ing)? (the |a |an )?(value|original|bod)/i,
  KEK: /\bmaster[-_ ]?key/i,
  'wrap, unwrap, rewrap': /\bencrypt(s|ed|ing)? (the |a |all )?keys?\b/i,
  rotate: /\bre-?key(s|ed|ing)?\b/i,
  're-seal': /\brewrap\w* (the |an )?originals?/i,
  principal: /\b(authenticated|API) users?\b/i,
  action:
    /\b(RecordAct|recordAct|ActLog|actLog|AuditedAct|RecordedAct|CommittedAct|rule_acts|(?<!(caller|person|somebody) )acts|an act|the act|each act|every act|this act|privileged act)\b/,
  admission: /\b(ruling|rulings|Ruling|ruled|rule_acts|refusalOfRuling)\b/,
  change: /\b(Effect|side effects?)\b|\b(readonly|charge,) effect\b/,
  'audit event': /\baudit log lines?\b/i,
  'log name': /\b(logOrigin|log_origin|origin of (the|a|this) log|log['’]s origin)\b/i,
  'delivery record':
    /\breceipted\b|\b(delivery|message) receipts?\b|\breceipts? (of|for) (a|the|each|its) messages?\b/i,
  'first identity': /\b(MessageOrigin|messageOrigin|message_origin|origin of (a|the) message|original message id)\b/i,
  'in flight': /\bin[- ]hand\b|\binHand\b|InHand/,
  settle: /\back(s|ed|ing|nowledg\w*)?\b/i,
  quarantine: /\btrash/i,
  'visibility timeout': /\b(message|visibility) locks?\b/i,
  erase: /\bdelet(e|es|ed|ing) (a |the )?(person|people|users?)\b/i,
  'archive, recall': /\brestor(e|es|ed|ing) (old|archived) days\b/i,
  gateway: /\b(postgres|sql|wire) proxy\b/i,
}

/** Where a pattern is right about the letters and wrong about the meaning, and why. */
const allowed: readonly { readonly file: RegExp; readonly line: RegExp; readonly why: string }[] = [
  { file: /^src\/crypto\//, line: /mask/i, why: 'a bit mask of RFC 5297 and of CMAC hides no value' },
  { file: /^docs\/keys\.md$/, line: /"Effect": "Allow"/, why: 'a member of policies of AWS' },
]

const sources = (folder: string, ending: RegExp) =>
  readdirSync(new URL(`${folder}/`, root), { recursive: true, encoding: 'utf8' })
    .filter(path => ending.test(path))
    .map(path => `${folder}/${path}`)

/** What the words are looked for in: code, SQL, the HTTP document, and what people read. The history keeps its words. */
const texts = new Map([
  ...[
    ...sources('src', /\.[jt]s$/),
    ...sources('migrations', /\.sql$/),
    ...sources('deploy', /\.(ya?ml|ts|mjs|json|conf)$|Dockerfile$/),
    'docker-compose.yml',
    'openapi/openapi.json',
  ].map(path => [path, readText(path)] as const),
  ...[...pages].filter(([page]) => page !== 'CHANGELOG.md' && page !== 'docs/glossary.md'),
])

t.test('every word that the glossary retires has a pattern, and no other', async t => {
  const rows = [...pages.get('docs/glossary.md')!.matchAll(/^\| ([^|]+) \| [^|]+ \| ([^|]*) ?\|$/gm)]
  const words = rows.filter(([, word, not]) => word !== 'word' && word !== '---' && not!.trim() !== '')
  t.strictSame(words.map(([, word]) => word!.trim()).toSorted(), Object.keys(retired).toSorted())
})

t.test('no retired word is in use', async t => {
  const used = new Set<object>()
  for (const [path, text] of texts) {
    for (const [index, line] of text.split('\n').entries()) {
      for (const [word, pattern] of Object.entries(retired)) {
        const found = pattern.exec(line)?.[0]
        if (found === undefined) continue
        const exception = allowed.find(({ file, line: shape }) => file.test(path) && shape.test(line))
        if (exception === undefined) t.fail(`${path}:${index + 1}: “${found}”: say ${word}`)
        else used.add(exception)
      }
    }
  }
  for (const exception of allowed) t.ok(used.has(exception), `still needed: ${exception.why}`)
})

t.test('each pattern finds the retired word, and lets the new one pass', async t => {
  const finds: Readonly<Record<string, readonly [retired: string, right: string]>> = {
    token: ['a bearer token', 'an access token'],
    'tokenize, detokenize': ['values are masked', 'masked_ip varchar(256)'],
    KEK: ['the master key', 'the key-encryption key'],
    action: ['readonly actLog: ActLog', 'a person acts under a ticket'],
    admission: ['the ruling refuses', 'the rule of its field'],
    change: ['readonly effect: Effect', 'each message takes effect once'],
    'first identity': ['interface MessageOrigin', 'const { origin } = new URL(url)'],
    'delivery record': ['rows.receipted', 'the newest receipt handle'],
    'in flight': ['what is in hand', 'what is in flight'],
    settle: ['messages are acked', 'pack the messages'],
    erase: ['delete a person', 'delete the message'],
  }
  for (const [word, [wrong, right]] of Object.entries(finds)) {
    t.match(wrong, retired[word]!, word)
    t.notMatch(right, retired[word]!, word)
  }
})
