import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Dispatcher, errors } from 'undici';
import { type EncodedRequest, encodeRequest } from '../../../../src/transport/http1/write-request.ts';
import { streamed } from '../../../harness/bare-upstream.ts';

function encode(options: Partial<Dispatcher.DispatchOptions>): EncodedRequest {
  return encodeRequest({ method: 'GET', path: '/mcp', ...options } as Dispatcher.DispatchOptions, 'a.example');
}

const TEXT = Buffer.from('{}');
const LENGTH = ['content-length', '5'];

type Framing = readonly [
  what: string,
  method: string,
  body: unknown,
  headers: readonly string[],
  line: string | undefined,
  length?: number,
];

const CASES: readonly Framing[] = [
  ['GET without content', 'GET', undefined, [], undefined],
  ['DELETE without content', 'DELETE', undefined, [], undefined],
  ['GET with a Content-Length but without content', 'GET', undefined, LENGTH, undefined, 5],
  ['POST without content', 'POST', undefined, [], 'content-length: 0'],
  ['PUT without content', 'PUT', null, [], 'content-length: 0'],
  ['PATCH without content', 'PATCH', undefined, [], 'content-length: 0'],
  ['QUERY without content', 'QUERY', undefined, [], 'content-length: 0'],
  ['POST with buffered content', 'POST', TEXT, [], 'content-length: 2'],
  ['POST with empty content', 'POST', Buffer.alloc(0), [], 'content-length: 0'],
  ['POST with a text as content', 'POST', 'a=\xe9', [], 'content-length: 3'],
  ['GET with buffered content', 'GET', TEXT, [], 'content-length: 2'],
  ['POST with buffered content of another length', 'POST', TEXT, LENGTH, 'content-length: 2', 5],
  ['POST with streamed content', 'POST', streamed(), [], 'transfer-encoding: chunked'],
  ['POST with streamed content and a length', 'POST', streamed(), ['CONTENT-Length', '5'], 'content-length: 5', 5],
  ['POST with the same length twice', 'POST', streamed(), [...LENGTH, 'Content-Length', '05'], 'content-length: 5', 5],
];

for (const [what, method, body, headers, line, length] of CASES) {
  test(`frames ${what} by ${line ?? 'nothing'}`, () => {
    const encoded = encode({ method, body, headers } as Partial<Dispatcher.DispatchOptions>);
    const framing = encoded.text.split('\r\n').filter((each) => /^(content-length|transfer-encoding):/i.test(each));
    assert.deepEqual(framing, line === undefined ? [] : [line]);
    assert.equal(encoded.length, length);
  });
}

const refusals: readonly (readonly [what: string, options: object])[] = [
  ...['', 'x', '-1', '+2', '2.0', '0x2', '2, 2', ' 2', '1e3', 'NaN', '9'.repeat(16)].map(
    (value) => [`a Content-Length of "${value}"`, { headers: ['content-length', value] }] as const,
  ),
  ['two different lengths', { headers: ['content-length', '2', 'content-length', '3'] }],
  ...['transfer-encoding', 'Transfer-Encoding', 'connection', 'CONNECTION'].map(
    (name) => [`the header ${name}`, { headers: [name, 'chunked'] }] as const,
  ),
  ['an empty header name', { headers: ['', 'x'] }],
  ['an empty target', { path: '' }],
];
for (const [what, options] of refusals) {
  test(`refuses ${what}`, () => {
    for (const body of [null, Buffer.from('{}'), streamed()]) {
      assert.throws(() => encode({ ...options, body } as never), errors.InvalidArgumentError);
    }
  });
}

test('refuses content in a text with characters beyond one byte', () => {
  assert.throws(() => encode({ method: 'POST', body: 'a=\u0141' }), errors.InvalidArgumentError);
});

test('uses the Host header of the request instead of the origin', () => {
  assert.match(encode({}).text, /^GET \/mcp HTTP\/1\.1\r\nhost: a\.example\r\n/);
  const { text } = encode({ headers: ['HOST', 'b.example'] });
  assert.deepEqual(text.match(/^host: .*$/gim), ['HOST: b.example']);
});

test('accepts headers as an object', () => {
  const { text } = encode({ headers: { accept: '*/*', host: 'b.example' } });
  assert.equal(text, 'GET /mcp HTTP/1.1\r\nconnection: keep-alive\r\naccept: */*\r\nhost: b.example\r\n\r\n');
});

for (const length of [1, 200, 201, 4096]) {
  test(`refuses line endings and characters beyond one byte in a value of ${length} characters`, () => {
    const place = Math.floor(length / 2);
    const valueWith = (character: string): string =>
      `${'x'.repeat(place)}${character}${'x'.repeat(length - place - 1)}`;
    for (const character of ['\r', '\n', '\0', '\u010a', '\uff0d']) {
      for (const options of [{ headers: ['authorization', valueWith(character)] }, { upgrade: valueWith(character) }]) {
        assert.throws(() => encode(options), errors.InvalidArgumentError, JSON.stringify(character));
      }
    }
    for (const character of ['\t', ' ', '\u00ff']) {
      const value = valueWith(character);
      assert.ok(encode({ headers: ['x-name', value] }).text.includes(`\r\nx-name: ${value}\r\n`));
    }
  });
}

const HOST = 'mcp.example.com:8443';

/** The parts of a request, any of which may come from a caller. */
interface Parts {
  readonly method: string;
  readonly path: string;
  readonly upgrade: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
}

function optionsOf({ method, path, upgrade, headers }: Parts): Dispatcher.DispatchOptions {
  const own = upgrade === '' ? {} : { upgrade };
  return { method: method as Dispatcher.HttpMethod, path, headers: [...headers], body: null, ...own };
}

/** The lines as a server reads them from the bytes. */
function linesOf(options: Dispatcher.DispatchOptions): string[] {
  const bytes = Buffer.from(encodeRequest(options, HOST).text, 'latin1').toString('latin1');
  return bytes.split(/\r\n|\n|\r|\0/);
}

const TOKEN = [..."!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"];
/** Names that do not affect the framing or the connection. */
const name = fc.string({ unit: fc.constantFrom(...TOKEN), minLength: 1, maxLength: 12 }).map((text) => `x${text}`);
const byte = (from: number, to: number) => fc.integer({ min: from, max: to }).map((code) => String.fromCharCode(code));
const value = fc.string({ unit: fc.oneof(byte(0x20, 0xff), fc.constant('\t')), maxLength: 20 });
const path = fc.string({ unit: byte(0x21, 0xff), maxLength: 20 }).map((text) => `/${text}`);
const parts: fc.Arbitrary<Parts> = fc.record({
  method: fc.constantFrom('GET', 'POST', 'DELETE', 'M-SEARCH'),
  path,
  upgrade: fc.constantFrom('', 'websocket'),
  headers: fc.array(fc.tuple(name, value), { minLength: 1, maxLength: 6 }).map((fields) => fields.flat()),
});

/** The headers that are added to those given. */
function ownLines({ method, upgrade }: Parts): string[] {
  const connection = upgrade === '' ? ['connection: keep-alive'] : ['connection: upgrade', `upgrade: ${upgrade}`];
  return [`host: ${HOST}`, ...connection, ...(method === 'POST' ? ['content-length: 0'] : [])];
}

function assertAsGiven(given: Parts): void {
  const [first, ...lines] = linesOf(optionsOf(given));
  assert.equal(first, `${given.method} ${given.path} HTTP/1.1`);
  assert.deepEqual(lines.splice(-2), ['', ''], 'ends with an empty line');
  const expected = given.headers.flatMap((key, i) => (i % 2 === 0 ? `${key}: ${given.headers[i + 1]}` : []));
  assert.deepEqual([...lines].sort(), [...expected, ...ownLines(given)].sort());
  assert.deepEqual(
    lines.filter((line) => expected.includes(line)),
    expected,
    'in the given order',
  );
}

test('writes valid requests line by line as given, and nothing else', () => {
  fc.assert(fc.property(parts, assertAsGiven), { numRuns: 2000 });
});

type Part = 'method' | 'path' | 'upgrade' | 'name' | 'value';

/** Inserts a text into one part. */
function corrupted(given: Parts, which: Part, nth: number, place: number, inserted: string): Parts {
  const insert = (text = ''): string => {
    const at = place % (text.length + 1);
    return text.slice(0, at) + inserted + text.slice(at);
  };
  if (which !== 'name' && which !== 'value') return { ...given, [which]: insert(given[which]) };
  const at = 2 * (nth % (given.headers.length / 2)) + (which === 'name' ? 0 : 1);
  return { ...given, headers: given.headers.with(at, insert(given.headers[at])) };
}

const lineEnding = fc.constantFrom('\r', '\n', '\0', '\r\n', '\r\nx-evil: 1', '\r\n\r\nGET /evil HTTP/1.1\r\n\r\n');
/** Characters beyond one byte. The low byte of some of them is a line ending. */
const beyondLatin1 = fc.oneof(
  fc.constantFrom('\u010a', '\u010d', '\u0100', '\uff0a', '\u{1f60a}', '\ud83d'),
  fc.integer({ min: 0x100, max: 0xffff }).map((code) => String.fromCharCode(code)),
);
const anyPart = fc.constantFrom<Part>('method', 'path', 'upgrade', 'name', 'value');
const corruptions = fc.oneof(
  fc.tuple(anyPart, fc.oneof(lineEnding, beyondLatin1)),
  fc.tuple(fc.constantFrom<Part>('method', 'path'), fc.constantFrom(' ', '\t', '\x0b', '\x01')),
  fc.tuple(fc.constant<Part>('name'), fc.constantFrom(' ', '\t', ':', ': x', '\x01', '\x7f', '\x85', '\xa0')),
);

test('refuses line endings and characters beyond one byte in every part, and delimiters in methods, targets and names', () => {
  fc.assert(
    fc.property(parts, corruptions, fc.nat(), fc.nat(), (given, [which, what], nth, place) => {
      const options = optionsOf(corrupted(given, which, nth, place, what));
      assert.throws(() => encodeRequest(options, HOST), errors.InvalidArgumentError);
    }),
    { numRuns: 8000 },
  );
});
