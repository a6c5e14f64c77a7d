import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import Type, { type TSchema } from 'typebox'
import { processNames, type Variable, variables } from '../../../src/config/variables.ts'

/** docs/configuration.md, which `npm run docs:configuration` writes and a test compares. */
export const configurationPage = fileURLToPath(new URL('../../../docs/configuration.md', import.meta.url))

/** Where more can be read about words of the descriptions. */
const links: Readonly<Record<string, string>> = {
  'the fields to tokenize': 'production.md#which-fields-are-tokenized',
  'who may reveal what': 'policy.md',
  'deploy/policy.yaml': '../deploy/policy.yaml',
  'requests for approval': 'callers.md#approvals',
  'somebody met a honey token': 'policy.md#honey-tokens',
  'Standard Webhooks': 'https://www.standardwebhooks.com/',
}

const introduction = `# Configuration

Environment variables. Any of them that is text can be given in a file instead, as \`NAME_FILE\`. Wrong or missing variables are reported all at
once, and nothing starts. Each command lists its own variables in \`--help\`. What else the SDK of AWS and proxies read, and which variable wins, is in
[operators.md](operators.md#aws-regions-endpoints-credentials-and-proxies).

Files are read once, at the start, with two exceptions: \`POLICY_FILE\` is read again when it changes, and \`DATABASE_URL_FILE\` for
[each new session](production.md#the-connection-url), because passwords are rotated and access tokens of databases live for minutes. To change any other secret,
restart the process: the key of \`KEK_FILE\` unwraps the stored keys at the start and is not kept afterwards; \`APPROVAL_WEBHOOK_SECRET\` and \`ALARM_WEBHOOK_SECRET\` are changed together
with the receiver, which may accept the old and the new one for a while; \`ROLE_PASSWORDS_DIR\` is read by each \`tokenvault migrate\`.

This page is generated from \`src/config/variables.ts\` by \`npm run docs:configuration\`.
`

/** The page as it should be. @throws Error where a link has lost the words that it stands on */
export function renderConfigurationPage(): string {
  const rows = Object.entries(variables).map(([name, variable]) => {
    const readBy = processNames.filter(process => variable.readBy.includes(process)).join(', ')
    return [`\`${name}\``, readBy, takes(variable.schema), fallbackOf(variable), inMarkdown(variable.description)]
  })
  const lines = [['variable', 'used by', 'takes', 'default', 'what it is'], Array(5).fill('---'), ...rows].map(
    cells => `| ${cells.join(' | ')} |`,
  )
  return withLinks(`${introduction}\n${lines.join('\n')}\n`)
}

function fallbackOf({ schema, defaultValue }: Variable): string {
  if (defaultValue !== undefined) return `\`${defaultValue}\``
  return Type.IsOptional(schema) ? 'none' : 'required'
}

function takes(schema: TSchema): string {
  const { enum: words, minimum, maximum } = schema as { enum?: string[]; minimum?: number; maximum?: number }
  if (words !== undefined) return words.map(word => `\`${word}\``).join(', ')
  if (!Type.IsInteger(schema)) return 'text'
  return maximum === undefined ? `${minimum} or more` : `${minimum} to ${maximum}`
}

/** What stands in angle brackets would be taken for HTML. */
function inMarkdown(text: string): string {
  return text.replace(/\S*<\S+>\S*/g, '`$&`')
}

function withLinks(page: string): string {
  return Object.entries(links).reduce((text, [words, target]) => {
    if (text.split(words).length !== 2) throw new Error(`${words}: found ${text.split(words).length - 1} times`)
    return text.replace(words, `[${words}](${target})`)
  }, page)
}

if (import.meta.main) writeFileSync(configurationPage, renderConfigurationPage())
