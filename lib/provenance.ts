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

export function rememberOrigin(root: unknown, origin: Provenance): void {
  if (typeof root === 'object' && root !== null) origins.set(root, origin);
}

export function originOf(root: unknown): Provenance | undefined {
  return typeof root === 'object' && root !== null ? origins.get(root) : undefined;
}
