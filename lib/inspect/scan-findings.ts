/** What a scan collects while it goes through the records of one file, and the verdict that follows from it. */
import type { Verdict } from '../pickle/verdicts';

/** One thing that `scan` has to say about a file. */
export interface Finding {
  /**
   * `dangerous-global`, `unknown-global`, `extension-code`, `broken-pickle`, `hidden-pickle`, `trailing-pickle`,
   * `trailing-data`, `prefix-data`, `duplicate-record`, `name-mismatch`, `size-mismatch`, `unsafe-name`, `crc-mismatch`,
   * `unlisted-record`, `encrypted`, `python-code`, `too-deep`, `unreadable` (the bytes), `unopened` (the file).
   */
  readonly kind: string;
  /** A note changes no verdict; a warning makes a file unknown, a danger makes it dangerous. */
  readonly severity: 'note' | 'warning' | 'danger';
  readonly message: string;
  /** The file, in scans of a folder. */
  readonly path?: string;
  readonly record?: string;
  /** In the record if there is one, else in the file. */
  readonly byteOffset?: number;
}

/** A global that a scanned pickle names. */
export interface ScannedGlobal {
  /** In Python 3 names. */
  readonly name: string;
  readonly verdict: Verdict;
}

/** A file of a million oddities is odd enough after these. */
const MAX_FINDINGS = 1000;

export class Findings {
  readonly findings: Finding[] = [];
  readonly #globals = new Map<string, Verdict>();
  readonly #allowed: (global: string) => boolean;
  /** Pickles that were walked. */
  pickles = 0;

  /** `allowed`: globals that the caller vouches for. */
  constructor(allowed: (global: string) => boolean) {
    this.#allowed = allowed;
  }

  add(finding: Finding): void {
    if (this.findings.length < MAX_FINDINGS) this.findings.push(finding);
  }

  addGlobal(name: string, judged: Verdict, place: Pick<Finding, 'record' | 'byteOffset'>): void {
    const verdict = this.#allowed(name) ? 'safe' : judged;
    const known = this.#globals.get(name);
    this.#globals.set(name, worst(known ?? 'safe', verdict));
    if (verdict === 'safe' || known !== undefined) return;
    if (verdict === 'dangerous')
      this.add({
        kind: 'dangerous-global',
        severity: 'danger',
        message: `names ${name}, which reaches code, processes or files`,
        ...place,
      });
    else
      this.add({
        kind: 'unknown-global',
        severity: 'warning',
        message: `names ${name}, whose code would be imported and called`,
        ...place,
      });
  }

  get globals(): ScannedGlobal[] {
    return [...this.#globals].map(([name, verdict]) => ({ name, verdict }));
  }

  get verdict(): Verdict {
    let verdict: Verdict = 'safe';
    for (const one of this.#globals.values()) verdict = worst(verdict, one);
    for (const { severity } of this.findings) {
      if (severity !== 'note') verdict = worst(verdict, severity === 'danger' ? 'dangerous' : 'unknown');
    }
    return verdict;
  }
}

const ORDER: readonly Verdict[] = ['safe', 'unknown', 'dangerous'];

export function worst(a: Verdict, b: Verdict): Verdict {
  return ORDER.indexOf(a) > ORDER.indexOf(b) ? a : b;
}
