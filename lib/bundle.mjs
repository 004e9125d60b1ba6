/**
 * Bundles lib/ into the few files of dist/ that a process loads: one for what every program needs, and one for each part
 * that many never touch, which is loaded when it is first used.
 *
 * The sources know nothing of this: they import each other as if all of it were always there. Starting costs what is
 * compiled, so a `require` is made on first use, and not at the head of a file,
 *   - of a part: where `index` exports a function of it, the function that is exported loads the part when it is called;
 *   - of packages, and of those modules of Node.js that it has not loaded for itself by then.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));
const { engines, dependencies } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));

/**
 * The parts by their sources below lib/, the first that matches. The classes that `index` exports are of the core, for a
 * class cannot wait to be loaded; and so is a source that fills in something of another's when it is evaluated.
 */
const PARTS = [
  // The names in `nn` and `optim` are there from the start.
  ['core', /^(nn|optim)\/(incompatible-keys|index|lr-scheduler)\./],
  // What state dicts need, without any class of `nn`.
  ['state-dict', /^nn\/(attributes|copy|hooks|load-state-dict|python-names|state-dict|state-dict-keys|traverse)\./],
  ['nn', /^nn\//],
  ['optim', /^optim\//],
  ['elements', /^tensor\/(conversion|creation|elements|gather|minifloat)\./],
  ['print', /^tensor\/print[\w-]*\./],
  ['save', /^(save|compact|sink\/.*|container\/.*-writer|pickle\/(pickler.*|.*-writer))\./],
  ['foreign', /^container\/look-alikes\./],
  ['formats', /^container\/(bare-pickle|legacy|model-json|pickle-stream|safetensors.*|signatures|tar.*)\./],
  // What opening a file takes and importing the package does not.
  ['load', /^(load|location|provenance|walk)\./],
  [
    'load',
    /^container\/(byte-order|detect|distributed|inflated-bytes|magic|nested|persistent-id|record-names|torchscript|zip.*)\./,
  ],
  [
    'load',
    /^pickle\/(canonical-tensor|construct|decode|fast-path|frame|globals|lists|machine|memo|names|note-taker|numpy|opcodes)\./,
  ],
  ['load', /^pickle\/(python|rebuild|tensor-constants|unpickler|verdicts|weights-only)\./],
  ['load', /^source\/(local-file|local-path|memory|open-source|windows)\./],
  ['models', /^models\/(?!checkpoint-manager)/],
  ['files', /^(glob|container\/npy|source\/files-below)\./],
  ['remote', /^source\/(http-file|remote.*|s3|spool)\./],
  ['inspect', /^inspect\/(find|inspect|leaves|manifest|numbers|opening|show|statistics|storage-.*|summary|unsafe)\./],
  ['examine', /^inspect\//],
  ['convert/convert', /^convert\/(?!worker\.)/],
  ['core', /^(?!cli\/|convert\/|index\.)/],
];

/**
 * The package that reads the command line is bundled. It can run subcommands as programs, which ours are not: it would load
 * `node:child_process` and what that needs at every start.
 */
const COMMANDER = {
  part: 'cli/commander',
  sources: /[\\/]node_modules[\\/]commander[\\/]/,
  licence: readFileSync(`${root}node_modules/commander/LICENSE`, 'utf8'),
};
const withoutPrograms = {
  name: 'without-programs',
  resolveId: (name, importer) =>
    name === 'node:child_process' && COMMANDER.sources.test(importer) ? '\0no-programs' : undefined,
  load: (id) => (id === '\0no-programs' ? 'module.exports = {};' : undefined),
};

/** The part that a source, or a helper of the bundler's, is of; null for the command line and entries: files of their own. */
function partOf(id) {
  if (COMMANDER.sources.test(id) || id === '\0no-programs') return COMMANDER.part;
  const [, source] = /[\\/]lib[\\/](.*)$/.exec(id) ?? [];
  if (!source) return 'core';
  return PARTS.find(([, sources]) => sources.test(source.replaceAll('\\', '/')))?.[0] ?? null;
}

const POSTPONED = [
  ...PARTS.filter(([part]) => part !== 'core').map(([part]) => `\\.{1,2}/(?:\\w+/)?${part.split('/').at(-1)}\\.js`),
  'node:(?:crypto|fs/promises|os|stream|timers/promises|v8|worker_threads|zlib)',
  'yauzl',
  'yazl',
].join('|');
const REQUIRE = new RegExp(`^(?:const|let) (\\w+) = require\\("(${POSTPONED})"\\);$`, 'gm');
const EXPORT = /^exports\.(\w+) = (\w+\.loaded)\.(\w+);$/gm;

const EXPORT_GETTER =
  /^Object\.defineProperty\(exports, "(\w+)", \{\n\tenumerable: true,\n\tget: function\(\) \{\n\t\treturn (\w+);\n\t\}\n\}\);$/gm;

/** Functions of parts that `index` exports. */
const standIns = [];

/** The code of a file with its requires postponed: `part.name` becomes `part.loaded.name`. */
function postponed(code) {
  const names = [];
  const head = code.replace(REQUIRE, (_, name, file) => {
    names.push(name);
    const define = `Object.defineProperty(this, "loaded", { value: require("${file}") });`;
    return `const ${name} = { get loaded() { ${define} return this.loaded; } };`;
  });
  if (names.length === 0) return head;
  return head
    .replace(new RegExp(`(?<![\\w$]|(?<!\\.\\.)\\.)(${names.join('|')})(?=\\.)`, 'g'), '$1.loaded')
    .replace(EXPORT, (_, name, part, inPart) => {
      standIns.push(inPart);
      return `exports.${name} = function ${name}(...args) { return ${part}.${inPart}(...args); };`;
    });
}

/** Exports are set at the end of a file and never change: a property says as much as the function that the bundler writes. */
function withPlainExports(code) {
  return code.replace(EXPORT_GETTER, (getter, name, value) => {
    if (new RegExp(`^let ${value}\\b`, 'm').test(code)) return getter;
    return `exports.${name} = ${value};`;
  });
}

/** One character beyond Latin-1 makes V8 keep, and scan, two bytes for each of a file. */
function ascii(code) {
  return code.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

const bundle = await rolldown({
  cwd: root,
  input: { index: 'lib/index.ts', 'cli/main': 'lib/cli/main.ts', 'convert/worker': 'lib/convert/worker.ts' },
  platform: 'node',
  transform: { target: engines.node.replace('>=', 'node') },
  external: (name, importer = '') =>
    name === 'node:child_process' && COMMANDER.sources.test(importer)
      ? false
      : name.startsWith('node:') || name in dependencies || name.endsWith('package.json'),
  preserveEntrySignatures: 'allow-extension',
  plugins: [withoutPrograms, { name: 'postponed', renderChunk: (code) => ({ code: postponed(code), map: null }) }],
});
const { output } = await bundle.write({
  dir: 'dist',
  cleanDir: true,
  format: 'cjs',
  exports: 'named',
  strict: true,
  sourcemap: true,
  comments: false,
  banner: ({ name }) => (name === COMMANDER.part ? `/* commander\n\n${COMMANDER.licence}*/` : ''),
  minifyInternalExports: false,
  entryFileNames: '[name].js',
  chunkFileNames: ({ moduleIds }) =>
    moduleIds.every((id) => id.includes('/lib/cli/')) ? 'cli/[name].js' : '[name].js',
  codeSplitting: { groups: [{ name: partOf, debugName: 'parts' }], includeDependenciesRecursively: false },
});

// What the bundler prints last is written with less for V8 to read at every start.
for (const { type, fileName } of output) {
  if (type !== 'chunk') continue;
  const path = `${root}dist/${fileName}`;
  writeFileSync(path, ascii(withPlainExports(readFileSync(path, 'utf8'))));
}

const require = createRequire(new URL('../dist/index.js', import.meta.url));
const index = require('./index.js');
const names = Object.keys(index);
const parts = output.filter(({ fileName }) => PARTS.some(([part]) => fileName === `${part}.js`));
for (const name of standIns) {
  const real = parts.map(({ fileName }) => require(`./${fileName}`)[name]).find((value) => value !== undefined);
  if (typeof real !== 'function' || String(real).startsWith('class'))
    throw new Error(`index exports ${name}, which is no function: its source must be of the core`);
}

// The ES module is a list of the CommonJS module's names, so that a process which imports and requires the package has
// one copy of every class. The compiler writes the types of index.js beside it.
const esModule = [
  "import index from './index.js';",
  `export const { ${names.join(', ')} } = index;`,
  'export default index;',
];
const itsTypes = ["import * as index from './index.js';", "export * from './index.js';", 'export default index;'];
writeFileSync(`${root}dist/index.mjs`, `${esModule.join('\n')}\n`);
writeFileSync(`${root}dist/index.d.mts`, `${itsTypes.join('\n')}\n`);
