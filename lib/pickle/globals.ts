/**
 * The globals that mean something here, one row each: constants, classes with a JavaScript twin, and the functions
 * through which PyTorch and NumPy rebuild their data. Everything else resolves to an inert `PyGlobal`.
 */
import { DType } from '../dtype';
import { CheckpointError } from '../errors';
import type { ClassLookup } from './classes';
import { NOT_RENAMED_BY_PYTORCH, python3Name, python3Parts } from './names';
import { numpyRules } from './numpy';
import { pythonRules } from './python';
import { torchRules } from './rebuild';
import { type GlobalRule, KnownGlobal, StorageClass } from './rules';
import { Layout, PyGlobal, PyObject, type PyValue, QScheme, type Tuple } from './values';
import { attributeOf, GETATTR, GETATTR_HANDED_OVER, verdictOf } from './verdicts';
import { checkAllowed } from './weights-only';

const RULES: ReadonlyMap<string, GlobalRule> = new Map([...pythonRules, ...numpyRules, ...torchRules]);

const LAYOUTS = new Set([
  'strided',
  'sparse_coo',
  'sparse_csr',
  'sparse_csc',
  'sparse_bsr',
  'sparse_bsc',
  '_mkldnn',
  'jagged',
]);
const QSCHEMES = new Set([
  'per_tensor_affine',
  'per_tensor_symmetric',
  'per_channel_affine',
  'per_channel_symmetric',
  'per_channel_affine_float_qparams',
]);

/** A value that is a global in a pickle but a constant here. */
function constantOf(module: string, name: string): PyValue | undefined {
  // The reader of PyTorch looks only at the class name of a storage: `torch.cuda.FloatStorage` is a FloatStorage.
  if (name.endsWith('Storage') && module.split('.')[0] === 'torch') {
    if (name === 'UntypedStorage' || name === '_UntypedStorage')
      return new StorageClass(module, name, DType.uint8, true);
    const dtype = DType.ofStorageClass(name);
    return dtype && new StorageClass(module, name, dtype, false);
  }
  if (module !== 'torch') return undefined;
  if (LAYOUTS.has(name)) return Layout.of(name);
  if (QSCHEMES.has(name)) return QScheme.of(name);
  return DType.of(name);
}

export interface ResolverOptions {
  weightsOnly: boolean;
  safeGlobals: ReadonlySet<string>;
  /** Whether a dangerous global ends the load or stays inert for a scanner to report. */
  unsafeGlobals: 'reject' | 'inert';
  classes: ClassLookup;
}

/** Resolves the globals of one checkpoint, keeping the policy and the list of what was named. */
export class GlobalResolver {
  readonly #options: ResolverOptions;
  readonly #resolved = new Map<string, PyValue>();
  /** Every global named, in order of first use: as spelled in the file, and in Python 3 names. */
  readonly named: { readonly spelled: string; readonly global: string }[] = [];

  /** What `getattr` reaches and must not. */
  readonly #reached = new Set<string>();
  /** Whether the pickles name `getattr`: only then may a call reach more than it names. */
  resolvedGetattr = false;

  constructor(options: ResolverOptions) {
    this.#options = options;
  }

  get classes(): ClassLookup {
    return this.#options.classes;
  }

  resolve(module: string, name: string): PyValue {
    const spelled = `${module}\n${name}`;
    const known = this.#resolved.get(spelled);
    if (known !== undefined) return known;
    const global = python3Name(module, name);
    this.named.push({ spelled: `${module}.${name}`, global });
    const { weightsOnly, safeGlobals, unsafeGlobals } = this.#options;
    const constant = constantOf(module, name);
    // What has a rule is harmless, for the rule runs nothing.
    const rule = RULES.get(global);
    if (weightsOnly && !(constant instanceof StorageClass && constant.isOfPython)) {
      if (!NOT_RENAMED_BY_PYTORCH.has(module)) checkAllowed(global, python3Parts(module, name)[0], safeGlobals);
      else if (!safeGlobals.has(global)) checkAllowed(`${module}.${name}`, module, safeGlobals);
    } else if (unsafeGlobals === 'reject' && !rule && verdictOf(global) === 'dangerous' && !safeGlobals.has(global))
      refuse(global);
    this.resolvedGetattr ||= global === GETATTR;
    const value = constant ?? (rule ? new KnownGlobal(module, name, global, rule) : new PyGlobal(module, name, global));
    this.#resolved.set(spelled, value);
    return value;
  }

  /** Judges what a call of `getattr` reaches, as if the pickle had named it. Nothing is fetched. */
  judgeCall(callable: PyValue, args: Tuple): void {
    if (!this.resolvedGetattr || !isGetattr(callable)) return;
    const [object, name] = args;
    const reached = typeof name === 'string' ? attributeOf(reachedBy(object), name) : undefined;
    if (reached !== undefined && verdictOf(reached) === 'dangerous') this.#judge(reached);
  }

  /** Whoever is given `getattr` can call it with what nobody sees here. */
  judgeItems(items: readonly PyValue[]): void {
    if (this.resolvedGetattr && items.some(isGetattr)) this.#judge(GETATTR_HANDED_OVER);
  }

  #judge(global: string): void {
    const { unsafeGlobals, safeGlobals } = this.#options;
    if (safeGlobals.has(global)) return;
    if (unsafeGlobals === 'reject') refuse(global);
    if (this.#reached.has(global)) return;
    this.#reached.add(global);
    this.named.push({ spelled: global, global });
  }
}

function refuse(global: string): never {
  throw new CheckpointError(
    'UNSAFE_GLOBAL',
    `the pickle names "${global}", which reaches code or files and has no place in a checkpoint`,
    {
      hint: 'nothing was run; do not open this file with Python, and look at it with "torch-checkpoint scan"',
    },
  );
}

function isGetattr(value: PyValue | undefined): boolean {
  return value instanceof PyGlobal && value.global === GETATTR;
}

/** Attributes of attributes: `getattr(getattr(module, 'a'), 'b')`. Each step is judged when it is made. */
const MAX_ATTRIBUTES = 4;

/** The global that a value is, or is taken from; undefined for any other. */
function reachedBy(value: PyValue | undefined, steps = 0): string | undefined {
  if (value instanceof PyGlobal) return value.global;
  if (steps >= MAX_ATTRIBUTES || !(value instanceof PyObject) || !isGetattr(value.callable)) return undefined;
  const name = value.args[1];
  return typeof name === 'string' ? attributeOf(reachedBy(value.args[0], steps + 1), name) : undefined;
}
