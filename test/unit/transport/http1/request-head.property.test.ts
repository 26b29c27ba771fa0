import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Dispatcher, errors } from 'undici';
import { requestHead } from '../../../../src/transport/http1/request-head.ts';

const HOST = 'mcp.example.com:8443';

/** All that a request is made of, and that somebody else may have written. */
interface Parts {
  readonly method: string;
  readonly path: string;
  readonly upgrade: string;
  readonly names: readonly string[];
  readonly values: readonly string[];
}

function optionsOf({ method, path, upgrade, names, values }: Parts): Dispatcher.DispatchOptions {
  return {
    method: method as Dispatcher.HttpMethod,
    path,
    headers: names.flatMap((name, i) => [name, values[i] as string]),
    body: null,
    ...(upgrade !== '' && { upgrade }),
  };
}

/** As whoever reads the head takes it: what is before each line's end, as bytes have it. */
function linesOf(options: Dispatcher.DispatchOptions): string[] {
  const bytes = Buffer.from(requestHead(options, HOST).text, 'latin1').toString('latin1');
  return bytes.split(/\r\n|\n|\r|\0/);
}

const TOKEN = [..."!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"];
/** None that says how the content is framed, or what becomes of the connection. */
const name = fc.string({ unit: fc.constantFrom(...TOKEN), minLength: 1, maxLength: 12 }).map((text) => `x${text}`);
const byte = (from: number, to: number) => fc.integer({ min: from, max: to }).map((code) => String.fromCharCode(code));
const value = fc.string({ unit: fc.oneof(byte(0x20, 0xff), fc.constant('\t')), maxLength: 20 });
const path = fc.string({ unit: byte(0x21, 0xff), maxLength: 20 }).map((text) => `/${text}`);
const fields = fc.array(fc.tuple(name, value), { minLength: 1, maxLength: 6 });
const parts = fc
  .record({
    method: fc.constantFrom('GET', 'POST', 'DELETE', 'M-SEARCH'),
    path,
    fields,
    upgrade: fc.constantFrom('', 'websocket'),
  })
  .map(
    ({ fields, ...rest }): Parts => ({
      ...rest,
      names: fields.map(([key]) => key),
      values: fields.map(([, text]) => text),
    }),
  );

/** What a head holds beside the headers that were given. */
function ownLines({ method, upgrade }: Parts): string[] {
  const connection = upgrade === '' ? ['connection: keep-alive'] : ['connection: upgrade', `upgrade: ${upgrade}`];
  return [`host: ${HOST}`, ...connection, ...(method === 'POST' ? ['content-length: 0'] : [])];
}

function assertAsAsked(given: Parts): void {
  const [first, ...lines] = linesOf(optionsOf(given));
  assert.equal(first, `${given.method} ${given.path} HTTP/1.1`);
  assert.deepEqual(lines.splice(-2), ['', ''], 'it ends with an empty line');
  const asked = given.names.map((key, i) => `${key}: ${given.values[i]}`);
  assert.deepEqual([...lines].sort(), [...asked, ...ownLines(given)].sort());
  assert.deepEqual(
    lines.filter((line) => asked.includes(line)),
    asked,
    'in the order that was asked for',
  );
}

test('whatever can be written is, line by line as it was asked for, and nothing else', () => {
  fc.assert(fc.property(parts, assertAsAsked), { numRuns: 2000 });
});

/** Puts something into one place of one part. */
function spoilt(given: Parts, which: keyof Parts, nth: number, place: number, what: string): Parts {
  const insert = (text: string): string => {
    const at = place % (text.length + 1);
    return text.slice(0, at) + what + text.slice(at);
  };
  const part = given[which];
  if (typeof part === 'string') return { ...given, [which]: insert(part) };
  return { ...given, [which]: part.map((text, i) => (i === nth % part.length ? insert(text) : text)) };
}

const ending = fc.constantFrom('\r', '\n', '\0', '\r\n', '\r\nx-evil: 1', '\r\n\r\nGET /evil HTTP/1.1\r\n\r\n');
/** Those of which one byte would be a line's end among them. */
const beyondLatin1 = fc.oneof(
  fc.constantFrom('\u010a', '\u010d', '\u0100', '\uff0a', '\u{1f60a}', '\ud83d'),
  fc.integer({ min: 0x100, max: 0xffff }).map((code) => String.fromCharCode(code)),
);
const which = fc.constantFrom<keyof Parts>('method', 'path', 'upgrade', 'names', 'values');

test('what would end a line, or is no byte, is refused wherever it stands', () => {
  fc.assert(
    fc.property(parts, which, fc.nat(), fc.nat(), fc.oneof(ending, beyondLatin1), (given, which, nth, place, what) => {
      const options = optionsOf(spoilt(given, which, nth, place, what));
      assert.throws(() => requestHead(options, HOST), errors.InvalidArgumentError);
    }),
    { numRuns: 5000 },
  );
});

test('what would end a method, a target or a name before its end is refused wherever it stands', () => {
  const cases = fc.oneof(
    fc.tuple(fc.constantFrom<keyof Parts>('method', 'path'), fc.constantFrom(' ', '\t', '\x0b', '\x01')),
    fc.tuple(fc.constant<keyof Parts>('names'), fc.constantFrom(' ', '\t', ':', ': x', '\x01', '\x7f', '\x85', '\xa0')),
  );
  fc.assert(
    fc.property(parts, cases, fc.nat(), fc.nat(), (given, [which, what], nth, place) => {
      const options = optionsOf(spoilt(given, which, nth, place, what));
      assert.throws(() => requestHead(options, HOST), errors.InvalidArgumentError);
    }),
    { numRuns: 3000 },
  );
});
