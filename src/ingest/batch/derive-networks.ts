import { describeAddress } from '../../vault/fields/address-scope.ts'
import { derivedFields, eventFields, type ValueRefused } from '../../vault/fields/fields.ts'
import type { TokenizedValue } from '../../vault/tokens/ports.ts'
import type { Tokenizer } from '../../vault/tokens/tokenizer.ts'
import type { AddressNetwork } from '../ports.ts'
import type { KnownAddresses } from './known-addresses.ts'

type Column = readonly (TokenizedValue | ValueRefused)[]

/**
 * Networks of the addresses of a batch, by the token of the address.
 *
 * @param columns what the tokenizer made, a column for each field of events
 * @param valuesOf the values of a column; null where the event has none
 */
export type DeriveNetworks = (
  columns: readonly Column[],
  valuesOf: (place: number) => readonly (string | null)[],
) => ReadonlyMap<string, AddressNetwork>

/**
 * For the fields that are derived from addresses; without one nothing is done.
 *
 * @param known addresses that are passed over
 */
export function createDeriveNetworks(tokenizer: Tokenizer, known?: Pick<KnownAddresses, 'has'>): DeriveNetworks {
  const names = eventFields(tokenizer.fields).map(({ name }) => name)
  const derived = derivedFields(tokenizer.fields).map(({ name, derivedFrom }) => ({
    name,
    place: names.indexOf(derivedFrom),
  }))
  return (columns, valuesOf) => {
    const networks = new Map<string, AddressNetwork>()
    for (const { name, place } of derived) {
      const addresses = new Map<string, string>()
      const values = valuesOf(place)
      for (const [index, result] of columns[place]!.entries()) {
        const value = values[index]
        if (value === null || !('token' in result) || known?.has(result.token) === true) continue
        addresses.set(result.token, value!)
      }
      const made = tokenizer.tokenizeValues(name, [...addresses.values()])
      for (const [order, [address, value]] of [...addresses].entries()) {
        const network = made[order]!
        const facts = describeAddress(value)
        if ('token' in network && facts !== undefined) networks.set(address, { address, network, ...facts })
      }
    }
    return networks
  }
}
