/** Warm and cold: the pages of a task's files are read in or dropped, and no others, so that the machine stays usable. */
import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { freemem } from 'node:os';
import { join } from 'node:path';

/** Files below the paths that are folders; the paths that are files. */
export function filesOf(paths) {
  return paths.flatMap((path) =>
    statSync(path).isDirectory() ? filesOf(readdirSync(path).map((name) => join(path, name))) : [path],
  );
}

/** Reads every file once. Holes are left: pages of zeros are what memory is short of. */
export function warm(files) {
  for (const file of files) {
    const { blocks, size } = statSync(file);
    if (blocks * 512 >= size / 2 && size < freemem()) run('cat "$0" > /dev/null', file);
  }
}

/** Writes what is dirty and drops the pages, as dd offers it without any rights; pages that a process maps would stay. */
export function cold(files) {
  for (const file of files) run('sync "$0" && dd if="$0" iflag=nocache count=0 status=none', file);
}

function run(command, file) {
  const { status, stderr } = spawnSync('sh', ['-c', command, file]);
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
}
