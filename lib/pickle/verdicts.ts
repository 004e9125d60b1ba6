/**
 * What to think of a global that a pickle names.
 *
 * Nothing is ever imported here, so no verdict protects this process. They protect the next one: a checkpoint that names
 * `os.system` was built to attack whoever opens it with Python, and must not pass through our hands as if it were data.
 *
 * Some functions do nothing by themselves and reach what they are told to. Scanners such as picklescan call them dangerous
 * wherever they stand; weights_only refuses them like any name that it does not know. Here:
 *
 *   builtins.getattr                unknown, as nested classes, bound methods and enums of Python 3.11 are pickled by it; but
 *                                   what it reaches is judged as if the pickle had named it, and it is dangerous where that
 *                                   cannot be told: a name that is no constant, or getattr handed to another function
 *   functools.partial, reduce       unknown: what they call is a global of its own, and judged as one
 *   operator.attrgetter, itemgetter, methodcaller
 *                                   dangerous: they hide names in strings, and checkpoints have no use for them
 */

export type Verdict = 'safe' | 'unknown' | 'dangerous';

/** Modules of which every member reaches code, processes, files or the network. Their submodules count too. */
const DANGEROUS_MODULES: ReadonlySet<string> = new Set([
  'os',
  'posix',
  'nt',
  'posixpath',
  'ntpath',
  'subprocess',
  '_posixsubprocess',
  '_winapi',
  'winreg',
  '_aix_support',
  '_osx_support',
  'sys',
  'socket',
  '_socket',
  'socketserver',
  'ssl',
  'select',
  'selectors',
  'shutil',
  'runpy',
  'pip',
  'pty',
  'ctypes',
  '_ctypes',
  'cffi',
  'webbrowser',
  'asyncio',
  'importlib',
  '_frozen_importlib',
  '_frozen_importlib_external',
  'imp',
  '_imp',
  'pkgutil',
  'zipimport',
  'bdb',
  'pdb',
  'pydoc',
  'code',
  'codeop',
  'timeit',
  'cProfile',
  'profile',
  'trace',
  'doctest',
  'unittest',
  'http',
  'requests',
  'urllib',
  'urllib3',
  'httpx',
  'aiohttp',
  'ftplib',
  'smtplib',
  'imaplib',
  'poplib',
  'telnetlib',
  'xmlrpc',
  'nntplib',
  'marshal',
  'popen2',
  'signal',
  'multiprocessing',
  'threading',
  '_thread',
  'concurrent',
  'pickle',
  '_pickle',
  'shelve',
  'cloudpickle',
  'dill',
  'joblib',
  'idlelib',
  'lib2to3',
  'test',
  'test.support',
  'test.libregrtest',
  'distutils',
  'setuptools',
  'tempfile',
  'venv',
  'ensurepip',
  'sqlite3',
  'logging',
  'logging.config',
  'logging.handlers',
  'io',
  '_io',
  '_pyio',
  'fileinput',
  'linecache',
  'fcntl',
  'mmap',
  'atexit',
  'gc',
  'inspect',
  'types',
  'site',
  'tkinter',
  'turtle',
  'pathlib.Path',
  'pathlib.PosixPath',
  'pathlib.WindowsPath',
  'torch.hub',
  'torch.utils.cpp_extension',
  'torch.utils._config_module',
  'torch._dynamo.guards',
  'torch._inductor',
  'torch.utils.bottleneck',
  'torch.utils.collect_env',
  'torch.distributed.rpc',
  'torch.multiprocessing',
  'torch.package',
  'numpy.testing',
  'numpy.f2py',
  'numpy.distutils',
  'numpy.lib.npyio',
  'numpy.lib._npyio_impl',
  'pandas.io',
  'numpy.ctypeslib',
  'numexpr',
  'nose',
  'tensorflow.io',
  'fsspec',
  'paramiko',
  'pexpect',
  'IPython',
  'jinja2',
  'mako',
  'yaml',
  'git',
  'docker',
  'boto3',
  'botocore',
]);

const DANGEROUS_BUILTINS: ReadonlySet<string> = new Set([
  'eval',
  'exec',
  'execfile',
  'compile',
  'open',
  'file',
  '__import__',
  'input',
  'raw_input',
  'breakpoint',
  'apply',
  'delattr',
  'setattr',
  'globals',
  'locals',
  'vars',
  'exit',
  'quit',
  'print',
  'help',
  'memoryview',
  '__build_class__',
  '__loader__',
  '__spec__',
]);

/** What graph modules are pickled by: with the source text of their forward, which is executed. Whole models are saved so. */
export const RUNS_SOURCE: ReadonlySet<string> = new Set(
  ['reduce_graph_module', 'reduce_package_graph_module', 'reduce_deploy_graph_module'].map(
    (name) => `torch.fx.graph_module.${name}`,
  ),
);

/** What is told of `getattr` where it is given to another function. */
export const GETATTR_HANDED_OVER = 'builtins.getattr(?)';

/** Single globals outside those modules. */
const DANGEROUS_GLOBALS: ReadonlySet<string> = new Set([
  GETATTR_HANDED_OVER,
  // They execute the text that they are given; what graph modules are pickled by (`RUNS_SOURCE`) is a way to them.
  ...['_exec_with_source', '_forward_from_src', '_method_from_src'].map((name) => `torch.fx.graph_module.${name}`),
  'torch.load',
  'torch.save',
  'torch.jit.load',
  'torch.jit.save',
  'torch.serialization.load',
  'torch.serialization.save',
  'torch.serialization._load',
  'torch.serialization._legacy_load',
  'torch.serialization._open_file',
  'torch.serialization._open_file_like',
  'torch.storage._load_from_file',
  'torch.jit.unsupported_tensor_ops.execWrapper',
  'operator.attrgetter',
  'operator.methodcaller',
  'operator.itemgetter',
  '_operator.attrgetter',
  '_operator.methodcaller',
  'builtins.map',
  'builtins.filter',
  'argparse.FileType',
  'codecs.open',
  'uuid._get_command_stdout',
  'platform._syscmd_file',
  'platform._syscmd_ver',
  'numpy.load',
  'numpy.loadtxt',
  'numpy.genfromtxt',
  'numpy.fromregex',
  'numpy.save',
  'numpy.savetxt',
  'numpy.savez',
  'numpy.savez_compressed',
  'pandas.read_pickle',
  'keras.models.load_model',
  'tensorflow.keras.models.load_model',
]);

/** Standard modules whose names people also give to packages of their own: `code.model.Net` is such a package. */
const HOMONYMS: ReadonlySet<string> = new Set([
  'code',
  'test',
  'trace',
  'profile',
  'signal',
  'site',
  'select',
  'git',
  'inspect',
  'logging',
]);

/** What is data in dangerous modules, or only names or keeps it: a model holds its logger, an image the bytes it was made of. */
const HARMLESS_MEMBERS: ReadonlySet<string> = new Set([
  ...['SimpleNamespace', 'MappingProxyType', 'GenericAlias', 'UnionType', 'NoneType', 'EllipsisType'].map(
    (name) => `types.${name}`,
  ),
  ...['io', '_io'].flatMap((module) => [`${module}.BytesIO`, `${module}.StringIO`]),
  ...['Signature', 'Parameter', '_ParameterKind', '_empty'].map((name) => `inspect.${name}`),
  'logging.getLogger',
  'signal.Signals',
  'http.HTTPStatus',
  'urllib.parse.ParseResult',
  'urllib.parse.SplitResult',
  // Where the arrays of a dump are: joblib reads them, not the pickle.
  ...['NumpyArrayWrapper', 'NDArrayWrapper', 'ZNDArrayWrapper'].map((name) => `joblib.numpy_pickle.${name}`),
  'distutils.version.LooseVersion',
  'distutils.version.StrictVersion',
]);

/** A dotted name can climb out of a harmless module: `torch.serialization.os.system`. */
const DANGEROUS_PARTS: ReadonlySet<string> = new Set([
  'os',
  'posix',
  'subprocess',
  'sys',
  '__globals__',
  '__builtins__',
  '__subclasses__',
  '__code__',
  '__dict__',
  '__class__',
  '__bases__',
  '__mro__',
  '__getattribute__',
  '__reduce__',
  '__reduce_ex__',
  'func_globals',
  '__self__',
  'f_globals',
  'f_builtins',
]);
const DANGEROUS_ENDS: ReadonlySet<string> = new Set([
  'system',
  'popen',
  'eval',
  'exec',
  '_load_from_file',
  'from_file',
  'fromfile',
  'tofile',
  'load_library',
]);

/** What state dicts, optimizers, modules and ordinary Python data are made of. */
const SAFE_MODULES: ReadonlySet<string> = new Set([
  'torch',
  'torch._utils',
  'torch._tensor',
  'torch.tensor',
  'torch.storage',
  'torch.cuda',
  'torch.sparse',
  'torch.cuda.sparse',
  'torch.nn.parameter',
  'torch.nn.backends.thnn',
  'torch.autograd',
  'torch.autograd.variable',
  'torch.serialization',
  'torch.jit._pickle',
  'collections',
  'argparse',
  'datetime',
  'decimal',
  'fractions',
  'enum',
  'numpy',
  'numpy.dtypes',
  'numpy.core.multiarray',
  'numpy._core.multiarray',
  'numpy.core.numeric',
  'numpy._core.numeric',
  'numpy.random._pickle',
  'pathlib',
  'pathlib._local',
  '_codecs',
  'copyreg',
]);
/** Of a module that also runs programs. */
const SAFE_GLOBALS: ReadonlySet<string> = new Set(['uuid.UUID', 'uuid.SafeUUID']);
/** The names in TorchScript archives are those of its own classes. */
const TORCHSCRIPT_PREFIX = '__torch__.';
const SAFE_PREFIXES = [
  'torch.nn.',
  'torch.optim.',
  'torch.nested.',
  'torch.ao.nn.',
  'torch.quantization.',
  'torch.ao.quantization.',
];
const SAFE_BUILTINS: ReadonlySet<string> = new Set([
  'set',
  'frozenset',
  'complex',
  'bytearray',
  'bytes',
  'list',
  'dict',
  'tuple',
  'int',
  'float',
  'str',
  'bool',
  'slice',
  'range',
  'object',
  'Ellipsis',
  'NotImplemented',
  'type',
]);

/** Parts of the longest name listed above: those of a file may have a million. */
const LISTED_PARTS = 4;

/** Whether the parts from `start` on begin with such a module. */
function inDangerousModule(parts: readonly string[], start = 0): boolean {
  for (let end = start + 1; end < Math.min(parts.length, start + LISTED_PARTS); end++) {
    const module = parts.slice(start, end).join('.');
    if (!DANGEROUS_MODULES.has(module)) continue;
    const next = parts[end] as string;
    const ownPackage = HOMONYMS.has(module) && parts.length > start + 2 && next === next.toLowerCase();
    // Python's own `test` has modules only: `test.Net` is of somebody's test.py.
    const ownModule = module === 'test' && parts.length === 2;
    if (!ownPackage && !ownModule) return true;
  }
  return false;
}

/** Modules hold what they import: `torch.nn.modules.module.torch.load` is `torch.load`, and `torch.serialization.os` is `os`. */
function endsInDangerous(parts: readonly string[]): boolean {
  for (let i = Math.max(1, parts.length - LISTED_PARTS); i < parts.length - 1; i++)
    if (DANGEROUS_GLOBALS.has(parts.slice(i).join('.'))) return true;
  return parts.includes('builtins', 1);
}

function climbsOut(parts: readonly string[]): boolean {
  return parts.some((_, i) => i > 0 && inDangerousModule(parts, i));
}

/** The verdict on a global in Python 3 names, `module.name`. */
export function verdictOf(global: string): Verdict {
  const parts = global.split('.');
  const name = parts.at(-1) as string;
  const module = parts.slice(0, -1).join('.');
  if (DANGEROUS_GLOBALS.has(global) || DANGEROUS_ENDS.has(name) || parts.some((part) => DANGEROUS_PARTS.has(part)))
    return 'dangerous';
  if (module === 'builtins')
    return DANGEROUS_BUILTINS.has(name) ? 'dangerous' : SAFE_BUILTINS.has(name) ? 'safe' : 'unknown';
  if (HARMLESS_MEMBERS.has(global)) return 'safe';
  if (inDangerousModule(parts)) return 'dangerous';
  if (global.startsWith(TORCHSCRIPT_PREFIX)) return 'safe';
  if (endsInDangerous(parts)) return 'dangerous';
  if (SAFE_MODULES.has(module) || SAFE_GLOBALS.has(global)) return 'safe';
  if (!SAFE_PREFIXES.some((prefix) => global.startsWith(prefix))) return 'unknown';
  return climbsOut(parts) ? 'dangerous' : 'safe';
}

/** The function whose result is judged, and not only its name. */
export const GETATTR = 'builtins.getattr';

/** Longer names are of nothing that exists: they would only make each of a million calls slow. */
const MAX_OWNER = 120;
const MAX_ATTRIBUTE = 100;

/**
 * What `getattr(object, name)` reaches, where `owner` is the global that the object is, if it is one; undefined where no
 * object has such an attribute.
 */
export function attributeOf(owner: string | undefined, name: string): string | undefined {
  if (name.length > MAX_ATTRIBUTE || name.includes('.')) return undefined;
  return `${owner === undefined || owner.length > MAX_OWNER ? '?' : owner}.${name}`;
}
