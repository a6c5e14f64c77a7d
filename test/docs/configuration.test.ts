import { readFileSync } from 'node:fs'
import t from 'tap'
import { configurationPage, renderConfigurationPage } from '../helpers/docs/configuration-page.ts'

t.test('docs/configuration.md holds every variable as it is: `npm run docs:configuration` writes it', async t => {
  t.equal(readFileSync(configurationPage, 'utf8'), renderConfigurationPage())
})
