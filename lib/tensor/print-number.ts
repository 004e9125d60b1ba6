/** Numbers as C's printf and as Python write them; JavaScript differs in ties, exponents and the sign of zero. */

function signed(value: number, digits: (magnitude: number) => string): string {
  if (Number.isNaN(value)) return 'nan';
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const magnitude = Math.abs(value);
  return sign + (magnitude === Number.POSITIVE_INFINITY ? 'inf' : digits(magnitude));
}

/** `%.<precision>f`, for a precision below 100. */
export function fixed(value: number, precision: number): string {
  return signed(value, (magnitude) => {
    // From 1e21 on JavaScript writes exponents; doubles of that size are integers.
    if (magnitude >= 1e21) return BigInt(magnitude) + (precision > 0 ? `.${'0'.repeat(precision)}` : '');
    const rounded = magnitude.toFixed(precision);
    // Both round the exact value; where that is halfway C takes the even digit and JavaScript the larger one. Halfway
    // is a fraction of tenths that is also one of halves, so that one more bit and one more digit hold it exactly.
    if (!Number.isInteger(magnitude * 2 ** (precision + 1))) return rounded;
    return halfEven(magnitude.toFixed(precision + 1), rounded);
  });
}

/** `longer` is exact and has one digit more than `rounded`. */
function halfEven(longer: string, rounded: string): string {
  if (!longer.endsWith('5')) return rounded;
  const cut = longer.slice(0, -1).replace(/\.$/, '');
  return Number(cut.at(-1)) % 2 === 0 ? cut : rounded;
}

/** `%.<precision>e`, for a precision below 100. */
export function exponential(value: number, precision: number): string {
  return signed(value, (magnitude) => {
    const [rounded, exponent] = split(magnitude.toExponential(precision));
    // A double that is halfway between two short decimals, and not merely near to it, has zeros after the 5; a hundred
    // digits are far beyond how near a double can come to such a decimal.
    const [longer, longerExponent] = split(magnitude.toExponential(precision + 1));
    const [exact] = split(magnitude.toExponential(100));
    const isTie = longer.endsWith('5') && new RegExp(`^${longer.replace('.', '\\.')}0*$`).test(exact);
    if (!isTie) return rounded + pythonExponent(exponent);
    const even = halfEven(longer, rounded);
    return even + pythonExponent(even === rounded ? exponent : longerExponent);
  });
}

function split(text: string): [mantissa: string, exponent: number] {
  const at = text.indexOf('e');
  return [text.slice(0, at), Number(text.slice(at + 1))];
}

function pythonExponent(exponent: number): string {
  return `e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
}

/** `repr(float)`: the shortest digits that give the same double; exponents below 1e-4 and from 1e16 on. */
export function floatRepr(value: number): string {
  return signed(value, (magnitude) => {
    const [mantissa, exponent] = split(magnitude.toExponential());
    return shortest(mantissa, exponent);
  });
}

/**
 * The layout of `repr(float)` for the shortest digits of a number, which for narrower floats are fewer: with an
 * exponent below 1e-4 and from 10 to the power of `limit` on.
 */
export function shortest(mantissa: string, exponent: number, limit = 16): string {
  if (exponent < -4 || exponent >= limit) return mantissa + pythonExponent(exponent);
  const digits = mantissa.replace('.', '');
  if (exponent < 0) return `0.${'0'.repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0');
  return `${whole}.${digits.slice(exponent + 1) || '0'}`;
}

/** `repr(complex)`: without parentheses and real part where that is +0; integral parts have no `.0`. */
export function complexRepr(re: number, im: number, write = floatRepr): string {
  const part = (value: number): string => write(value).replace(/\.0$/, '');
  if (re === 0 && !Object.is(re, -0)) return `${part(im)}j`;
  const imaginary = part(im);
  return `(${part(re)}${imaginary.startsWith('-') ? '' : '+'}${imaginary}j)`;
}

/** `repr(tuple)` of integers: `(2,)`. */
export function tupleRepr(values: readonly number[]): string {
  return values.length === 1 ? `(${values[0]},)` : `(${values.join(', ')})`;
}
