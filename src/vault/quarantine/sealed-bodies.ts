import { randomUUID } from 'node:crypto'
import { packBytes, packText, unpackText, valueAt } from '../../crypto/byte-column.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { SealedBody } from './ports.ts'

/** Seals n texts that are not events, each under an id of its own, in input order. */
export type SealQuarantined = (texts: readonly string[]) => readonly SealedBody[]

/** Opens sealed bodies; undefined, in its place, for one that does not open. Decides nothing about who may ask. */
export type OpenQuarantined = (bodies: readonly SealedBody[]) => readonly (string | undefined)[]

/** @throws TokenvaultError `keyset_incomplete` without a primary quarantine key */
export function createSealQuarantined(keys: FieldKeys): SealQuarantined {
  // Missing, it is told at the start.
  keys.primaryVersion('quarantine', '')
  return texts => {
    const dataKeyVersion = keys.primaryVersion('quarantine', '')
    const sealer = keys.sealer('quarantine', '', dataKeyVersion)!
    const ids = texts.map(() => randomUUID().replaceAll('-', ''))
    const sealed = sealer.seal(packText(texts.map(text => text.toWellFormed())), ids)
    return ids.map((id, index) => ({ id, dataKeyVersion, sealed: valueAt(sealed, index) }))
  }
}

/** The inverse of SealQuarantined, for bodies of any quarantine key version that is held. */
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
