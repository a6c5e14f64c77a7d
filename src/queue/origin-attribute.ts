/** Message attribute that holds the mark of a message that was sent again; see OriginSeal in vault/ports.ts. */
export const originAttribute = 'tokenvault-origin'
