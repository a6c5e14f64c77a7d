// Lambda looks for handlers in .js, .mjs and .cjs files only; its Node 24 runs the .ts file behind this one as it is.
export { handler } from '../src/lambda.ts'
