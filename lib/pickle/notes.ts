/**
 * What JavaScript values forget and a loss-less save must know.
 *
 * A pickle tells `1.0` from `1`, and knows strings as objects: the second use of the *same* string is written as a
 * reference, an equal but different string is written again. JavaScript numbers and strings have neither memory, so the
 * unpickler notes them beside the container slot that holds the value. A note counts only while the slot still holds the
 * noted value; a new value follows the rules for new values. A NaN has 2^52 forms and JavaScript keeps none of them, so a
 * NaN that is not the usual one (x86 makes a negative one of inf - inf) is noted by its bits.
 *
 * Strings without a note are shared by value, as Python's interned literals are. Hence only those strings of a file need
 * a note that have an equal twin in it: usually none.
 */
import type { PyValue } from './values';

/** One string object of Python: equal text in two of them is written twice. */
export class StringIdentity {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Note = number | bigint | StringIdentity;

interface ContainerNotes {
  /** Dict keys and set members: the float that is integral, the bits of a NaN, or the string of its own. */
  keys?: Map<PyValue, Note>;
  /** By key, index or attribute: the number that is a float although integral, the bits of a NaN, or the string with its identity. */
  values?: Map<PyValue, Note>;
}

/** A constructor that gives what it is given, so that a class over it adds its private fields to that object. */
const Given = class {
  constructor(object: object) {
    // biome-ignore lint/correctness/noConstructorReturn: the point of this class
    return object;
  }
} as new (
  object: object,
) => object;

/**
 * The notes of a container, in a private field of its own. Nobody sees it, and unlike the entries of a WeakMap, which the
 * garbage collector looks through again and again, millions of them cost no more time than other fields.
 */
class Noted extends Given {
  #notes: ContainerNotes = {};

  static get(container: object): ContainerNotes | undefined {
    return #notes in container ? container.#notes : undefined;
  }

  static set(container: object, notes: ContainerNotes): void {
    if (!(#notes in container)) new Noted(container);
    (container as Noted).#notes = notes;
  }
}

/**
 * Tuples and globals that were written without a memo number. Python 3.13 does so where it spells a nested name for an
 * old protocol: `getattr(torch._utils.torch, 'channels_last')`.
 */
class Unmemoized extends Given {
  readonly #mark = true;

  static has(value: object): boolean {
    return #mark in value && value.#mark;
  }
}

export function markUnmemoized(value: object): void {
  if (!Unmemoized.has(value)) new Unmemoized(value);
}

export function isUnmemoized(value: object): boolean {
  return Unmemoized.has(value);
}

/** The notes on the keys, or on the values, of a container, to be added to. */
function notesOf(container: object, kind: keyof ContainerNotes): Map<PyValue, Note> {
  let found = Noted.get(container);
  if (!found) Noted.set(container, (found = {}));
  return (found[kind] ??= new Map());
}

/**
 * The strings that globals of protocol 4 were spelled with: string objects like any others, with notes on this Map. A
 * slot is made by `globalNameSlot`; a root that is a number has its note here too, under `ROOT_SLOT`.
 */
export type GlobalNames = Map<string, string>;

export const ROOT_SLOT = '';

/** The slot of a global's module (part 0) or name (part 1). */
export function globalNameSlot(module: string, name: string, part: number): string {
  return `${part}\n${module}\n${name}`;
}

/** Remembers that the integral `value` in this slot is a Python float. */
export function noteFloat(container: object, slot: PyValue, value: number): void {
  notesOf(container, 'values').set(slot, value);
}

/** Remembers the bits of the NaN in this slot, or that is this key. */
export function noteNan(container: object, slot: PyValue, bits: bigint, isKey: boolean): void {
  notesOf(container, isKey ? 'keys' : 'values').set(slot, bits);
}

/** The bits of the NaN in this slot, or that is this key, where they are not the usual ones. */
export function nanBits(container: object, slot: PyValue, isKey: boolean): bigint | undefined {
  const note = Noted.get(container)?.[isKey ? 'keys' : 'values']?.get(slot);
  return typeof note === 'bigint' ? note : undefined;
}

export function noteString(container: object, slot: PyValue, identity: StringIdentity): void {
  notesOf(container, 'values').set(slot, identity);
  const set = setsOfLists.get(container);
  if (set) noteKey(set, identity.text, identity);
}

export function noteKey(container: object, key: PyValue, identity: StringIdentity): void {
  notesOf(container, 'keys').set(key, identity);
}

/** True when `value`, now in this slot, was loaded from a Python float. Only asked for integral numbers. */
export function isFloatSlot(container: object, slot: PyValue, value: number): boolean {
  const note = Noted.get(container)?.values?.get(slot);
  return typeof note === 'number' && note === value;
}

/** The identity of the string `text` in this slot; undefined for one that is shared by value. */
export function stringIdentity(container: object, slot: PyValue, text: string): StringIdentity | undefined {
  const note = Noted.get(container)?.values?.get(slot);
  return note instanceof StringIdentity && note.text === text ? note : undefined;
}

export function noteFloatKey(container: object, key: number): void {
  notesOf(container, 'keys').set(key, key);
}

export function keyIdentity(container: object, key: string): StringIdentity | undefined {
  const note = Noted.get(container)?.keys?.get(key);
  return note instanceof StringIdentity ? note : undefined;
}

/** Whether any key of the container has a note. */
export function hasKeyNotes(container: object): boolean {
  return (Noted.get(container)?.keys?.size ?? 0) > 0;
}

/** True when the integral key was loaded from a Python float. */
export function isFloatKey(container: object, key: number): boolean {
  return floatKey(container, key) !== undefined;
}

/** The float that the integral key was loaded from: -0.0 is one too, which a Map or Set files under 0. */
export function floatKey(container: object, key: number): number | undefined {
  const note = Noted.get(container)?.keys?.get(key);
  return typeof note === 'number' ? note : undefined;
}

/** The set that a pickle makes from a list, by the list: strings of the list are noted when the pickle has been read. */
const setsOfLists = new WeakMap<object, object>();

/**
 * Hands the notes of a list's items to the set that is made from it, where item i has become `members[i]`, or nothing where
 * an equal one was there.
 */
export function moveItemNotes(list: readonly PyValue[], members: readonly (PyValue | undefined)[], set: object): void {
  if (list.length === 0) return;
  setsOfLists.set(list, set);
  for (const [index, note] of Noted.get(list)?.values ?? []) {
    const member = members[index as number];
    if (member === undefined) continue;
    if (typeof note === 'number') noteFloatKey(set, note);
    else if (typeof note === 'bigint') noteNan(set, member, note, true);
  }
}

/** Lets a container that is made from another while a pickle is read have its notes, those to come included. */
export function shareNotes(from: object, to: object): void {
  let found = Noted.get(from);
  if (!found) Noted.set(from, (found = {}));
  Noted.set(to, found);
}

/** Hands the notes of one container to the one that takes its place with the same slots. */
export function moveNotes(from: object, to: object): void {
  const found = Noted.get(from);
  if (found) Noted.set(to, found);
}
