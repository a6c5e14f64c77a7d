import { writeFileSync } from 'node:fs'
import { registerHooks } from 'node:module'

// To be preloaded by `node --import`. Writes the URL of every module that was loaded after it to the file
// LOADED_MODULES at exit; packages named in MISSING_PACKAGES are as if they were not installed.
const loaded = new Set<string>()
const missing = (process.env['MISSING_PACKAGES'] ?? '').split(',')

registerHooks({
  resolve(specifier, context, next) {
    if (!missing.includes(specifier)) return next(specifier, context)
    throw Object.assign(new Error(`Cannot find package '${specifier}'`), { code: 'ERR_MODULE_NOT_FOUND' })
  },
  load(url, context, next) {
    loaded.add(url)
    return next(url, context)
  },
})

const file = process.env['LOADED_MODULES']
if (file) process.on('exit', () => writeFileSync(file, JSON.stringify([...loaded])))
