import { claims, eachJson, type Family, rawPayload } from './forge.ts'

/** What the claim of roles may be; what a role then permits is the policy's. */
export const roles: Family = {
  accepted: {
    'no roles': claims({ roles: undefined }),
    'an empty list of roles': claims({ roles: [] }),
    '32 roles': claims({ roles: Array.from({ length: 32 }, (_, index) => `role-${index}`) }),
    'roles as a text of words': claims({ roles: 'investigator auditor' }),
    'roles that nobody knows': claims({ roles: ['__proto__', 'constructor', 'toString'] }),
  },
  refused: {
    ...eachJson(
      'roles',
      [
        null,
        0,
        true,
        {},
        { investigator: true },
        { 0: 'investigator', length: 1 },
        { roles: ['investigator'] },
        [['investigator']],
        [{ name: 'investigator' }],
        ['investigator', 7],
        ['investigator', null],
        [''],
        ['r'.repeat(65)],
        ['investigator\n'],
        ['investigator\u0000'],
        ['\u202einvestigator'],
        'investigator\nauditor',
        'investigator\u0000',
      ],
      value => claims({ roles: value }),
    ),
    '33 roles': claims({ roles: Array.from({ length: 33 }, (_, index) => `role-${index}`) }),
    '33 roles as a text': claims({ roles: Array.from({ length: 33 }, (_, index) => `role-${index}`).join(' ') }),
    '1,000 roles': claims({ roles: Array.from({ length: 1000 }, () => 'r') }),
    'roles as a text of 5 KB': claims({ roles: 'r'.repeat(5000) }),
    'a role of half a surrogate pair': rawPayload(payload => payload.replace('investigator', '\\udc00')),
    'roles that stand twice': rawPayload(payload => payload.replace('{', '{"roles":["operator"],')),
  },
}
