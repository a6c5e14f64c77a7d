/** Rules on the text of a source tree, given as paths (`store/pool.ts`) and texts. Each check returns its complaints. */
export type SourceTree = ReadonlyMap<string, string>

export interface Import {
  /** As written: `../errors.ts`, `node:fs`, `pg`; undefined where it is computed at run time. */
  readonly specifier: string | undefined
  /** Names of an `import type`; undefined for an import of values. */
  readonly typeNames: readonly string[] | undefined
}

const staticImport = /^(?:import|export)(?:(\s+type\b)?([^'"`;=()]*?)\bfrom\b)?\s*(['"])([^'"\n]+)\3/gm
const dynamicImport = /\b(?:import|require|require\.resolve|import\.meta\.resolve)\s*\(\s*([^)]*)/g

/** Static and dynamic imports and re-exports. Relies on the formatter: a statement begins its line. */
export function findImports(text: string): Import[] {
  const code = withoutComments(text)
  const found: Import[] = []
  for (const [, type, names = '', , specifier] of code.matchAll(staticImport)) {
    const typeNames = type === undefined ? undefined : (names.match(/[\w$*]+/g) ?? [])
    found.push({ specifier, typeNames })
  }
  for (const [, argument = ''] of code.matchAll(dynamicImport)) {
    // Of a template, what stands before its first value tells the package.
    const literal = /^(['"])([^'"]+)\1\s*,?\s*$|^`([^`$]+)/.exec(argument)
    found.push({ specifier: literal?.[2] ?? literal?.[3], typeNames: undefined })
  }
  return found
}

function withoutComments(text: string): string {
  return text.replace(/^\s*\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, '')
}

/** The path that a relative specifier means, or undefined for a package. */
function resolveRelative(from: string, specifier: string | undefined): string | undefined {
  if (!specifier?.startsWith('.')) return undefined
  return new URL(specifier, `file:///${from}`).pathname.slice(1)
}

/** `store/pool.ts` is of the room store; `errors.ts` is a room of its own. */
export function roomOf(path: string): string {
  return path.split('/')[0]!.replace(/\.[a-z]+$/, '')
}

export interface RoomRule {
  /** Rooms whose values it may import; '*' for all. */
  readonly values: readonly string[] | '*'
  /** Rooms, or files, of which it may import these types ('*' for any), and nothing that exists at run time. */
  readonly types?: Readonly<Record<string, readonly string[] | '*'>>
}

export function checkRooms(tree: SourceTree, rules: Readonly<Record<string, RoomRule>>): string[] {
  const complaints: string[] = []
  for (const [path, text] of tree) {
    const room = roomOf(path)
    const rule = Object.hasOwn(rules, room) ? rules[room] : undefined
    if (rule === undefined) {
      complaints.push(`${path}: the table has no room ${room}`)
      continue
    }
    for (const { specifier, typeNames } of findImports(text)) {
      const target = resolveRelative(path, specifier)
      if (target === undefined) continue
      if (!tree.has(target)) complaints.push(`${path}: ${specifier} is not in src`)
      const other = roomOf(target)
      if (other === room || rule.values === '*' || rule.values.includes(other)) continue
      const types = rule.types?.[target] ?? rule.types?.[other]
      if (types !== undefined && typeNames?.every(name => types === '*' || types.includes(name))) continue
      complaints.push(`${path}: ${room} may not import ${other}`)
    }
  }
  return complaints
}

/**
 * The order of the folders inside of one room: each imports only those that stand before it in the table.
 *
 * @param rules folder to the folders that it may import
 */
export function checkFloors(
  tree: SourceTree,
  room: string,
  rules: Readonly<Record<string, readonly string[]>>,
): string[] {
  const floorOf = (path: string) => path.split('/')[1]!
  return [...tree].flatMap(([path, text]) => {
    if (roomOf(path) !== room) return []
    const floor = floorOf(path)
    if (!Object.hasOwn(rules, floor)) return [`${path}: the table has no ${room}/${floor}`]
    return findImports(text).flatMap(({ specifier }) => {
      const target = resolveRelative(path, specifier)
      if (target === undefined || roomOf(target) !== room) return []
      const other = floorOf(target)
      return other === floor || rules[floor]!.includes(other) ? [] : [`${path}: ${floor} may not import ${other}`]
    })
  })
}

/**
 * @param owners package, or scope ending with a slash, to the rooms that may import it
 * @param mayCompute rooms that may import what they find at run time
 */
export function checkPackages(
  tree: SourceTree,
  owners: Readonly<Record<string, readonly string[]>>,
  mayCompute: readonly string[],
): string[] {
  return [...tree].flatMap(([path, text]) =>
    findImports(text).flatMap(({ specifier }) => {
      if (specifier === undefined)
        return mayCompute.includes(roomOf(path)) ? [] : [`${path}: imports a name computed at run time`]
      const owner = Object.entries(owners).find(([name]) => {
        return name.endsWith('/') ? specifier.startsWith(name) : specifier === name || specifier.startsWith(`${name}/`)
      })
      return owner === undefined || owner[1].includes(roomOf(path))
        ? []
        : [`${path}: ${specifier} may be imported in ${owner[1].join(', ')} only`]
    }),
  )
}

export function checkBuiltins(tree: SourceTree, room: string, allowed: readonly string[]): string[] {
  return [...tree].flatMap(([path, text]) =>
    findImports(text).flatMap(({ specifier }) => {
      if (roomOf(path) !== room || specifier?.startsWith('.') || allowed.includes(specifier ?? '')) return []
      return [`${path}: ${room} may not import ${specifier}`]
    }),
  )
}

/** The environment, the exit and the signals of the process. */
export function checkProcess(tree: SourceTree, rooms: readonly string[]): string[] {
  return [...tree].flatMap(([path, text]) => {
    if (rooms.includes(roomOf(path))) return []
    const uses =
      withoutComments(text).match(
        /\bprocess\s*\??\.\s*(env|exit|exitCode|on|once)\b|['"]node:process['"]|\bprocess\[/g,
      ) ?? []
    return uses.map(use => `${path}: ${use} belongs in ${rooms.join(', ')}`)
  })
}

export function checkCycles(tree: SourceTree): string[] {
  const complaints: string[] = []
  const done = new Set<string>()
  const visit = (path: string, trail: readonly string[]) => {
    const place = trail.indexOf(path)
    if (place >= 0) complaints.push(`cycle: ${[...trail.slice(place), path].join(' → ')}`)
    if (place >= 0 || done.has(path)) return
    for (const { specifier } of findImports(tree.get(path) ?? '')) {
      const target = resolveRelative(path, specifier)
      if (target !== undefined) visit(target, [...trail, path])
    }
    done.add(path)
  }
  for (const path of tree.keys()) visit(path, [])
  return complaints
}

export function checkNames(tree: SourceTree): string[] {
  return [...tree.keys()].flatMap(path => {
    const complaints: string[] = []
    if (/(^|[/-])(utils?|helpers?|managers?|services?)([./-])/.test(path))
      complaints.push(`${path}: says nothing of what it holds`)
    if (!/^([a-z0-9]+(-[a-z0-9]+)*\/)*[a-z0-9]+(-[a-z0-9]+)*(\.[a-z]+)+$/.test(path))
      complaints.push(`${path}: is not kebab-case`)
    return complaints
  })
}

/** Exported functions, classes and arrow functions that no TSDoc comment stands before. */
export function checkDocumented(tree: SourceTree, rooms: readonly string[]): string[] {
  const exported = /^export (?:async )?(?:function\*?|(?:abstract )?class) (\w+)|^export const (\w+)[^\n]*=> ?/gm
  return [...tree].flatMap(([path, text]) => {
    if (!rooms.includes(roomOf(path))) return []
    return [...text.matchAll(exported)].flatMap(({ 1: declared, 2: assigned, index }) => {
      return text.slice(0, index).trimEnd().endsWith('*/') ? [] : [`${path}: ${declared ?? assigned} has no TSDoc`]
    })
  })
}
