/**
 * Writes dist/index.mjs and its types: the ES module is a list of the CommonJS module's names, so that a process which
 * imports and requires the package has one copy of every class.
 */
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const dist = new URL('../dist/', import.meta.url);
const names = Object.keys(createRequire(import.meta.url)(new URL('index.js', dist).pathname)).filter(
  (name) => name !== '__esModule',
);
const lines = [
  "import index from './index.js';",
  `export const { ${names.join(', ')} } = index;`,
  'export default index;',
  '',
];
writeFileSync(new URL('index.mjs', dist), lines.join('\n'));
writeFileSync(new URL('index.d.mts', dist), "export * from './index.js';\n");
