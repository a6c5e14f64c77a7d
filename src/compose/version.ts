import { readFileSync } from 'node:fs'

/** Version of the software, as package.json has it. A file of its own, so that `tokenvault --version` loads nothing else. */
export const version: string = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version
