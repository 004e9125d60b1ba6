/**
 * `s3://bucket/key` as an HTTPS request: where to send it, and how to sign it (AWS Signature Version 4).
 *
 * Credentials come from the environment variables that every AWS tool reads. Without them the request goes unsigned,
 * which is how public buckets are read.
 */
import { createHash, createHmac } from 'node:crypto';

export interface HttpTarget {
  readonly url: string;
  /** Headers for one request, made from those that it needs anyway: signatures are short-lived. */
  headers(wanted: Readonly<Record<string, string>>): Record<string, string>;
}

type Environment = Readonly<Record<string, string | undefined>>;

const EMPTY_SHA256 = createHash('sha256').update('').digest('hex');

export function s3Target(
  uri: string,
  environment: Environment = process.env,
  now: () => Date = () => new Date(),
): HttpTarget {
  const match = /^s3:\/\/([^/?#]+)\/([^?#]+)$/i.exec(uri);
  if (!match) throw new TypeError(`"${uri}" is not of the form s3://bucket/key`);
  const bucket = match[1] as string;
  const key = encodePath(decodeLeniently(match[2] as string));
  const region = environment.AWS_REGION || environment.AWS_DEFAULT_REGION || 'us-east-1';
  const endpoint = environment.AWS_ENDPOINT_URL_S3 || environment.AWS_ENDPOINT_URL;
  // A bucket with dots has no certificate of its own name.
  const url = endpoint
    ? `${endpoint.replace(/\/+$/, '')}/${bucket}/${key}`
    : bucket.includes('.')
      ? `https://s3.${region}.amazonaws.com/${bucket}/${key}`
      : `https://${bucket}.s3.${region}.amazonaws.com/${key}`;
  const accessKeyId = environment.AWS_ACCESS_KEY_ID;
  const secretAccessKey = environment.AWS_SECRET_ACCESS_KEY;
  if (!accessKeyId || !secretAccessKey) return { url, headers: (wanted) => ({ ...wanted }) };
  const credentials = { accessKeyId, secretAccessKey, sessionToken: environment.AWS_SESSION_TOKEN, region };
  return { url, headers: (wanted) => signedHeaders(url, wanted, credentials, now()) };
}

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string | undefined;
  readonly region: string;
}

/** Signature Version 4 of a GET without a body; `host` is signed but set by the HTTP client. */
export function signedHeaders(
  url: string,
  wanted: Readonly<Record<string, string>>,
  credentials: Credentials,
  date: Date,
): Record<string, string> {
  const { host, pathname } = new URL(url);
  const time = date.toISOString().replace(/[-:]|\.\d{3}/g, '');
  const day = time.slice(0, 8);
  const headers: Record<string, string> = {
    ...wanted,
    'x-amz-content-sha256': EMPTY_SHA256,
    'x-amz-date': time,
    ...(credentials.sessionToken ? { 'x-amz-security-token': credentials.sessionToken } : {}),
  };
  const signed = Object.entries({ ...headers, host })
    .map(([name, value]) => [name.toLowerCase(), value.trim()] as const)
    // Proxies may rewrite what is not part of the protocol's promise; S3 asks for host, range and x-amz-*.
    .filter(([name]) => name === 'host' || name === 'range' || name.startsWith('x-amz-'))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const names = signed.map(([name]) => name).join(';');
  const canonical = [
    'GET',
    pathname,
    '',
    ...signed.map(([name, value]) => `${name}:${value}`),
    '',
    names,
    EMPTY_SHA256,
  ].join('\n');
  const scope = `${day}/${credentials.region}/s3/aws4_request`;
  const toSign = ['AWS4-HMAC-SHA256', time, scope, createHash('sha256').update(canonical).digest('hex')].join('\n');
  const signingKey = [day, credentials.region, 's3', 'aws4_request'].reduce<string | Buffer>(
    hmac,
    `AWS4${credentials.secretAccessKey}`,
  );
  const signature = hmac(signingKey, toSign).toString('hex');
  headers.authorization = `AWS4-HMAC-SHA256 Credential=${credentials.accessKeyId}/${scope},SignedHeaders=${names},Signature=${signature}`;
  return headers;
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

/** RFC 3986 as Signature Version 4 wants it: everything but unreserved characters and slashes. */
function encodePath(key: string): string {
  return encodeURIComponent(key)
    .replace(/%2F/gi, '/')
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** A URL object has encoded the key already; a key typed by hand may hold a lone percent sign. */
function decodeLeniently(key: string): string {
  try {
    return decodeURIComponent(key);
  } catch {
    return key;
  }
}
