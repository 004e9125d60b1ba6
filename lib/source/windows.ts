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
import { type Range, WIDEST_ITEM_BYTES } from './byte-source';

export interface PlannedWindow {
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly pageAligned: boolean;
}

/** Plans windows of at most `maxBytes` over `ranges`; a longer range gets a window of its own. */
export function planWindows(ranges: Iterable<Range>, maxBytes: number, pageBytes: number): PlannedWindow[] {
  const families = new Map<number, Range[]>();
  for (const range of ranges) {
    const residue = range.byteOffset % range.alignment === 0 ? 0 : range.byteOffset % WIDEST_ITEM_BYTES;
    const family = families.get(residue);
    if (family) family.push(range);
    else families.set(residue, [range]);
  }
  const windows: PlannedWindow[] = [];
  for (const [residue, family] of families) {
    family.sort((a, b) => a.byteOffset - b.byteOffset);
    const pageAligned = residue === 0;
    let start = -1;
    let end = 0;
    for (const range of family) {
      const rangeEnd = range.byteOffset + range.byteLength;
      if (start >= 0 && Math.max(end, rangeEnd) - start > maxBytes) {
        windows.push({ byteOffset: start, byteLength: end - start, pageAligned });
        start = -1;
      }
      if (start < 0) {
        start = pageAligned ? range.byteOffset - (range.byteOffset % pageBytes) : range.byteOffset;
        end = rangeEnd;
      }
      end = Math.max(end, rangeEnd);
    }
    if (start >= 0) windows.push({ byteOffset: start, byteLength: end - start, pageAligned });
  }
  return windows;
}

/** Whether typed arrays over the range can lie on the window. */
export function holds(window: PlannedWindow, range: Range): boolean {
  const start = range.byteOffset - window.byteOffset;
  return start >= 0 && start + range.byteLength <= window.byteLength && start % range.alignment === 0;
}
