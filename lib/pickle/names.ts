/**
 * Python 2 names of globals, as protocols below 3 spell them, and their Python 3 names.
 *
 * The facts are those of Python's `_compat_pickle` tables, kept to the modules and names that occur in data: `torch.save`
 * writes with `fix_imports`, so that even a pickle of today says `__builtin__`.
 */

const MODULES: Readonly<Record<string, string>> = {
  __builtin__: 'builtins',
  copy_reg: 'copyreg',
  Queue: 'queue',
  SocketServer: 'socketserver',
  ConfigParser: 'configparser',
  repr: 'reprlib',
  tkFileDialog: 'tkinter.filedialog',
  anydbm: 'dbm',
  commands: 'subprocess',
  cPickle: 'pickle',
  cStringIO: 'io',
  StringIO: 'io',
  dummy_thread: '_dummy_thread',
  dummy_threading: '_dummy_thread',
  htmlentitydefs: 'html.entities',
  HTMLParser: 'html.parser',
  httplib: 'http.client',
  markupbase: '_markupbase',
  thread: '_thread',
  urllib2: 'urllib.request',
  urlparse: 'urllib.parse',
  robotparser: 'urllib.robotparser',
  xmlrpclib: 'xmlrpc.client',
  UserDict: 'collections',
  UserList: 'collections',
  UserString: 'collections',
  whichdb: 'dbm',
  Cookie: 'http.cookies',
  cookielib: 'http.cookiejar',
  BaseHTTPServer: 'http.server',
  Tkinter: 'tkinter',
  exceptions: 'builtins',
  _abcoll: 'collections.abc',
  _socket: 'socket',
  _multiprocessing: 'multiprocessing.context',
};

/** Of these, what PyTorch's own table for `weights_only` leaves out: there they keep their Python 2 names. */
export const NOT_RENAMED_BY_PYTORCH: ReadonlySet<string> = new Set([
  ...['anydbm', 'BaseHTTPServer', 'commands', 'ConfigParser', 'Cookie', 'cookielib', 'cPickle', 'dummy_thread'],
  ...['exceptions', 'htmlentitydefs', 'HTMLParser', 'httplib', 'markupbase', 'robotparser', 'SocketServer', 'thread'],
  ...['tkFileDialog', 'Tkinter', 'urllib2', 'urlparse', 'xmlrpclib'],
]);

const NAMES: Readonly<Record<string, string>> = {
  '__builtin__.xrange': 'builtins.range',
  '__builtin__.reduce': 'functools.reduce',
  '__builtin__.intern': 'sys.intern',
  '__builtin__.unichr': 'builtins.chr',
  '__builtin__.unicode': 'builtins.str',
  '__builtin__.long': 'builtins.int',
  '__builtin__.basestring': 'builtins.str',
  '__builtin__.raw_input': 'builtins.input',
  'itertools.izip': 'builtins.zip',
  'itertools.imap': 'builtins.map',
  'itertools.ifilter': 'builtins.filter',
  'itertools.ifilterfalse': 'itertools.filterfalse',
  'itertools.izip_longest': 'itertools.zip_longest',
  'UserDict.IterableUserDict': 'collections.UserDict',
  'UserList.UserList': 'collections.UserList',
  'UserString.UserString': 'collections.UserString',
  'whichdb.whichdb': 'dbm.whichdb',
  '_socket.fromfd': 'socket.fromfd',
  '_multiprocessing.Connection': 'multiprocessing.connection.Connection',
  'socket._socketobject': 'socket.SocketType',
  'urllib.urlencode': 'urllib.parse.urlencode',
  'urllib.urlopen': 'urllib.request.urlopen',
  'exceptions.StandardError': 'builtins.Exception',
};

const hasOwn = (table: object, key: string): boolean => Object.hasOwn(table, key);

/** The Python 3 spelling of a global, as [module, name]. */
export function python3Parts(module: string, name: string): readonly [module: string, name: string] {
  const full = `${module}.${name}`;
  if (hasOwn(NAMES, full)) {
    const mapped = NAMES[full] as string;
    const dot = mapped.lastIndexOf('.');
    return [mapped.slice(0, dot), mapped.slice(dot + 1)];
  }
  return [hasOwn(MODULES, module) ? (MODULES[module] as string) : module, name];
}

/** `module.name` in Python 3 names. */
export function python3Name(module: string, name: string): string {
  return python3Parts(module, name).join('.');
}

/** The Python 2 spelling that `fix_imports` writes for a Python 3 global, as [module, name]. */
export function python2Parts(module: string, name: string): readonly [module: string, name: string] {
  const mapped = REVERSE_NAMES.get(`${module}.${name}`);
  if (mapped) return mapped;
  if (module === 'builtins' && /(?:Error|Exception|Warning|Exit|Interrupt|StopIteration)$/.test(name)) {
    const known = NEW_EXCEPTIONS.get(name);
    if (known !== null) return ['exceptions', known ?? name];
  }
  return [REVERSE_MODULES.get(module) ?? module, name];
}

/** Exceptions that Python 2 did not have: the one it knew instead, or null where there was none and the name is kept. */
const NEW_EXCEPTIONS: ReadonlyMap<string, string | null> = new Map([
  ...[
    ...['BrokenPipeError', 'ChildProcessError', 'ConnectionAbortedError', 'ConnectionError'],
    ...['ConnectionRefusedError', 'ConnectionResetError', 'FileExistsError', 'FileNotFoundError', 'InterruptedError'],
    ...['IsADirectoryError', 'NotADirectoryError', 'PermissionError', 'ProcessLookupError', 'TimeoutError'],
  ].map((name) => [name, 'OSError'] as const),
  ['ModuleNotFoundError', 'ImportError'] as const,
  ...['BlockingIOError', 'EncodingWarning', 'PythonFinalizationError', 'RecursionError', 'ResourceWarning'].map(
    (name) => [name, null] as const,
  ),
]);

// Only names that Python maps both ways: `int` is written as `long`, `range` as `xrange`.
const REVERSE_NAMES = new Map<string, readonly [string, string]>([
  ['builtins.range', ['__builtin__', 'xrange']],
  ['functools.reduce', ['__builtin__', 'reduce']],
  ['sys.intern', ['__builtin__', 'intern']],
  ['builtins.chr', ['__builtin__', 'unichr']],
  ['builtins.int', ['__builtin__', 'long']],
  ['builtins.str', ['__builtin__', 'unicode']],
  ['builtins.zip', ['itertools', 'izip']],
  ['builtins.map', ['itertools', 'imap']],
  ['builtins.filter', ['itertools', 'ifilter']],
  ['itertools.filterfalse', ['itertools', 'ifilterfalse']],
  ['itertools.zip_longest', ['itertools', 'izip_longest']],
  ['collections.UserDict', ['UserDict', 'IterableUserDict']],
  ['collections.UserList', ['UserList', 'UserList']],
  ['collections.UserString', ['UserString', 'UserString']],
]);

const REVERSE_MODULES = new Map<string, string>([
  ['builtins', '__builtin__'],
  ['copyreg', 'copy_reg'],
  ['queue', 'Queue'],
  ['socketserver', 'SocketServer'],
  ['configparser', 'ConfigParser'],
  ['reprlib', 'repr'],
  ['_thread', 'thread'],
  ['html.entities', 'htmlentitydefs'],
  ['html.parser', 'HTMLParser'],
  ['http.client', 'httplib'],
  ['urllib.robotparser', 'robotparser'],
  ['xmlrpc.client', 'xmlrpclib'],
  ['http.cookies', 'Cookie'],
  ['http.cookiejar', 'cookielib'],
  ['http.server', 'BaseHTTPServer'],
  ['tkinter', 'Tkinter'],
  ['dbm', 'anydbm'],
  ['collections.abc', '_abcoll'],
  ['subprocess', 'commands'],
  ['_functools', 'functools'],
]);
