/** Promise: a wrong argument of load and open is a TypeError or RangeError that says what is right, whatever the file holds. */
import { expect, test } from 'vitest';
import { type CheckpointSource, type LoadOptions, load, loadSync, open } from '../lib/index';
import { py } from './container-samples';

const file = py.pickle(py.int(1));

test.each([
  [{ io: 'map' }, RangeError, "io is 'map', not one of auto, mmap, read"],
  [{ dicts: 'plain' }, RangeError, "dicts is 'plain', not one of map, object"],
  [{ encoding: 'utf8' }, RangeError, "encoding is 'utf8', not one of utf-8, ascii, latin1, bytes"],
  [{ unsafeGlobals: 'run' }, RangeError, "unsafeGlobals is 'run', not one of reject, inert"],
  [{ limits: { maxOpcode: 3 } }, RangeError, 'limits.maxOpcode is no limit'],
  [{ limits: { maxOpcodes: '3' } }, RangeError, 'limits.maxOpcodes is 3, not a number from 0 up'],
  [{ limits: { maxOpcodes: Number.NaN } }, RangeError, 'limits.maxOpcodes is NaN'],
  // Regression: the next two were taken, and allowed or rebuilt nothing.
  [{ safeGlobals: 'argparse.Namespace' }, TypeError, "safeGlobals is a list of names: ['argparse.Namespace']"],
  [{ classes: { 'a.B': class {} } }, TypeError, "classes is a Map: new Map([['module.Class', JsClass]])"],
])('options %j', async (options, type, message) => {
  expect(() => loadSync(file, options as LoadOptions)).toThrow(expect.objectContaining({ constructor: type }));
  await expect(load(file, options as LoadOptions)).rejects.toThrow(message);
  await expect(open(file, options as LoadOptions)).rejects.toThrow(message);
});

test.each([undefined, null, 5, {}, []])('a source that is none: %j', async (source) => {
  await expect(load(source as CheckpointSource)).rejects.toThrow(TypeError);
  expect(() => loadSync(source as string)).toThrow(TypeError);
});
