/**
 * Which array buffers to make over a mapped file.
 *
 * One buffer per storage costs a garbage collection every few dozen of them, because V8 counts mapped bytes as its own;
 * one for the whole file is impossible beyond 4 GiB on Node 20. So storages share windows: cut between storages, as
 * long as the host allows, made when first looked at.
 *
 * A typed array must start at a multiple of its item size from the start of its buffer. Records of a zip are aligned
 * and share page-aligned windows. Storages of a legacy stream start anywhere; those with equal `offset % 8` share a
 * window that starts at one of them.
 */
import { WIDEST_ITEM_BYTES } from './byte-source';

/** A range of the file that will be looked at through a window. */
export interface Range {
  readonly byteOffset: number;
  readonly byteLength: number;
  /** Item size that views of the range may need: 1, 2, 4 or 8. */
  readonly alignment: number;
}

export interface PlannedWindow<T extends Range> {
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly pageAligned: boolean;
  readonly ranges: readonly T[];
}

/** Plans windows of at most `maxBytes` over `ranges`; a longer range gets a window of its own. */
export function planWindows<T extends Range>(
  ranges: readonly T[],
  maxBytes: number,
  pageBytes: number,
): PlannedWindow<T>[] {
  const families = new Map<number, T[]>();
  for (const range of ranges) {
    const residue = range.byteOffset % range.alignment === 0 ? 0 : range.byteOffset % WIDEST_ITEM_BYTES;
    const family = families.get(residue);
    if (family) family.push(range);
    else families.set(residue, [range]);
  }
  const windows: PlannedWindow<T>[] = [];
  for (const [residue, family] of families) {
    family.sort((a, b) => a.byteOffset - b.byteOffset);
    const pageAligned = residue === 0;
    let members: T[] = [];
    let start = 0;
    let end = 0;
    for (const range of family) {
      const rangeEnd = range.byteOffset + range.byteLength;
      if (members.length > 0 && Math.max(end, rangeEnd) - start > maxBytes) {
        windows.push({ byteOffset: start, byteLength: end - start, pageAligned, ranges: members });
        members = [];
      }
      if (members.length === 0) {
        start = pageAligned ? range.byteOffset - (range.byteOffset % pageBytes) : range.byteOffset;
        end = rangeEnd;
      }
      members.push(range);
      end = Math.max(end, rangeEnd);
    }
    if (members.length > 0) windows.push({ byteOffset: start, byteLength: end - start, pageAligned, ranges: members });
  }
  return windows;
}
