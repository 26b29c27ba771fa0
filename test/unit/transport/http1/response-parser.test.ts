import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { errors } from 'undici';
import {
  createResponseParser,
  type ResponseEvents,
  type ResponseParser,
} from '../../../../src/transport/http1/response-parser.ts';
import { countParsers } from '../../../harness/counted-parsers.ts';

const parsers = countParsers();

const LIMIT = 64 * 1024;

/** A parser whose events are noted. */
function notingParser(noted: unknown[]): ResponseParser {
  const events: ResponseEvents = {
    isExpected: () => true,
    headers(status, headers) {
      noted.push([status, ...headers]);
      return 'body';
    },
    body: (bytes) => void noted.push(bytes.toString('latin1')),
    end: () => void noted.push('end'),
  };
  return createResponseParser(events, LIMIT);
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

/** A parser that is freed after the test. */
function start(t: TestContext) {
  const noted: unknown[] = [];
  const parser = notingParser(noted);
  t.after(parser.free);
  return { noted, parser, read: (text: string) => parser.read(bytes(text)) };
}

const OK = 'HTTP/1.1 200 OK\r\n';
const HELLO = `${OK}Content-Length: 5\r\n\r\nhello`;

test('refuses a response with more than 1000 headers, however short they are', (t) => {
  const { read } = start(t);
  const headers = (count: number) => `${OK}${'a:\r\n'.repeat(count)}Content-Length: 0\r\n\r\n`;
  read(headers(999));
  assert.throws(() => read(headers(1000)), errors.HeadersOverflowError);
});

test('counts the interim responses of each response apart', (t) => {
  const { noted, read } = start(t);
  const interims = `HTTP/1.1 103 Early Hints\r\nA: ${'b'.repeat(1500)}\r\n\r\n`.repeat(32);
  for (const _ of [1, 2]) read(interims + HELLO);
  assert.equal(noted.filter((event) => event === 'hello').length, 2);
  assert.throws(() => read(`${interims}HTTP/1.1 100 Continue\r\n\r\n`), /too many interim responses/);
});

test('refuses another response after Connection: close', (t) => {
  const { noted, read } = start(t);
  assert.throws(() => read(`${OK}Connection: close\r\nContent-Length: 0\r\n\r\n${HELLO}`), errors.HTTPParserError);
  assert.deepEqual(noted, [[200, 'Connection', 'close', 'Content-Length', '0'], 'end']);
});

/** Headers whose reason phrase, names and values are exactly as long as the limit. */
const FULL = {
  value: `HTTP/1.1 200 \r\nA: ${'b'.repeat(LIMIT - 1)}`,
  name: `HTTP/1.1 200 \r\n${'A'.repeat(LIMIT - 1)}: b`,
  reason: `HTTP/1.1 200 ${'r'.repeat(LIMIT)}`,
  'several lines': `HTTP/1.1 200 ${'r'.repeat(24)}\r\n${`${'n'.repeat(8)}: ${'v'.repeat(1016)}\r\n`.repeat(63)}N: ${'v'.repeat(999)}`,
};

/** Splits a text into chunks of this length. */
function* inChunks(text: string, length: number): Generator<Buffer> {
  for (let at = 0; at < text.length; at += length) yield bytes(text.slice(at, at + length));
}

for (const [part, headers] of Object.entries(FULL)) {
  for (const length of [1000, 300_000]) {
    test(`reads headers up to the limit and no byte more: ${part}, in chunks of ${length} bytes`, (t) => {
      const [full, longer] = [start(t), start(t)];
      for (const chunk of inChunks(`${headers}\r\n\r\n`, length)) full.parser.read(chunk);
      assert.equal(full.noted.length, 1);
      assert.throws(() => {
        for (const chunk of inChunks(`${headers}x\r\n\r\n`, length)) longer.parser.read(chunk);
      }, errors.HeadersOverflowError);
      assert.deepEqual(longer.noted, []);
    });
  }
}

test('limits trailers like headers', (t) => {
  const body = `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\n`;
  const { noted, read } = start(t);
  read(`${body}A: ${'b'.repeat(LIMIT - 1)}\r\n\r\n`);
  assert.equal(noted.at(-1), 'end');
  read(body);
  assert.throws(() => read(`A: ${'b'.repeat(LIMIT)}\r\n\r\n`), errors.HeadersOverflowError);
  assert.equal(noted.filter((what) => what === 'end').length, 1);
});

test('keeps trailers out of the next response and of its limit', (t) => {
  const { noted, read } = start(t);
  const long = `A: ${'b'.repeat(LIMIT - 200)}\r\n`;
  const response = `HTTP/1.1 200 \r\n${long}Transfer-Encoding: chunked\r\n\r\n0\r\n${long}\r\n`;
  read(response + response);
  read(HELLO);
  assert.deepEqual(noted.slice(-3), [[200, 'Content-Length', '5'], 'hello', 'end']);
});

test('continues in the middle of a response after the shared memory has grown', (t) => {
  const { noted, read } = start(t);
  const another = start(t);
  read(HELLO.slice(0, 25));
  another.read(HELLO.slice(0, -2));
  const before = parsers.memoryBytes();
  const many: ResponseParser[] = [];
  while (parsers.memoryBytes() === before) many.push(notingParser([]));
  read(HELLO.slice(25));
  another.read(HELLO.slice(-2));
  assert.deepEqual(noted, [[200, 'Content-Length', '5'], 'hello', 'end']);
  assert.deepEqual(another.noted, [[200, 'Content-Length', '5'], 'hel', 'lo', 'end']);
  for (const each of many) each.free();
});

test('reuses the memory of freed parsers', () => {
  const turn = (): void => {
    const ten = Array.from({ length: 10 }, () => notingParser([]));
    for (const parser of ten) parser.read(bytes(HELLO.slice(0, 30)));
    for (const parser of ten) parser.free();
  };
  turn();
  const before = parsers.memoryBytes();
  for (let i = 0; i < 10_000; i += 1) turn();
  assert.equal(parsers.memoryBytes(), before);
  assert.equal(parsers.inUse(), 0);
});
