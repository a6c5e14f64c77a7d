import { startIssuer } from '../src/embedded/issuer.ts'

/** Profile `dev` of docker-compose.yml: the issuer of `tokenvault up`, whose key is kept in the given directory. */
const [dataDir = '/issuer'] = process.argv.slice(2)
const issuer = await startIssuer({ dataDir, port: 3001, audience: 'tokenvault' })
process.on('SIGTERM', () => void issuer.stop())
