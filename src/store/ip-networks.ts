import { sql } from 'kysely'
import type { AddressNetwork, LoginRow } from '../ingest/ports.ts'
import { plainArray } from './postgres/array-literal.ts'
import type { TokenvaultDatabase } from './postgres/database.ts'

/** Stores the networks of addresses that have none yet; sorted, because batches that meet the same addresses wait for each other. */
export async function insertIpNetworks(transaction: TokenvaultDatabase, rows: readonly LoginRow[]): Promise<void> {
  const byAddress = new Map<string, AddressNetwork>()
  for (const { networks } of rows) {
    if (networks === undefined) continue
    for (const network of networks) byAddress.set(network.address, network)
  }
  if (byAddress.size === 0) return
  const addresses = [...byAddress.keys()].sort()
  const networks = addresses.map(address => byAddress.get(address)!)
  await sql`
    insert into analyst.ip_networks (masked_ip, masked_network, family, scope)
    select * from unnest(
      ${plainArray(addresses)}::text[], ${plainArray(networks.map(({ network }) => network.token))}::text[],
      ${plainArray(networks.map(({ family }) => family))}::smallint[],
      ${plainArray(networks.map(({ scope }) => scope))}::text[])
    on conflict do nothing`.execute(transaction)
}
