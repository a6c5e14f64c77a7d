import type { Command } from 'commander'
import { loadConfig } from '../../config.ts'
import { listen } from '../../http/listen.ts'
import { createLog } from '../../log.ts'
import { composeApi } from '../compose.ts'
import { environmentHelp } from '../environment-help.ts'
import { stopped, stopSignal } from '../stop-signal.ts'

export function addApiCommand(program: Command): void {
  program
    .command('api')
    .description('serve the HTTP API until stopped; SIGTERM finishes the requests under way')
    .addHelpText('after', environmentHelp('api'))
    .action(async () => {
      const config = loadConfig('api', process.env)
      const log = createLog(config.LOG_LEVEL)
      const signal = stopSignal()
      const api = await composeApi(config, log)
      try {
        log.info({ event: 'api_listening', port: await listen(api.main, { host: config.HOST, port: config.PORT }) })
        await stopped(signal)
      } finally {
        await api.close()
      }
    })
}
