import type { Command } from 'commander'
import { addPersonErase } from './person-erase.ts'
import { addPersonExport } from './person-export.ts'
import { addPersonHold } from './person-hold.ts'
import { addPersonShow } from './person-show.ts'

/** `tokenvault person …`: what is done about the data of one person. */
export function configure(person: Command): void {
  addPersonShow(person)
  addPersonExport(person)
  addPersonHold(person)
  addPersonErase(person)
}
