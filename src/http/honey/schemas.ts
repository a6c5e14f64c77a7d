import Type from 'typebox'

export const honeyIdSchema = Type.String({
  pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$',
  description: 'Id of the honey token.',
})

/** As the texts of a suspension: no control, format or line-separating characters. */
export const noteSchema = Type.String({
  minLength: 1,
  maxLength: 200,
  pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]+$',
  description: 'Where it is laid out, for who is told that it was met. Never put a value of a person in it.',
})

export const exampleHoneyId = '9c1f6a0e-5d0b-4a39-8f0e-0f4e1a7c2b61'
