/** A scan as SARIF 2.1.0 (OASIS), which code scanning services take in: one rule per kind of finding. */

import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Finding, ScanReport } from './scan';

const LEVELS = { danger: 'error', warning: 'warning', note: 'note' } as const;

/**
 * A report of `scan` as SARIF 2.1.0, to be written as JSON for code scanning services. `path` is the file or URL that was
 * scanned; the findings of a folder carry their own, and those of bytes have none.
 */
export function sarif(report: ScanReport, path?: string): object {
  const rules = [...new Set(report.findings.map(({ kind }) => kind))];
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'torch-checkpoint',
            semanticVersion: (require('../../package.json') as { version: string }).version,
            rules: rules.map((id) => ({ id, shortDescription: { text: id.replaceAll('-', ' ') } })),
          },
        },
        results: report.findings.map((finding) => resultOf(finding, path, rules)),
      },
    ],
  };
}

function resultOf(finding: Finding, path: string | undefined, rules: readonly string[]): object {
  const { kind, severity, record, byteOffset } = finding;
  const message = record === undefined ? finding.message : `${record}: ${finding.message}`;
  const region = byteOffset === undefined || record !== undefined ? {} : { region: { byteOffset } };
  const place = finding.path ?? path;
  const location = {
    ...(place === undefined ? {} : { physicalLocation: { artifactLocation: { uri: uriOf(place) }, ...region } }),
    ...(record === undefined ? {} : { logicalLocations: [{ fullyQualifiedName: record, kind: 'member' }] }),
  };
  return {
    ruleId: kind,
    ruleIndex: rules.indexOf(kind),
    level: LEVELS[severity],
    message: { text: message },
    locations: Object.keys(location).length > 0 ? [location] : [],
  };
}

function uriOf(path: string): string {
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(path)) return path;
  return isAbsolute(path)
    ? pathToFileURL(path).href
    : path.replaceAll('\\', '/').split('/').map(encodeURIComponent).join('/');
}
