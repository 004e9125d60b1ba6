/** How Hugging Face cuts a model into files, and the index over them (huggingface_hub, `split_state_dict_into_shards_factory`). */
import type { ChoiceOptions } from './choose';
import type { Plan } from './target';

/** In order; a file is full when the next tensor would make it longer than `maxBytes`. A longer tensor is a file of its own. */
export function shardsOf<T extends { readonly byteLength: number }>(rows: readonly T[], maxBytes: number): T[][] {
  const shards: T[][] = [];
  let current: T[] = [];
  let bytes = 0;
  for (const row of rows) {
    if (row.byteLength > maxBytes) {
      shards.push([row]);
      continue;
    }
    if (bytes + row.byteLength > maxBytes) {
      shards.push(current);
      current = [];
      bytes = 0;
    }
    current.push(row);
    bytes += row.byteLength;
  }
  if (current.length > 0 || shards.length === 0) shards.push(current);
  return shards;
}

/** `model-00001-of-00002.safetensors`; a single file is the output itself. */
export function shardNames(stem: string, extension: string, count: number): (string | undefined)[] {
  if (count === 1) return [undefined];
  const number = (n: number): string => String(n).padStart(5, '0');
  return Array.from({ length: count }, (_, i) => `${stem}-${number(i + 1)}-of-${number(count)}${extension}`);
}

/** The number of parameters that an index tells is no longer true of a part of the model. */
export function factsFor(
  facts: ReadonlyMap<string, unknown>,
  { root, select, exclude, prune, useEma }: ChoiceOptions,
): ReadonlyMap<string, unknown> {
  if (root === undefined && !select?.length && !exclude?.length && !prune?.length && !useEma) return facts;
  return new Map([...facts].filter(([key]) => key !== 'total_parameters'));
}

/** The index as Python writes it: `json.dumps(index, indent=2, sort_keys=True)` and a line end. */
export function indexText(stored: Plan['stored'], facts: ReadonlyMap<string, unknown>): string {
  const total = stored.reduce((sum, { bytes }) => sum + bytes, 0);
  const metadata = [...new Map([...facts, ['total_size', total] as const])].map(([key, value]): [string, string] => [
    key,
    JSON.stringify(value),
  ]);
  const map = stored.map(({ name, file }): [string, string] => [name, quoted(file ?? '')]);
  return `{\n  "metadata": ${object(metadata)},\n  "weight_map": ${object(map)}\n}\n`;
}

function object(entries: readonly (readonly [key: string, json: string])[]): string {
  if (entries.length === 0) return '{}';
  const sorted = [...entries].sort(([a], [b]) => compareCodePoints(a, b));
  return `{\n${sorted.map(([key, json]) => `    ${quoted(key)}: ${json}`).join(',\n')}\n  }`;
}

/** Python sorts by code points, JavaScript by UTF-16 units. */
function compareCodePoints(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** ASCII only, as json.dumps writes it. */
function quoted(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
