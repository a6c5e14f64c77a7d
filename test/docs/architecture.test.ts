import { existsSync } from 'node:fs'
import t from 'tap'
import { pages, root } from '../helpers/docs/pages.ts'

/** Rooms that have a row in the import table and no file yet. */
const planned = ['src/console/', 'src/client/', 'src/sql/']

/** The name of a function for AWS Lambda: a file without its ending, and what it exports. */
const functionName = 'deploy/lambda.handler'

t.test('every file and folder that a page names is there', async t => {
  // The history names files as they were.
  const current = [...pages].filter(([page]) => page !== 'CHANGELOG.md')
  const named = current
    .flatMap(([page, text]) =>
      [...text.matchAll(/(?<![\w./-])((?:src|test|bench|deploy|migrations|openapi|docs)\/[\w./-]*[\w/])/g)].map(
        ([, path]) => ({ page, path: path! }),
      ),
    )
    .filter(({ path }) => path !== functionName)
  t.ok(named.length > 50)
  for (const { page, path } of named) {
    if (planned.includes(path)) t.notOk(existsSync(new URL(path, root)), `${path} is no longer planned`)
    else t.ok(existsSync(new URL(path, root)), `${page}: ${path}`)
  }
})
