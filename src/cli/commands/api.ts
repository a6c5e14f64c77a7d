import type { Command } from 'commander'
import { composeApi } from '../../compose/api.ts'
import { loadConfig } from '../../config/load.ts'
import { listen } from '../../http/server/connections.ts'
import { createLog } from '../../log.ts'
import { useProxies } from '../process/proxies.ts'
import { stopped, stopSignal } from '../process/stop-signal.ts'
import { environmentHelp } from '../terminal/options.ts'

/** Options and action of `tokenvault api`. */
export function configure(command: Command): void {
  command.addHelpText('after', environmentHelp('api')).action(async () => {
    const config = loadConfig('api', process.env)
    useProxies(process.env)
    const log = createLog(config.LOG_LEVEL)
    const signal = stopSignal()
    const api = await composeApi(config, log, process.env)
    try {
      log.info({ event: 'api_listening', port: await listen(api.app, { host: config.HOST, port: config.PORT }) })
      await stopped(signal)
    } finally {
      await api.close()
    }
  })
}
