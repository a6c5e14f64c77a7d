#!/usr/bin/env node
// Plain JavaScript that any Node understands, so that an old one says what is wrong instead of a syntax error.
const [major, minor] = process.versions.node.split('.').map(Number)
if (major > 22 || (major === 22 && minor >= 18)) {
  // node:sqlite, in which the embedded queue keeps its messages, announces itself as experimental at every start.
  process.removeAllListeners('warning')
  process.on('warning', ({ name, message }) => {
    if (name !== 'ExperimentalWarning') process.stderr.write(`${name}: ${message}\n`)
  })
  // Where the reader has gone, such as `head`, the command ends as SIGPIPE ends others (128 + 13), and nothing is wrong.
  process.stdout.on('error', error => {
    if (error.code !== 'EPIPE') throw error
    process.exit(141)
  })
  const { restartWithFlagsOf } = await import('./process/v8-flags.ts')
  restartWithFlagsOf(String(process.argv[2]))
  const { run } = await import('./program.ts')
  await run(process.argv)
} else {
  process.stderr.write(
    `tokenvault: needs Node 22.18 or newer, this is ${process.versions.node}. Run it through npm (npm start, npm run tokenvault -- …): npm ci brought a Node 24 along.\n`,
  )
  process.exitCode = 2
}
