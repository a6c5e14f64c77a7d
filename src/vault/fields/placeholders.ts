import { normalizationRules, type RuleName } from './rules/index.ts'

/** What programs write in place of a text that they do not have. */
const words = [
  'unknown',
  'undefined',
  'unavailable',
  'null',
  '(null)',
  '<null>',
  'nil',
  'none',
  'n/a',
  'na',
  'nan',
  '-',
]

/**
 * The placeholders of a field that names none, by its rule. Only values that no login can have: what stands here is not kept,
 * so that a value which somebody might have would be lost.
 */
export const defaultPlaceholders: Readonly<Record<RuleName, readonly string[]>> = {
  // The unspecified addresses (RFC 1122, 3.2.1.3; RFC 4291, 2.5.2), and what inet_addr answers for text that is no address.
  'ip.v1': ['0.0.0.0', '::', '255.255.255.255', ...words],
  'device_id.v1': [
    // Nil and max UUID (RFC 9562, 5.9 and 5.10): advertising ids of iOS and Android where tracking is not allowed.
    '00000000-0000-0000-0000-000000000000',
    'ffffffff-ffff-ffff-ffff-ffffffffffff',
    // The same without hyphens, the ANDROID_ID and the IMEI of no device, and one zero.
    '00000000000000000000000000000000',
    '0000000000000000',
    '000000000000000',
    '0',
    // The ANDROID_ID that a fault of Android 2.2 gave to all devices of several makers.
    '9774d56d682e549c',
    // The IMEI that a maker wrote into all of its devices.
    '004999010640000',
    // What Android 6 and later tell of the MAC address, and the addresses of none and of all.
    '02:00:00:00:00:00',
    '00:00:00:00:00:00',
    'ff:ff:ff:ff:ff:ff',
    ...words,
  ],
  'email.v1': ['unknown@unknown', 'null@null', 'none@none', ...words],
  // Names are texts, too: people are called Null, None, Nan and Na.
  'text.v1': ['unknown', 'undefined', '(null)', '<null>', 'n/a'],
  // An address that is a placeholder has no network; the networks of the addresses themselves hold others, too.
  'network.v1': words,
}

/** What placeholders are compared by: the value as its rule normalizes it or, where the rule refuses it, as it stands, without case. */
export function foldPlaceholder(rule: RuleName, text: string): string {
  return (normalizationRules.get(rule)!.normalize(text) ?? text.trim()).toLowerCase()
}
