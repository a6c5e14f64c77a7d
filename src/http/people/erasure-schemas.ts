import Type from 'typebox'

export const personParams = Type.Object({
  userId: Type.String({
    minLength: 1,
    maxLength: 128,
    description: 'The user_id exactly as producers send it, percent-encoded: letter case and Unicode form count.',
  }),
})

export const countSchema = Type.Object(
  {
    kind: Type.String({
      description:
        '`row`, `detail`: rows removed of user_logins and login_details; `anonymized_row`, `anonymized_detail`: kept without ' +
        'user_id; `original`: values deleted; `shared`, `kept_elsewhere`: values that stayed; `quarantined`: bodies erased.',
    }),
    field: Type.Optional(Type.Union([Type.String(), Type.Null()], { description: 'Field of the values.' })),
    count: Type.Integer(),
  },
  { title: 'ErasedCount' },
)

export const certificateExample = {
  certificate:
    'tokenvault erasure v1\ntokenvault/default\n{"number":1}\n\n— tokenvault/default AAAAAAECAwQFBgcICQoLDA0ODw==\n',
}
