/** Promise: the public names, the README's code, the layers, the build files and the packed package are what they should be. */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { rolldown } from 'rolldown';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ERROR_CODES } from '../lib/errors';
import * as api from '../lib/index';
import { root } from './child';

const folder = mkdtempSync(join(tmpdir(), 'torch-checkpoint-api-'));
afterAll(() => rmSync(folder, { recursive: true }));

const read = (...path: string[]): string => readFileSync(join(root, ...path), 'utf8');
const lenet = join(root, 'test', 'fixtures', 'valid', 'zip-lenet-training.pt');

/** Names exported for values and for types, with what they are documented as. */
function exportedNames(): { name: string; isValue: boolean; documented: boolean; file: string }[] {
  const entry = join(root, 'lib', 'index.ts');
  const { config } = ts.readConfigFile(join(root, 'lib', 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, join(root, 'lib'));
  const program = ts.createProgram([entry], options);
  const checker = program.getTypeChecker();
  const index = checker.getSymbolAtLocation(program.getSourceFile(entry) as ts.SourceFile) as ts.Symbol;
  return checker.getExportsOfModule(index).map((symbol) => {
    const real = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
    return {
      name: symbol.name,
      isValue: (real.flags & ts.SymbolFlags.Value) !== 0,
      documented: real.getDocumentationComment(checker).length > 0 || (real.flags & ts.SymbolFlags.ValueModule) !== 0,
      file: relative(root, real.declarations?.[0]?.getSourceFile().fileName ?? ''),
    };
  });
}

describe('public names', () => {
  const names = exportedNames();
  test('values', () => {
    expect(Object.keys(api).sort()).toMatchSnapshot();
    expect(
      names
        .filter(({ isValue }) => isValue)
        .map(({ name }) => name)
        .sort(),
    ).toEqual(Object.keys(api).sort());
  });
  test('types', () =>
    expect(
      names
        .filter(({ isValue }) => !isValue)
        .map(({ name }) => name)
        .sort(),
    ).toMatchSnapshot());
  test('every one has a comment that says what it is', () => {
    expect(names.filter(({ documented }) => !documented).map(({ name, file }) => `${name} in ${file}`)).toEqual([]);
  });
});

describe('README', () => {
  const readme = read('README.md');
  const blocks = [...readme.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language, code]) => ({
    language: language as string,
    code: code as string,
  }));

  test('the first block is the two commands of a fresh clone', () => {
    expect(blocks[0]).toEqual({ language: '', code: 'npm start\nnpm test\n' });
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    for (const name of ['prestart', 'pretest']) expect(scripts[name]).toMatch(/^npm install/);
  });

  test('every JavaScript block runs, and prints what its comments say', () => {
    const programs = blocks.filter(({ language }) => language === 'js');
    expect(programs.length).toBeGreaterThanOrEqual(2);
    const place = join(folder, 'readme');
    mkdirSync(join(place, 'node_modules'), { recursive: true });
    symlinkSync(root, join(place, 'node_modules', 'torch-checkpoint'));
    copyFileSync(lenet, join(place, 'model.pt'));
    const before = readFileSync(lenet);
    programs.forEach(({ code }, i) => {
      writeFileSync(join(place, `block-${i}.mjs`), code);
      const output = execFileSync(process.execPath, [`block-${i}.mjs`], { cwd: place, encoding: 'utf8' });
      const promised = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map(([, text]) => text as string);
      for (const line of promised) expect(output.split('\n')).toContain(line);
    });
    expect(readFileSync(join(place, 'model.pt')).equals(before)).toBe(true);
    expect(readdirSync(place)).toContain('model-next.pt');
  });

  test('the output of the command line tool is real', () => {
    const session = blocks.find(({ language }) => language === 'console');
    const [command, ...lines] = (session as { code: string }).code.trimEnd().split('\n');
    const args = /^\$ npx torch-checkpoint (.*)$/
      .exec(command as string)?.[1]
      ?.replace('model.pt', lenet)
      .split(' ') as string[];
    const output = execFileSync(process.execPath, [join(root, 'dist', 'cli', 'main.js'), ...args], {
      encoding: 'utf8',
    });
    expect(output.split('\n').slice(0, lines.length - 1)).toEqual(lines.slice(0, -1));
    expect(lines.at(-1)).toBe('...');
  });

  test('every error code is in its table', () => {
    const table = [...readme.matchAll(/^\| `([A-Z_]+)` \| (.*) \|$/gm)].map(([, code, meaning]) => [code, meaning]);
    expect(Object.fromEntries(table)).toEqual(ERROR_CODES);
  });

  test('every file that it and its neighbours name is there', () => {
    for (const file of ['README.md', 'CONTRIBUTING.md', 'SECURITY.md']) {
      const links = [...read(file).matchAll(/\]\(([^)#:]+)\)|`((?:lib|test|native|bench|\.ci)\/[\w./-]*\w)`/g)].map(
        ([, link, path]) => (link ?? path) as string,
      );
      for (const link of links)
        expect(
          () =>
            readdirSync(join(root, dirname(link))).includes(link.split('/').at(-1) as string) ||
            expect.fail(`${file}: ${link}`),
        ).not.toThrow();
    }
  });
});

/** Whether a source could run a text or load a module by a name that is not written in it. */
function runsText(file: string): boolean {
  let found = false;
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && /^'(?:node:)?vm'$/.test(node.moduleSpecifier.getText())) found = true;
    if (ts.isCallExpression(node) || ts.isNewExpression(node)) {
      const name = node.expression.getText();
      if (/^(?:globalThis\.)?(?:eval|Function)$/.test(name)) found = true;
      if (name === 'import' && !ts.isStringLiteral(node.arguments?.[0] as ts.Node)) found = true;
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, read(file), ts.ScriptTarget.ES2022, true));
  return found;
}

describe('layers', () => {
  /**
   * Each line may use the lines above it; names on one line may use each other. Imports of types alone are free: they
   * are gone when the program runs.
   */
  const LAYERS = [
    ['errors', 'limits', 'glob'],
    ['binding'],
    ['dtype', 'capabilities'],
    // What a value is: tensors hold Python values, and Python values hold tensors.
    ['tensor', 'pickle', 'repr', 'registry', 'walk', 'location', 'provenance', 'compact'],
    ['source', 'sink'],
    ['container'],
    ['checkpoint'],
    ['load', 'save'],
    ['nn'],
    ['optim'],
    ['models', 'jit'],
    ['convert'],
    ['inspect'],
    ['index'],
    ['cli'],
  ];
  /** Single imports against the order, each with its reason. */
  const EXCEPTIONS = new Set([
    // The byte order mark of an untyped storage is set by the container and asked for where the tensor's dtype is known.
    'lib/pickle/rebuild.ts -> lib/container/byte-order.ts',
  ]);
  const layerOf = (file: string): number =>
    LAYERS.findIndex((names) => names.includes((file.split('/')[1] as string).replace(/\.ts$/, '')));
  const sources = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `lib/${name}`);

  test('every stage has its place', () => {
    expect(sources.length).toBeGreaterThan(80);
    expect(sources.filter((file) => layerOf(file) < 0)).toEqual([]);
  });

  test('imports point downwards', () => {
    const upwards: string[] = [];
    for (const file of sources) {
      const parsed = ts.createSourceFile(file, read(file), ts.ScriptTarget.ES2022);
      for (const statement of parsed.statements) {
        if (!ts.isImportDeclaration(statement) && !ts.isExportDeclaration(statement)) continue;
        const from =
          statement.moduleSpecifier && ts.isStringLiteral(statement.moduleSpecifier)
            ? statement.moduleSpecifier.text
            : '';
        const typeOnly = ts.isImportDeclaration(statement)
          ? statement.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
          : statement.isTypeOnly;
        if (!from.startsWith('.') || typeOnly) continue;
        const target = `${join(dirname(file), from)}.ts`;
        const edge = `${file} -> ${target}`;
        if (layerOf(target) > layerOf(file) && !EXCEPTIONS.has(edge)) upwards.push(edge);
      }
    }
    expect(upwards).toEqual([]);
  });

  test('only binding.ts knows the addon, and nothing reads a module by a name from elsewhere', () => {
    const users = sources.filter((file) =>
      /\brequire\((?!'\.[\w./-]*'\))|\.node\b.*require/.test(read(file).replace(/^\s*(\*|\/\/|\/\*).*$/gm, '')),
    );
    expect(users).toEqual(['lib/binding.ts']);
    expect(sources.filter(runsText)).toEqual([]);
  });

  test('only js_* and addon.cc know Node-API', () => {
    const native = readdirSync(join(root, 'native')).filter((name) => /\.(cc|h)$/.test(name));
    const users = native.filter((name) => /#include <(napi|node_api|js_native_api)/.test(read('native', name)));
    expect(users.filter((name) => !/^js_|^addon\.cc$/.test(name))).toEqual([]);
    expect(users).toContain('js_bridge.h');
  });
});

test('binding.gyp and CMakeLists.txt compile the same sources: all there are', () => {
  const listed = (file: string): string[] =>
    [...new Set([...read(file).matchAll(/native\/\w+\.cc/g)].map(([name]) => name))].sort();
  const all = readdirSync(join(root, 'native'))
    .filter((name) => name.endsWith('.cc'))
    .map((name) => `native/${name}`)
    .sort();
  expect(listed('binding.gyp')).toEqual(all);
  expect(listed('CMakeLists.txt')).toEqual(all);
});

describe('the packed package', () => {
  const place = join(folder, 'packed');
  const modules = join(place, 'node_modules');
  const installed = join(modules, 'torch-checkpoint');
  let files: string[] = [];

  beforeAll(() => {
    mkdirSync(modules, { recursive: true });
    const packed = execFileSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', place], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [{ filename, files: list }] = JSON.parse(packed) as [{ filename: string; files: { path: string }[] }];
    files = list.map(({ path }) => path);
    // What `npm install` of the tarball does, without asking a registry for the dependencies.
    execFileSync('tar', ['-xzf', join(place, filename), '-C', modules]);
    execFileSync('mv', [join(modules, 'package'), installed]);
    symlinkSync(join(root, 'build'), join(installed, 'build'));
    const { dependencies } = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };
    for (const name of Object.keys(dependencies)) symlinkSync(join(root, 'node_modules', name), join(modules, name));
    copyFileSync(lenet, join(place, 'model.pt'));
  });

  const run = (name: string, code: string): string => {
    writeFileSync(join(place, name), code);
    return execFileSync(process.execPath, [name], { cwd: place, encoding: 'utf8' }).trim();
  };

  test('holds the sources of the addon and no tests', () => {
    for (const path of [
      'package.json',
      'README.md',
      'LICENSE',
      'dist/index.js',
      'dist/core.js',
      'dist/index.mjs',
      'dist/index.d.ts',
      'dist/index.d.mts',
      'dist/cli/main.js',
      'binding.gyp',
      'CMakeLists.txt',
      'native/install.cjs',
      'native/addon.cc',
    ]) {
      expect(files).toContain(path);
    }
    expect(files.filter((path) => /^(test|bench|node_modules|build|\.ci)\//.test(path))).toEqual([]);
  });

  test('import and require give the same classes in one process', () => {
    const output = run(
      'both.mjs',
      `
      import { createRequire } from 'node:module';
      import * as esm from 'torch-checkpoint';
      const cjs = createRequire(import.meta.url)('torch-checkpoint');
      const names = Object.keys(cjs);
      const different = names.filter((name) => esm[name] !== cjs[name]);
      const missing = Object.keys(esm).filter((name) => name !== 'default' && name !== 'module.exports' && !names.includes(name));
      const misnamed = names.filter((name) => typeof cjs[name] === 'function' && cjs[name].name !== name);
      const value = await esm.load('model.pt');
      console.log(JSON.stringify([names.length, different, missing, misnamed, esm.default === cjs, value.get('model_state_dict') instanceof cjs.OrderedDict]));`,
    );
    expect(JSON.parse(output)).toEqual([Object.keys(api).length, [], [], [], true, true]);
  });

  test('starts with its core alone, and loads other parts when they are used', () => {
    const output = run(
      'parts.cjs',
      `
      const tc = require('torch-checkpoint');
      const { basename } = require('node:path');
      const loaded = () => Object.keys(require.cache).filter((file) => file.includes('torch-checkpoint/')).map((file) => basename(file));
      const steps = [loaded()];
      if (String(new tc.OrderedDict([['a', 1]])) !== "OrderedDict([('a', 1)])") throw new Error('no values are printed yet');
      const value = tc.loadSync('model.pt');
      value.get('model_state_dict').get('fc3.weight').storage.bytes();
      steps.push(loaded());
      String(new tc.nn.Linear(1, 2));
      tc.saveSync([1], 'saved.pt');
      tc.inspect('model.pt').then(() => console.log(JSON.stringify([...steps, loaded()])));`,
    );
    const [started, read, used] = JSON.parse(output) as [string[], string[], string[]];
    const core = ['index.js', 'core.js', 'rolldown-runtime.js'];
    expect(started).toEqual(core);
    expect(read).toEqual([...core, 'print.js', 'load.js']);
    for (const part of ['nn.js', 'save.js', 'print.js', 'inspect.js']) expect(used).toContain(part);
    for (const part of ['optim.js', 'convert.js', 'remote.js', 'formats.js', 'examine.js'])
      expect(used).not.toContain(part);
  });

  test('finds its addon from within a bundle, and its parts with it', async () => {
    writeFileSync(
      join(place, 'program.mjs'),
      `
      import { convert, load, nn } from 'torch-checkpoint';
      load('model.pt').then(async (value) => {
        const { tensors } = await convert('model.pt', 'converted.safetensors');
        console.log(JSON.stringify([value.get('epoch'), String(new nn.ReLU()), tensors]));
      });`,
    );
    const bundle = await rolldown({ cwd: place, input: 'program.mjs', platform: 'node', logLevel: 'silent' });
    await bundle.write({ file: join(place, 'elsewhere', 'deep', 'program.cjs'), format: 'cjs' });
    expect(JSON.parse(run('start.cjs', "require('./elsewhere/deep/program.cjs');"))).toEqual([5, 'ReLU()', 51]);
  });

  test('works from CommonJS, and so does its command', () => {
    expect(
      run(
        'cjs.cjs',
        "const { loadSync } = require('torch-checkpoint'); console.log(loadSync('model.pt').get('epoch'));",
      ),
    ).toBe('5');
    const bin = (JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as { bin: Record<string, string> })
      .bin;
    expect(Object.keys(bin)).toEqual(['torch-checkpoint', 'tckpt']);
    for (const file of Object.values(bin)) {
      expect(execFileSync(process.execPath, [join(installed, file), '--version'], { encoding: 'utf8' }).trim()).toBe(
        (JSON.parse(read('package.json')) as { version: string }).version,
      );
      expect(readFileSync(join(installed, file), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
    }
  });

  test('its types are found from both kinds of module', () => {
    const program =
      "import { load, type Tensor, DType } from 'torch-checkpoint';\nexport async function first(path: string): Promise<Float32Array> {\n  const t: Tensor = await load<Tensor>(path);\n  return t.dtype === DType.float32 ? t.toFloat32Array() : new Float32Array();\n}\n";
    writeFileSync(join(place, 'types.mts'), program);
    writeFileSync(join(place, 'types.cts'), program);
    symlinkSync(join(root, 'node_modules', '@types'), join(modules, '@types'));
    const compiler = createRequire(__filename).resolve('typescript/bin/tsc');
    const flags = [
      '--noEmit',
      '--strict',
      '--module',
      'nodenext',
      '--target',
      'es2022',
      '--lib',
      'es2024,esnext.disposable',
      '--types',
      'node',
      '--skipLibCheck',
      'false',
    ];
    expect(
      execFileSync(process.execPath, [compiler, ...flags, 'types.mts', 'types.cts'], { cwd: place, encoding: 'utf8' }),
    ).toBe('');
  });

  test('the engines it names are those it was written for', () => {
    const { engines } = JSON.parse(read('package.json')) as { engines: Record<string, string> };
    expect(engines).toEqual({ node: '>=20.17' });
    // Nothing newer than Node.js 20 in what is compiled: the bundler reads the engines, and names those alone.
    expect(read('lib', 'bundle.mjs')).toContain('target: engines.node');
  });
});
