import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errors } from 'undici';
import {
  type AnswerParser,
  type AnswerReader,
  createAnswerParser,
} from '../../../../src/transport/http1/answer-parser.ts';
import { countParsers } from '../../../harness/counted-parsers.ts';

const parsers = countParsers();

const LIMIT = 64 * 1024;

type Told = unknown[];

/** A parser whose reader notes what it is told, and does besides what a test wants. */
function noting(told: Told, does: Partial<AnswerReader> = {}): AnswerParser {
  return createAnswerParser(
    {
      begins: () => does.begins?.() ?? true,
      head(status, headers) {
        told.push([status, ...headers]);
        return does.head?.(status, headers) ?? 'body';
      },
      body(bytes) {
        told.push(bytes.toString('latin1'));
        does.body?.(bytes);
      },
      ends(keepsAlive) {
        told.push('ends');
        does.ends?.(keepsAlive);
      },
    },
    LIMIT,
  );
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

const OK = 'HTTP/1.1 200 OK\r\n';
const HELLO = `${OK}Content-Length: 5\r\n\r\nhello`;

test('a value that is empty is one', (t) => {
  const told: Told = [];
  const parser = noting(told);
  t.after(parser.free);
  parser.read(bytes(`${OK}A:\r\nB: \r\nC: c\r\nContent-Length: 0\r\nD:\r\n\r\n`));
  assert.deepEqual(told, [[200, 'A', '', 'B', '', 'C', 'c', 'Content-Length', '0', 'D', ''], 'ends']);
});

for (const [what, answer] of [
  ['whose value is folded over two lines', `${OK}A: b\r\n c\r\nContent-Length: 0\r\n\r\n`],
  ['whose lines end without CR', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n'],
  ['with a space between name and colon', `${OK}Content-Length : 0\r\n\r\n`],
  ['with a line that has no colon', `${OK}Content-Length\r\n\r\n`],
  ['with NUL in a value', `${OK}A: \0\r\nContent-Length: 0\r\n\r\n`],
  ['with two lengths', `${OK}Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello`],
  ['with the same length twice', `${OK}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`],
  ['with a list of lengths', `${OK}Content-Length: 5, 5\r\n\r\nhello`],
  ['with a signed length', `${OK}Content-Length: +5\r\n\r\nhello`],
  ['with both a length and chunks', `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['with chunks of no hexadecimal length', `${OK}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n`],
  ['with a chunk longer than it says', `${OK}Transfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n`],
  ['of HTTP/1.2', 'HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ['of HTTP/2.0', 'HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ['of HTTP/0.9', 'HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ['of RTSP', 'RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ['of RTSP after an interim one', 'HTTP/1.1 100 Continue\r\n\r\nRTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ['of ICE', '\r\nICE/1.0 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ['of SHOUTcast', 'ICY 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ['with a status of two digits', 'HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n'],
  ['that is a request', 'GET / HTTP/1.1\r\n\r\n'],
] as const) {
  test(`an answer ${what} is refused`, (t) => {
    const told: Told = [];
    const parser = noting(told);
    t.after(parser.free);
    assert.throws(() => parser.read(bytes(answer)), errors.HTTPParserError);
    assert.ok(!told.some((what) => Array.isArray(what) && what[0] === 200 && told.includes('ends')));
  });
}

test('reads any number of interim responses in one chunk', (t) => {
  const told: Told = [];
  const parser = noting(told, { head: (status) => (status < 200 ? 'nothing' : 'body') });
  t.after(parser.free);
  const text = 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(20_000) + HELLO;
  assert.equal(parser.read(bytes(text)), text.length);
  assert.equal(told.length, 2 * 20_000 + 3);
  assert.deepEqual(told.slice(-3), [[200, 'Content-Length', '5'], 'hello', 'ends']);
});

test('after an answer that was to be the last, nothing is read', (t) => {
  const told: Told = [];
  const parser = noting(told);
  t.after(parser.free);
  assert.throws(
    () => parser.read(bytes(`${OK}Connection: close\r\nContent-Length: 0\r\n\r\n${HELLO}`)),
    errors.HTTPParserError,
  );
  assert.deepEqual(told, [[200, 'Connection', 'close', 'Content-Length', '0'], 'ends']);
});

test('an answer that nobody expects is refused at its first byte', (t) => {
  const told: Told = [];
  let isExpected = true;
  const parser = noting(told, {
    begins: () => isExpected,
    ends: () => {
      isExpected = false;
    },
  });
  t.after(parser.free);
  assert.throws(() => parser.read(bytes(`${HELLO}H`)), errors.HTTPParserError);
  assert.deepEqual(told.at(-1), 'ends');
});

/** Such that reason, names and values are as long as the limit. */
const FULL = {
  value: `HTTP/1.1 200 \r\nA: ${'b'.repeat(LIMIT - 1)}`,
  name: `HTTP/1.1 200 \r\n${'A'.repeat(LIMIT - 1)}: b`,
  reason: `HTTP/1.1 200 ${'r'.repeat(LIMIT)}`,
  'several lines': `HTTP/1.1 200 ${'r'.repeat(24)}\r\n${`${'n'.repeat(8)}: ${'v'.repeat(8)}\r\n`.repeat(4094)}N: v${'v'.repeat(6)}`,
};

/** Chunks of one length each. */
function* inChunks(text: string, length: number): Generator<Buffer> {
  for (let at = 0; at < text.length; at += length) yield bytes(text.slice(at, at + length));
}

for (const [part, head] of Object.entries(FULL)) {
  for (const length of [1000, 300_000]) {
    test(`a head whose ${part} takes all that is allowed is read, and a byte more refused, ${length} at a time`, (t) => {
      const told: Told = [];
      const parser = noting(told);
      t.after(parser.free);
      for (const chunk of inChunks(`${head}\r\n\r\n`, length)) parser.read(chunk);
      assert.equal(told.length, 1);
      const other = noting(told);
      t.after(other.free);
      assert.throws(() => {
        for (const chunk of inChunks(`${head}x\r\n\r\n`, length)) other.read(chunk);
      }, errors.HeadersOverflowError);
      assert.equal(told.length, 1);
    });
  }
}

test('trailers may take as much as a head, and not a byte more', (t) => {
  const body = `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\n`;
  const told: Told = [];
  const parser = noting(told);
  t.after(parser.free);
  parser.read(bytes(`${body}A: ${'b'.repeat(LIMIT - 1)}\r\n\r\n`));
  assert.equal(told.at(-1), 'ends');
  parser.read(bytes(body));
  assert.throws(() => parser.read(bytes(`A: ${'b'.repeat(LIMIT)}\r\n\r\n`)), errors.HeadersOverflowError);
  assert.equal(told.filter((what) => what === 'ends').length, 1);
});

test('no trailer is taken for a header of the next answer, and what it took is no part of that', (t) => {
  const told: Told = [];
  const parser = noting(told);
  t.after(parser.free);
  const long = `A: ${'b'.repeat(LIMIT - 200)}\r\n`;
  const answer = `HTTP/1.1 200 \r\n${long}Transfer-Encoding: chunked\r\n\r\n0\r\n${long}\r\n`;
  parser.read(bytes(answer + answer));
  parser.read(bytes(HELLO));
  assert.deepEqual(told.slice(-3), [[200, 'Content-Length', '5'], 'hello', 'ends']);
});

for (const place of ['head', 'body', 'ends'] as const) {
  test(`what a reader throws at the ${place} of an answer ends the reading, and comes out`, (t) => {
    const told: Told = [];
    const thrown = new Error('enough');
    const parser = noting(told, {
      [place]() {
        throw thrown;
      },
    });
    t.after(parser.free);
    const isThrown = (error: unknown): boolean => error === thrown;
    assert.throws(() => parser.read(bytes(HELLO + HELLO)), isThrown);
    const before = told.length;
    assert.throws(() => parser.read(bytes(HELLO)), isThrown);
    assert.equal(told.length, before);
  });
}

test('before another protocol the reading stops, and says where', (t) => {
  const told: Told = [];
  const parser = noting(told, { head: () => 'another protocol' });
  t.after(parser.free);
  const head = 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n';
  assert.equal(parser.read(bytes(`${head}${HELLO}`)), head.length);
  assert.deepEqual(told, [[101, 'Connection', 'upgrade', 'Upgrade', 'x'], 'ends']);
});

test('an answer without a length is as long as what comes, and is not whole before nothing more does', (t) => {
  const told: Told = [];
  const parser = noting(told);
  t.after(parser.free);
  parser.read(bytes(`${OK}\r\nhel`));
  parser.read(bytes('lo'));
  assert.deepEqual(told, [[200], 'hel', 'lo']);
  parser.finish();
  assert.deepEqual(told, [[200], 'hel', 'lo', 'ends']);
});

for (const [what, answer] of [
  ['a head', OK],
  ['a length', HELLO.slice(0, -1)],
  ['a last chunk', `${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`],
  ['the end of its trailers', `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n`],
] as const) {
  test(`an answer that lacks ${what} does not end with its connection`, (t) => {
    const told: Told = [];
    const parser = noting(told);
    t.after(parser.free);
    parser.read(bytes(answer));
    parser.finish();
    assert.ok(!told.includes('ends'));
  });
}

test('a parser in the midst of an answer goes on when the memory of all of them has grown', (t) => {
  const told: Told = [];
  const parser = noting(told);
  t.after(parser.free);
  const other: Told = [];
  const another = noting(other);
  t.after(another.free);
  parser.read(bytes(HELLO.slice(0, 25)));
  another.read(bytes(HELLO.slice(0, -2)));
  const before = parsers.memoryBytes();
  const many: AnswerParser[] = [];
  while (parsers.memoryBytes() === before) many.push(noting([]));
  parser.read(bytes(HELLO.slice(25)));
  another.read(bytes(HELLO.slice(-2)));
  assert.deepEqual(told, [[200, 'Content-Length', '5'], 'hello', 'ends']);
  assert.deepEqual(other, [[200, 'Content-Length', '5'], 'hel', 'lo', 'ends']);
  for (const each of many) each.free();
});

test('the parsers of a hundred thousand connections that come and go take no more memory than those of ten', () => {
  const turn = (): void => {
    const ten = Array.from({ length: 10 }, () => noting([]));
    for (const parser of ten) parser.read(bytes(HELLO.slice(0, 30)));
    for (const parser of ten) parser.free();
  };
  turn();
  const before = parsers.memoryBytes();
  for (let i = 0; i < 10_000; i += 1) turn();
  assert.equal(parsers.memoryBytes(), before);
  assert.equal(parsers.inUse(), 0);
});
