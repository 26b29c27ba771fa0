import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createResponseParser, type ResponseEvents } from '../../../../src/transport/http1/response-parser.ts';

/** The events of a parser in order. The parts of one body are joined. */
type Events = (string | readonly [status: number, ...headers: string[]])[];

interface Reading {
  readonly events: Events;
  readonly isBroken: boolean;
}

const MAX_HEADER_BYTES = 64 * 1024;

/** Parses the chunks. Pauses after each event for which `pauses` returns true, and resumes at once. */
function readAll(chunks: readonly Buffer[], pauses: (nth: number) => boolean = () => false): Reading {
  const events: Events = [];
  let isPaused = false;
  let nth = 0;
  const note = (what: Events[number]): void => {
    assert.equal(isPaused, false, 'no event while the parser is paused');
    const last = events.at(-1);
    if (typeof what === 'string' && what.startsWith('body ') && typeof last === 'string' && last.startsWith('body ')) {
      events[events.length - 1] = last + what.slice('body '.length);
    } else {
      events.push(what);
    }
  };
  const maybePause = (): void => {
    nth += 1;
    isPaused = pauses(nth);
    if (isPaused) parser.pause();
  };
  const handler: ResponseEvents = {
    isExpected: () => true,
    headers(status, headers) {
      note([status, ...headers]);
      if (status < 200) return 'no body';
      maybePause();
      return 'body';
    },
    body(bytes) {
      note(`body ${bytes.toString('latin1')}`);
      maybePause();
    },
    end: (keepsAlive) => note(keepsAlive ? 'end' : 'end, and closes'),
  };
  const parser = createResponseParser(handler, MAX_HEADER_BYTES);
  const readOne = (chunk: Buffer): void => {
    let rest = chunk.subarray(parser.read(chunk));
    while (isPaused) {
      isPaused = false;
      parser.resume();
      rest = rest.subarray(parser.read(rest));
    }
    assert.equal(rest.length, 0, 'everything is parsed');
  };
  try {
    for (const chunk of chunks) readOne(chunk);
    parser.finish();
    return { events, isBroken: false };
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    return { events, isBroken: true };
  } finally {
    parser.free();
  }
}

const TOKEN = [..."!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"];
const name = fc.string({ unit: fc.constantFrom(...TOKEN), minLength: 1, maxLength: 12 }).map((text) => `x${text}`);
const byte = (from: number, to: number) => fc.integer({ min: from, max: to }).map((code) => String.fromCharCode(code));
/** Visible characters, spaces and tabs inside, and characters beyond ASCII. */
const value = fc
  .string({ unit: fc.oneof(byte(0x21, 0x7e), byte(0x80, 0xff), fc.constantFrom(' ', '\t')), maxLength: 20 })
  .map((text) => text.replace(/^[ \t]+|[ \t]+$/g, ''));
const fields = fc.array(fc.tuple(name, value), { maxLength: 5 });
const status = fc.integer({ min: 200, max: 599 }).filter((code) => code !== 204 && code !== 304);
const reason = fc.string({ unit: fc.oneof(byte(0x20, 0x7e), byte(0x80, 0xff)), maxLength: 10 });
const bytes = fc.string({ unit: byte(0, 0xff), maxLength: 40 });
const parts = fc.array(
  bytes.filter((text) => text.length > 0),
  { maxLength: 4 },
);
const padding = fc.constantFrom('', ' ', '  ');

/** The bytes of a response, and the expected events. */
interface Response {
  readonly text: string;
  readonly events: Events;
}

function headersOf(code: number, phrase: string, lines: readonly (readonly string[])[], pad: string): string {
  return `HTTP/1.1 ${code} ${phrase}\r\n${lines.map(([key, text]) => `${key}:${pad}${text}\r\n`).join('')}\r\n`;
}

function eventsOf(code: number, lines: readonly (readonly string[])[], body: string): Events {
  return [[code, ...lines.flat()], ...(body === '' ? [] : [`body ${body}`]), 'end'];
}

const withLength = fc
  .record({ status, reason, fields, body: bytes, padding })
  .map(({ status, reason, fields, body, padding }): Response => {
    const lines = [...fields, ['Content-Length', String(body.length)]];
    return { text: headersOf(status, reason, lines, padding) + body, events: eventsOf(status, lines, body) };
  });
const inChunks = fc
  .record({ status, reason, fields, parts, trailers: fields, padding })
  .map(({ status, reason, fields, parts, trailers, padding }): Response => {
    const lines = [...fields, ['Transfer-Encoding', 'chunked']];
    const chunks = parts.map((part) => `${part.length.toString(16)};x=y\r\n${part}\r\n`).join('');
    const last = `0\r\n${trailers.map(([key, text]) => `${key}:${padding}${text}\r\n`).join('')}\r\n`;
    return {
      text: headersOf(status, reason, lines, padding) + chunks + last,
      events: eventsOf(status, lines, parts.join('')),
    };
  });
const withoutBody = fc
  .record({ status: fc.constantFrom(100, 102, 103, 204, 304), reason, fields, padding, length: fc.boolean() })
  .map(({ status, reason, fields, padding, length }): Response => {
    const lines = length && status >= 200 ? [...fields, ['Content-Length', '5']] : fields;
    return { text: headersOf(status, reason, lines, padding), events: eventsOf(status, lines, '') };
  });
const responses = fc.array(fc.oneof(withLength, inChunks, withoutBody), { minLength: 1, maxLength: 4 }).map(
  (several): Response => ({
    text: several.map(({ text }) => text).join(''),
    events: several.flatMap(({ events }) => events),
  }),
);

/** Splits a text into chunks of these lengths, repeated. */
function split(text: string, lengths: readonly number[]): Buffer[] {
  const whole = Buffer.from(text, 'latin1');
  const chunks: Buffer[] = [];
  for (let at = 0, nth = 0; at < whole.length; nth += 1) {
    const length = lengths[nth % lengths.length] as number;
    chunks.push(whole.subarray(at, at + length));
    at += length;
  }
  return chunks;
}

const lengths = fc.array(fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 60 })), { minLength: 1, maxLength: 8 });

test('reports the same events however responses are split or paused, no trailers, and no event during a pause', () => {
  fc.assert(
    fc.property(responses, lengths, fc.infiniteStream(fc.boolean()), ({ text, events }, lengths, pauses) => {
      for (const isPausing of [() => false, () => pauses.next().value]) {
        assert.deepEqual(readAll(split(text, lengths), isPausing), { events, isBroken: false });
      }
    }),
    { numRuns: 2000 },
  );
});

test('parses chunks that are larger than its input memory, paused or not', () => {
  fc.assert(
    fc.property(fc.integer({ min: 65_000, max: 400_000 }), fc.integer({ min: 0, max: 300 }), (length, pad) => {
      const body = 'abcdefghijklmnop'.repeat(length / 16);
      const lines = [
        ['X-Pad', 'p'.repeat(pad)],
        ['Content-Length', String(body.length)],
      ];
      const events = eventsOf(200, lines, body);
      const text = headersOf(200, 'OK', lines, ' ') + body;
      for (const every of [1, 3, Infinity]) {
        const reading = readAll([Buffer.from(text + text)], (nth) => nth % every === 0);
        assert.deepEqual(reading, { events: [...events, ...events], isBroken: false });
      }
    }),
    { numRuns: 100 },
  );
});

/** A response with a few random changes, which may be malformed. */
const mutated = fc
  .tuple(
    responses,
    fc.array(fc.tuple(fc.nat(), fc.constantFrom('replace', 'insert', 'remove', 'swap'), byte(0, 0xff)), {
      minLength: 1,
      maxLength: 3,
    }),
  )
  .map(([{ text }, changes]) => {
    let changed = text;
    for (const [place, change, char] of changes) {
      const at = place % changed.length;
      const next = changed[at + 1] ?? '';
      if (change === 'replace') changed = changed.slice(0, at) + char + changed.slice(at + 1);
      if (change === 'insert') changed = changed.slice(0, at) + char + changed.slice(at);
      if (change === 'remove') changed = changed.slice(0, at) + changed.slice(at + 1);
      if (change === 'swap') changed = changed.slice(0, at) + next + changed[at] + changed.slice(at + 2);
    }
    return changed;
  });

test('reports the same events before a malformed response is refused, however it is split or paused', () => {
  fc.assert(
    fc.property(mutated, lengths, fc.infiniteStream(fc.boolean()), (text, lengths, pauses) => {
      const whole = readAll([Buffer.from(text, 'latin1')]);
      // llhttp also reads RTSP and ICE. Their first letter is refused only where it begins a chunk, or else at their next letters.
      const mayBeOther = /[RI]/.test(text);
      for (const isPausing of [() => false, () => pauses.next().value]) {
        const reading = readAll(split(text, lengths), isPausing);
        assert.deepEqual(mayBeOther ? reading.events : reading, mayBeOther ? whole.events : whole);
      }
    }),
    { numRuns: 3000 },
  );
});
