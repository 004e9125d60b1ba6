/** A scan as SARIF 2.1.0 (OASIS), which code scanning services take in: one rule per kind of finding. */

import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Finding, ScanReport } from './scan';

const LEVELS = { danger: 'error', warning: 'warning', note: 'note' } as const;

/** `path` is the file that was scanned; the findings of a folder carry their own. */
export function sarif(report: ScanReport, path: string, version: string): object {
  const rules = [...new Set(report.findings.map(({ kind }) => kind))];
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'torch-checkpoint',
            semanticVersion: version,
            rules: rules.map((id) => ({ id, shortDescription: { text: id.replaceAll('-', ' ') } })),
          },
        },
        results: report.findings.map((finding) => resultOf(finding, path, rules)),
      },
    ],
  };
}

function resultOf(finding: Finding, path: string, rules: readonly string[]): object {
  const { kind, severity, record, byteOffset } = finding;
  const message = record === undefined ? finding.message : `${record}: ${finding.message}`;
  const region = byteOffset === undefined || record !== undefined ? {} : { region: { byteOffset } };
  return {
    ruleId: kind,
    ruleIndex: rules.indexOf(kind),
    level: LEVELS[severity],
    message: { text: message },
    locations: [
      {
        physicalLocation: { artifactLocation: { uri: uriOf(finding.path ?? path) }, ...region },
        ...(record === undefined ? {} : { logicalLocations: [{ fullyQualifiedName: record, kind: 'member' }] }),
      },
    ],
  };
}

function uriOf(path: string): string {
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(path)) return path;
  return isAbsolute(path)
    ? pathToFileURL(path).href
    : path.replaceAll('\\', '/').split('/').map(encodeURIComponent).join('/');
}
