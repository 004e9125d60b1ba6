import { repr } from '../repr';

/** What `loadStateDict` found not to fit; `String()` is Python's text. */
export class IncompatibleKeys {
  readonly missingKeys: string[];
  readonly unexpectedKeys: string[];
  constructor(missingKeys: string[], unexpectedKeys: string[]) {
    this.missingKeys = missingKeys;
    this.unexpectedKeys = unexpectedKeys;
  }
  toString(): string {
    const { missingKeys, unexpectedKeys } = this;
    if (missingKeys.length === 0 && unexpectedKeys.length === 0) return '<All keys matched successfully>';
    return `_IncompatibleKeys(missing_keys=${repr(missingKeys)}, unexpected_keys=${repr(unexpectedKeys)})`;
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }
}
