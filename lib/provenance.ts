/** Which file a loaded root came from, so that saving it again repeats that file's layout. */
import type { NameDigits } from './container/serialization-id';
import type { GlobalNames } from './pickle/notes';

export type TorchVersion = '1.13' | '2.6' | '2.13';

export interface Provenance {
  /** The newest layout that writes such a file. */
  readonly torchVersion: TorchVersion;
  readonly pickleProtocol: number | undefined;
  readonly globalNames: GlobalNames | undefined;
  /** False when the file was written without checksums. */
  readonly crc32: boolean;
  readonly storageAlignment: number | undefined;
  /** The half of the serialization id that depends on the platform which wrote it. */
  readonly nameDigits: NameDigits | undefined;
}

const origins = new WeakMap<object, Provenance>();

/**
 * A root that is a number, a string or None is no object that could be remembered: it is known again by its value, while
 * it is among the last few of its kind. Without that, re-saving a file that holds `1.0` would write the int 1.
 */
const bareOrigins = new Map<unknown, Provenance>();
const MAX_BARE_ORIGINS = 16;
const NEGATIVE_ZERO = Symbol('-0');

function bareKey(root: unknown): unknown {
  return Object.is(root, -0) ? NEGATIVE_ZERO : root;
}

function isBare(root: unknown): boolean {
  return typeof root !== 'object' || root === null;
}

export function rememberOrigin(root: unknown, origin: Provenance): void {
  if (!isBare(root)) return void origins.set(root as object, origin);
  bareOrigins.delete(bareKey(root));
  bareOrigins.set(bareKey(root), origin);
  for (const oldest of bareOrigins.keys()) {
    if (bareOrigins.size <= MAX_BARE_ORIGINS) break;
    bareOrigins.delete(oldest);
  }
}

export function originOf(root: unknown): Provenance | undefined {
  return isBare(root) ? bareOrigins.get(bareKey(root)) : origins.get(root as object);
}
