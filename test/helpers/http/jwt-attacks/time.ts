import { nowSeconds } from '../jwks-server.ts'
import { type Case, claims, each, eachJson, type Family, rawPayload } from './forge.ts'

const now = nowSeconds()
/** Replaces the number of a time claim by any text. */
const written =
  (name: 'exp' | 'iat') =>
  (text: string): Case =>
    rawPayload(payload => payload.replace(new RegExp(`"${name}":\\d+`), `"${name}":${text}`))
const notTimes = [
  String(now + 600),
  `${now + 600}`.padEnd(12, ' '),
  '',
  'tomorrow',
  'NaN',
  'Infinity',
  true,
  false,
  null,
  [],
  [now + 600],
  {},
  { $gt: 0 },
]

/** Tokens out of their time, and times that are none. */
export const time: Family = {
  accepted: {
    'nbf in the past': claims({ nbf: now - 60 }),
    'nbf of 1970': claims({ nbf: 0 }),
    'nbf within the tolerance of clocks': claims({ nbf: now + 10 }),
    'iat within the tolerance of clocks': claims({ iat: now + 10, exp: now + 600 }),
    'exp within the tolerance of clocks': claims({ iat: now - 600, exp: now - 5 }),
    'exactly the longest lifetime': claims({ iat: now, exp: now + 3600 }),
    'nbf with a fraction': claims({ nbf: now - 0.5 }),
    'exp with a fraction': claims({ exp: now + 600.5 }),
    'iat with a fraction': claims({ iat: now - 0.5 }),
    'times with six digits of a fraction': claims({ iat: now - 0.123456, nbf: now - 0.123456, exp: now + 600.654321 }),
    'exp as an integer with an exponent': written('exp')(`${now + 600}e0`),
    'exp as an integer with a zero fraction': written('exp')(`${now + 600}.0`),
  },
  refused: {
    expired: claims({ iat: now - 700, exp: now - 100 }),
    'expired just beyond the tolerance of clocks': claims({ iat: now - 600, exp: now - 31 }),
    'expired in 1970': claims({ iat: 0, exp: 600 }),
    'exp 100 years away': claims({ exp: now + 100 * 365 * 86_400 }),
    'exp in milliseconds': claims({ exp: (now + 600) * 1000 }),
    'exp and iat in milliseconds': claims({ iat: now * 1000, exp: (now + 600) * 1000 }),
    'a second more than the longest lifetime': claims({ iat: now, exp: now + 3601 }),
    'an old token that lives long enough to be current': claims({ iat: now - 86_400, exp: now + 600 }),
    'exp before iat': claims({ iat: now, exp: now - 1 }),
    'exp equal to iat': claims({ iat: now, exp: now }),
    'iat in the future': claims({ iat: now + 300, exp: now + 600 }),
    'iat far in the future, with an exp to match': claims({ iat: now + 86_400, exp: now + 86_700 }),
    'iat negative': claims({ iat: -1 }),
    'nbf in the future': claims({ nbf: now + 300 }),
    'nbf just beyond the tolerance of clocks': claims({ nbf: now + 60 }),
    'nbf after exp': claims({ exp: now + 100, nbf: now + 200 }),
    'nbf negative': claims({ nbf: -1 }),
    'a fraction of a second more than the longest lifetime': claims({ iat: now, exp: now + 3600.001 }),
    'iat negative by a fraction': claims({ iat: -0.5 }),
    ...each(
      ['1e3', '1e300', '1e400', '-1e400', '-0', '0', '-1', '9007199254740992', '99999999999999999999', '1e-7'].map(
        text => [`exp written ${text}`, text],
      ),
      written('exp'),
    ),
    ...each(
      ['1e300', '-1e400', '-0', '9007199254740993'].map(text => [`iat written ${text}`, text]),
      written('iat'),
    ),
    ...each(
      ['NaN', 'Infinity', '+1999999999', '0x7735940', '01999999999', '1_999_999_999', 'undefined', '1999999999n'].map(
        text => [`exp written ${text}, which is no JSON`, text],
      ),
      written('exp'),
    ),
    ...eachJson('exp', notTimes, exp => claims({ exp })),
    ...eachJson('iat', notTimes, iat => claims({ iat })),
    ...eachJson('nbf', notTimes, nbf => claims({ nbf })),
  },
}
