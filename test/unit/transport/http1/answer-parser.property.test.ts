import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type AnswerReader, createAnswerParser } from '../../../../src/transport/http1/answer-parser.ts';

/** What a reader was told, in turn; the parts of one body are joined. */
type Told = (string | readonly [status: number, ...headers: string[]])[];

interface Reading {
  readonly told: Told;
  readonly isBroken: boolean;
}

const MAX_HEAD_BYTES = 64 * 1024;

/** Reads the chunks one after the other; held back after each thing told where `holds` says so, and released at once. */
function readAll(chunks: readonly Buffer[], holds: (nth: number) => boolean = () => false): Reading {
  const told: Told = [];
  let isHeld = false;
  let nth = 0;
  const tell = (what: Told[number]): void => {
    assert.equal(isHeld, false, 'the reader is told something while it holds the parser');
    const last = told.at(-1);
    if (typeof what === 'string' && what.startsWith('body ') && typeof last === 'string' && last.startsWith('body ')) {
      told[told.length - 1] = last + what.slice('body '.length);
    } else {
      told.push(what);
    }
  };
  const maybeHold = (): void => {
    nth += 1;
    isHeld = holds(nth);
    if (isHeld) parser.hold();
  };
  const reader: AnswerReader = {
    begins: () => true,
    head(status, headers) {
      tell([status, ...headers]);
      if (status < 200) return 'nothing';
      maybeHold();
      return 'body';
    },
    body(bytes) {
      tell(`body ${bytes.toString('latin1')}`);
      maybeHold();
    },
    ends: (keepsAlive) => tell(keepsAlive ? 'ends' : 'ends, and closes'),
  };
  const parser = createAnswerParser(reader, MAX_HEAD_BYTES);
  const readOne = (chunk: Buffer): void => {
    let rest = chunk.subarray(parser.read(chunk));
    while (isHeld) {
      isHeld = false;
      parser.release();
      rest = rest.subarray(parser.read(rest));
    }
    assert.equal(rest.length, 0, 'what comes is read to its end');
  };
  try {
    for (const chunk of chunks) readOne(chunk);
    parser.finish();
    return { told, isBroken: false };
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    return { told, isBroken: true };
  } finally {
    parser.free();
  }
}

const TOKEN = [..."!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"];
const name = fc.string({ unit: fc.constantFrom(...TOKEN), minLength: 1, maxLength: 12 }).map((text) => `x${text}`);
const byte = (from: number, to: number) => fc.integer({ min: from, max: to }).map((code) => String.fromCharCode(code));
/** Visible ones, spaces and tabs within, and those beyond ASCII. */
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

/** The bytes of an answer, and what is told of it. */
interface Answer {
  readonly text: string;
  readonly told: Told;
}

function headOf(code: number, phrase: string, lines: readonly (readonly string[])[], pad: string): string {
  return `HTTP/1.1 ${code} ${phrase}\r\n${lines.map(([key, text]) => `${key}:${pad}${text}\r\n`).join('')}\r\n`;
}

function toldOf(code: number, lines: readonly (readonly string[])[], body: string): Told {
  return [[code, ...lines.flat()], ...(body === '' ? [] : [`body ${body}`]), 'ends'];
}

const withLength = fc
  .record({ status, reason, fields, body: bytes, padding })
  .map(({ status, reason, fields, body, padding }): Answer => {
    const lines = [...fields, ['Content-Length', String(body.length)]];
    return { text: headOf(status, reason, lines, padding) + body, told: toldOf(status, lines, body) };
  });
const inChunks = fc
  .record({ status, reason, fields, parts, trailers: fields, padding })
  .map(({ status, reason, fields, parts, trailers, padding }): Answer => {
    const lines = [...fields, ['Transfer-Encoding', 'chunked']];
    const chunks = parts.map((part) => `${part.length.toString(16)};x=y\r\n${part}\r\n`).join('');
    const last = `0\r\n${trailers.map(([key, text]) => `${key}:${padding}${text}\r\n`).join('')}\r\n`;
    return {
      text: headOf(status, reason, lines, padding) + chunks + last,
      told: toldOf(status, lines, parts.join('')),
    };
  });
const withoutBody = fc
  .record({ status: fc.constantFrom(100, 102, 103, 204, 304), reason, fields, padding, length: fc.boolean() })
  .map(({ status, reason, fields, padding, length }): Answer => {
    const lines = length && status >= 200 ? [...fields, ['Content-Length', '5']] : fields;
    return { text: headOf(status, reason, lines, padding), told: toldOf(status, lines, '') };
  });
const answers = fc.array(fc.oneof(withLength, inChunks, withoutBody), { minLength: 1, maxLength: 4 }).map(
  (several): Answer => ({
    text: several.map(({ text }) => text).join(''),
    told: several.flatMap(({ told }) => told),
  }),
);

/** Splits as the numbers say, again and again: each is the length of a chunk. */
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

test('however the bytes of answers are split, all that they say is told, in turn, and no trailer', () => {
  fc.assert(
    fc.property(answers, lengths, ({ text, told }, lengths) => {
      assert.deepEqual(readAll(split(text, lengths)), { told, isBroken: false });
    }),
    { numRuns: 2000 },
  );
});

test('wherever a reader holds the parser, it is told nothing until it releases it, and all of it then', () => {
  fc.assert(
    fc.property(answers, lengths, fc.infiniteStream(fc.boolean()), ({ text, told }, lengths, holds) => {
      const reading = readAll(split(text, lengths), () => holds.next().value);
      assert.deepEqual(reading, { told, isBroken: false });
    }),
    { numRuns: 2000 },
  );
});

test('what is larger than the memory that the parser reads from is told as what is smaller, held or not', () => {
  fc.assert(
    fc.property(fc.integer({ min: 65_000, max: 400_000 }), fc.integer({ min: 0, max: 300 }), (length, pad) => {
      const body = 'abcdefghijklmnop'.repeat(length / 16);
      const lines = [
        ['X-Pad', 'p'.repeat(pad)],
        ['Content-Length', String(body.length)],
      ];
      const told = toldOf(200, lines, body);
      const text = headOf(200, 'OK', lines, ' ') + body;
      for (const every of [1, 3, Infinity]) {
        const reading = readAll([Buffer.from(text + text)], (nth) => nth % every === 0);
        assert.deepEqual(reading, { told: [...told, ...told], isBroken: false });
      }
    }),
    { numRuns: 100 },
  );
});

/** One that is near to an answer, and may be none. */
const mutated = fc
  .tuple(
    answers,
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

test('however what is no answer is split, and wherever it is held, the same is told of it before it is refused', () => {
  fc.assert(
    fc.property(mutated, lengths, fc.infiniteStream(fc.boolean()), (text, lengths, holds) => {
      const whole = readAll([Buffer.from(text, 'latin1')]);
      assert.deepEqual(readAll(split(text, lengths)), whole);
      assert.deepEqual(
        readAll(split(text, lengths), () => holds.next().value),
        whole,
      );
    }),
    { numRuns: 3000 },
  );
});
