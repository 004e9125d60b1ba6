/**
 * The constants that every tensor of a pickle recalls from the memo: each number is looked up when it changes, which it
 * hardly ever does.
 */
import type { Memo } from './memo';
import { KnownGlobal, StorageClass } from './rules';
import type { PyValue } from './values';

/** Whether a value is the function that rebuilds plain tensors. */
export function isRebuild(value: PyValue | undefined): boolean {
  return value instanceof KnownGlobal && value.global === 'torch._utils._rebuild_tensor_v2';
}

export class TensorConstants {
  readonly #memo: Memo;
  /** Memo numbers that were looked up last, and what they stand for while nothing is stored there anew. */
  #strays = 0;
  #rebuild = -1;
  #storageWord = -1;
  #hooks = -1;
  #classNumber = -1;
  #storageClass: StorageClass | undefined;
  #locationNumber = -1;
  #location: string | undefined;

  constructor(memo: Memo) {
    this.#memo = memo;
  }

  isRebuild(number: number): boolean {
    if (this.#isKnown(this.#rebuild, number)) return true;
    if (!isRebuild(this.#memo.valueAt(number))) return false;
    this.#rebuild = number;
    return true;
  }

  /** Whether they stand for the word `storage` and for the class of backward hooks. */
  areUsual(storageWord: number, hooks: number): boolean {
    if (this.#isKnown(this.#storageWord, storageWord) && this.#hooks === hooks) return true;
    if (this.#memo.valueAt(storageWord) !== 'storage') return false;
    const made = this.#memo.valueAt(hooks);
    if (!(made instanceof KnownGlobal) || made.global !== 'collections.OrderedDict') return false;
    this.#storageWord = storageWord;
    this.#hooks = hooks;
    return true;
  }

  storageClassAt(number: number): StorageClass | undefined {
    if (this.#isKnown(this.#classNumber, number)) return this.#storageClass;
    const found = this.#memo.valueAt(number);
    this.#classNumber = number;
    this.#storageClass = found instanceof StorageClass ? found : undefined;
    return this.#storageClass;
  }

  locationAt(number: number): string | undefined {
    if (this.#isKnown(this.#locationNumber, number)) return this.#location;
    const found = this.#memo.valueAt(number);
    this.#locationNumber = number;
    this.#location = typeof found === 'string' ? found : undefined;
    return this.#location;
  }

  #isKnown(known: number, number: number): boolean {
    if (this.#strays !== this.#memo.strays) {
      this.#strays = this.#memo.strays;
      this.#rebuild = this.#storageWord = this.#hooks = this.#classNumber = this.#locationNumber = -1;
      return false;
    }
    return known === number;
  }
}
