/** Message attribute that holds the mark of a message that was sent again; see FirstIdentitySeal in vault/ports.ts. */
export const firstIdentityAttribute = 'tokenvault-origin'
