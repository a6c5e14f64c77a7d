import { packBytes, unpackText } from '../../crypto/byte-column.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { SealedBody } from './ports.ts'

/** Opens sealed bodies; undefined, in its place, for one that does not open. Decides nothing about who may ask. */
export type OpenQuarantined = (bodies: readonly SealedBody[]) => readonly (string | undefined)[]

/** The inverse of a Tokenizer's sealForQuarantine, for bodies of any quarantine key version that is held. */
export function createOpenQuarantined(keys: FieldKeys): OpenQuarantined {
  return bodies => {
    const texts = new Array<string | undefined>(bodies.length)
    const places = Map.groupBy(bodies.keys(), index => bodies[index]!.dataKeyVersion)
    for (const [version, indexes] of places) {
      const opened = keys.sealer('quarantine', '', version)?.open(
        packBytes(indexes.map(index => bodies[index]!.sealed)),
        indexes.map(index => bodies[index]!.id),
      )
      if (opened === undefined) continue
      const plaintexts = unpackText(opened.plaintexts)
      for (const [order, index] of indexes.entries()) {
        if (opened.authentic[order] === 1) texts[index] = plaintexts[order]
      }
    }
    return texts
  }
}
