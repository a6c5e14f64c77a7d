/** Enough digits for every size that a number holds exactly, so that names sort as sizes do. */
const digits = 16

/** File or object that holds the checkpoint of a size: `0000000000000042.note`. */
export function checkpointName(treeSize: number): string {
  return `${String(treeSize).padStart(digits, '0')}.note`
}
