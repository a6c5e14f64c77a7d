import { claims, eachJson, type Family, rawPayload } from './forge.ts'

const many = (count: number) => Array.from({ length: count }, (_, index) => `group-${index}`)

/** What stands in the claim of roles refuses nobody; which roles it gives is asked in principal.test.ts. */
export const roles: Family = {
  accepted: {
    'no roles': claims({ roles: undefined }),
    ...eachJson(
      'roles',
      [
        [],
        ['__proto__', 'constructor', 'toString'],
        'investigator auditor',
        '',
        null,
        0,
        true,
        {},
        { investigator: true },
        { investigator: { 201982826478953724: 'example.com' } },
        { 0: 'investigator', length: 1 },
        [['investigator']],
        [{ name: 'investigator' }],
        ['investigator', 7, null, ''],
        ['r'.repeat(65)],
        ['investigator\n', '\u202einvestigator'],
        'investigator\u0000',
      ],
      value => claims({ roles: value }),
    ),
    '150 groups': claims({ roles: many(150) }),
    '1,000 roles': claims({ roles: Array.from({ length: 1000 }, () => 'r') }),
    'roles as a text of 5 KB': claims({ roles: 'r'.repeat(5000) }),
    'a role of half a surrogate pair': rawPayload(payload => payload.replace('investigator', '\\udc00')),
  },
  refused: {
    'roles that stand twice': rawPayload(payload => payload.replace('{', '{"roles":["operator"],')),
    'a role that stands twice in an object of roles': rawPayload(payload =>
      payload.replace('{', '{"r":{"investigator":{},"investigator":{"1":"a"}},'),
    ),
  },
}
