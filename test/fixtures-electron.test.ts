/** Promise: where the host refuses external buffers, as Electron does, every fixture still reads the same. */
import { expect, test } from 'vitest';
import { addon } from '../lib/binding';
import { open, openSync } from '../lib/load';
import { fixtureSuite } from './fixture-suite';

// The addon looks at it when it is loaded, which nothing in this process has done yet.
process.env['TORCH_CHECKPOINT_NO_EXTERNAL_BUFFERS'] = '1';

test('external buffers are refused', () => {
  expect(addon().capabilities().externalBuffers).toBe(false);
});

fixtureSuite('path', (path) => open(path));
fixtureSuite('path, read by position', (path) => openSync(path, { io: 'read' }));
