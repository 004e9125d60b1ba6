/** What the kernel says of a process: memory, page faults, bytes fetched from the disk. Zeros where there is no /proc. */
import { readFileSync, writeFileSync } from 'node:fs';

function read(pid, name) {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return ''; // The process ended between two looks, or this is not Linux.
  }
}

/** In KiB: anonymous memory, pages of mapped files (shared memory too), and the highest sum of both since `resetPeak`. */
export function memoryOf(pid = 'self') {
  const status = read(pid, 'status');
  const kib = (field) => Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
  return { anonKiB: kib('RssAnon'), fileKiB: kib('RssFile') + kib('RssShmem'), residentKiB: kib('VmHWM') };
}

/** Lets VmHWM begin again from what is resident now. */
export function resetPeak() {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // Then the peak is that of the whole process.
  }
}

/** Of this process and the children that it has waited for. */
export function counters() {
  // The second field is the name in brackets, which may hold spaces; minflt, cminflt, majflt, cmajflt are fields 10 to 13.
  const fields = read('self', 'stat').split(') ').at(-1).split(' ').map(Number);
  const [minor = 0, childMinor = 0, major = 0, childMajor = 0] = fields.slice(7, 11);
  return {
    minorFaults: minor + childMinor,
    majorFaults: major + childMajor,
    diskBytes: Number(/^read_bytes: (\d+)/m.exec(read('self', 'io'))?.[1] ?? 0),
  };
}

/** The processes below `pid`. */
export function descendants(pid) {
  const children = read(pid, `task/${pid}/children`).trim();
  return children === '' ? [] : children.split(' ').flatMap((child) => [child, ...descendants(child)]);
}
