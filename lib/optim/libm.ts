/**
 * Powers and cosines as the C library gives them to Python: the double nearest to the exact result.
 *
 * JavaScript's engines may be off by one in the last place, and a schedule multiplies one rate with the next. So both are
 * computed here with about twice the digits of a double, as an unevaluated sum of two, and rounded once.
 */

/** `high + low` exactly, with `low` below half a unit in the last place of `high`. */
interface Pair {
  readonly high: number;
  readonly low: number;
}

/** 2^27 + 1: splits a double into halves whose products are exact (Dekker 1971). */
const SPLITTER = 134217729;
/** Beyond this number of factors rounding errors would add up to a visible one. */
const MAX_EXPONENT = 1 << 20;

function sum(a: number, b: number): Pair {
  const high = a + b;
  const rest = high - a;
  return { high, low: a - (high - rest) + (b - rest) };
}

function split(x: number): Pair {
  const c = SPLITTER * x;
  const high = c - (c - x);
  return { high, low: x - high };
}

function product(a: number, b: number): Pair {
  const high = a * b;
  const [x, y] = [split(a), split(b)];
  return { high, low: x.high * y.high - high + x.high * y.low + x.low * y.high + x.low * y.low };
}

function add(a: Pair, b: Pair): Pair {
  const high = sum(a.high, b.high);
  const low = sum(a.low, b.low);
  const first = sum(high.high, high.low + low.high);
  return sum(first.high, first.low + low.low);
}

function multiply(a: Pair, b: Pair): Pair {
  const exact = product(a.high, b.high);
  return sum(exact.high, exact.low + (a.high * b.low + a.low * b.high));
}

/** `base ** exponent`. */
export function pow(base: number, exponent: number): number {
  const fallback = base ** exponent;
  const isNormal = [base, fallback].every((x) => Math.abs(x) > 1e-200 && Math.abs(x) < 1e200);
  if (!isNormal || exponent === 1) return fallback;
  if (Number.isInteger(exponent) && exponent > 0 && exponent <= MAX_EXPONENT)
    return powInteger(base, exponent) ?? fallback;
  if (base < 0 || exponent === 0) return fallback;
  const value = exp(multiply(log(base), { high: exponent, low: 0 }));
  return value.high + value.low;
}

/** Undefined where squares on the way are too large. */
function powInteger(base: number, exponent: number): number | undefined {
  let result: Pair = { high: 1, low: 0 };
  let square: Pair = { high: base, low: 0 };
  for (let rest = exponent; ; ) {
    if (rest % 2 === 1) result = multiply(result, square);
    rest = Math.floor(rest / 2);
    if (rest === 0) return result.high + result.low;
    square = multiply(square, square);
    // The last squares are not used; they may overflow.
    if (!Number.isFinite(square.high)) return undefined;
  }
}

/** ln 2 in two parts. */
const LN_2: readonly number[] = [Math.LN2, 2.3190468138462996e-17];
/** 1 / n! times half of ln 2 to the power of n falls below 2^-110 there. */
const EXP_TERMS = 28;

function exp(x: Pair): Pair {
  const halvings = Math.round(x.high / Math.LN2);
  let rest = x;
  for (const part of LN_2) rest = add(rest, product(-halvings, part));
  let value: Pair = { high: 1, low: 0 };
  for (let n = EXP_TERMS; n > 0; n--) value = add({ high: 1, low: 0 }, divide(multiply(rest, value), n));
  return { high: value.high * 2 ** halvings, low: value.low * 2 ** halvings };
}

/** One step of Newton's method, which doubles the digits of the engine's result. */
function log(x: number): Pair {
  const first = Math.log(x);
  const ratio = multiply({ high: x, low: 0 }, exp({ high: -first, low: 0 }));
  return add({ high: first, low: 0 }, add(ratio, { high: -1, low: 0 }));
}

/** pi / 2 in three parts, the first two short enough that small multiples of them are exact. */
const HALF_PI: readonly number[] = [1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21];
/** Beyond this the three parts of pi / 2 are too few. */
const MAX_ANGLE = 1e5;
/** 1 / (2n)! and 1 / (2n + 1)! fall below 2^-110 there, for angles up to pi / 4. */
const TERMS = 15;

/** `cos(x)`. */
export function cos(x: number): number {
  if (!(Math.abs(x) <= MAX_ANGLE)) return Math.cos(x);
  const quadrant = Math.round(x / (Math.PI / 2));
  let angle: Pair = { high: x, low: 0 };
  for (const part of HALF_PI) angle = add(angle, product(-quadrant, part));
  const [isSine, sign] = [
    [false, 1],
    [true, -1],
    [false, -1],
    [true, 1],
  ][((quadrant % 4) + 4) % 4] as [boolean, number];
  const value = series(angle, isSine);
  return sign * (value.high + value.low);
}

/** The series of sine or cosine, from its last term to its first. */
function series(angle: Pair, isSine: boolean): Pair {
  const square = multiply(angle, angle);
  const negative = { high: -square.high, low: -square.low };
  let value: Pair = { high: 1, low: 0 };
  for (let n = TERMS; n > 0; n--) {
    const divisor = isSine ? 2 * n * (2 * n + 1) : 2 * n * (2 * n - 1);
    value = add({ high: 1, low: 0 }, divide(multiply(negative, value), divisor));
  }
  return isSine ? multiply(angle, value) : value;
}

function divide(a: Pair, b: number): Pair {
  const high = a.high / b;
  const back = product(high, b);
  return sum(high, (a.high - back.high - back.low + a.low) / b);
}
