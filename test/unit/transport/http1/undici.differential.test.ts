import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { Agent, type Dispatcher } from 'undici';
import { http1Dispatcher, startBareUpstream } from '../../../harness/bare-upstream.ts';
import { follow } from '../../../harness/followed.ts';

/** @param id of the response that the server sends */
async function request(dispatcher: Dispatcher, origin: string, method: string, id: number) {
  const options = { origin, path: `/${id}`, method: method as Dispatcher.HttpMethod };
  const { events, status = 0, rawHeaders, body } = await follow(dispatcher, options).ended();
  // undici reports interim responses, and cambist drops them.
  const isFinal = status >= 200;
  const headers = (isFinal ? rawHeaders : []) as readonly (string | Buffer)[];
  return {
    end: events.at(-1) === 'end' ? ('complete' as const) : ('aborted' as const),
    status: isFinal ? status : undefined,
    headers: headers.map((part) => (typeof part === 'string' ? part : part.toString('latin1'))),
    body,
  };
}

type Outcome = Awaited<ReturnType<typeof request>>;

const byte = (from: number, to: number) => fc.integer({ min: from, max: to }).map((code) => String.fromCharCode(code));
const value = fc.string({ unit: fc.oneof(byte(0x21, 0x7e), byte(0x80, 0xff)), maxLength: 12 });
const name = fc.string({ unit: byte(0x61, 0x7a), minLength: 1, maxLength: 6 }).map((text) => `x-${text}`);
const field = fc.oneof(
  fc.tuple(name, value),
  fc.constantFrom(
    ['Connection', 'close'],
    ['Connection', 'keep-alive'],
    ['Keep-Alive', 'timeout=5'],
    ['Keep-Alive', 'timeout=1'],
    ['Content-Length', '3'],
    ['Transfer-Encoding', 'chunked'],
    ['Transfer-Encoding', 'gzip'],
    ['Trailer', 'x-a'],
    ['Upgrade', 'x'],
  ),
);
const body = fc.string({ unit: byte(0, 0xff), maxLength: 30 });

/** A response whose framing is valid or nearly valid. */
const response = fc
  .record({
    version: fc.oneof({ weight: 9, arbitrary: fc.constant('1.1') }, { weight: 1, arbitrary: fc.constant('1.0') }),
    status: fc.oneof(
      fc.constantFrom(200, 201, 204, 205, 206, 302, 304, 401, 500, 503),
      fc.integer({ min: 200, max: 599 }),
    ),
    fields: fc.array(field, { maxLength: 4 }),
    framing: fc.constantFrom('length', 'chunks', 'none'),
    chunks: fc.array(body, { maxLength: 3 }),
    trailers: fc.array(fc.tuple(name, value), { maxLength: 2 }),
  })
  .map(({ version, status, fields, framing, chunks, trailers }) => {
    const lines = [...fields];
    const all = chunks.join('');
    if (framing === 'length') lines.push(['Content-Length', String(all.length)]);
    if (framing === 'chunks') lines.push(['Transfer-Encoding', 'chunked']);
    const headers = `HTTP/${version} ${status} OK\r\n${lines.map(([key, text]) => `${key}: ${text}\r\n`).join('')}\r\n`;
    if (framing !== 'chunks') return headers + all;
    const parts = chunks.filter((chunk) => chunk !== '').map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`);
    return `${headers}${parts.join('')}0\r\n${trailers.map(([key, text]) => `${key}: ${text}\r\n`).join('')}\r\n`;
  });

const change = fc.record({
  place: fc.nat(),
  what: fc.constantFrom('replace', 'insert', 'remove', 'truncate'),
  char: fc.oneof(byte(0, 0xff), fc.constantFrom('\r', '\n', ' ', ':', '0', ';', 'A')),
});

const changed = fc.record({ text: response, changes: fc.array(change, { maxLength: 2 }) }).map(({ text, changes }) =>
  changes.reduce((before, { place, what, char }) => {
    const at = place % Math.max(before.length, 1);
    if (what === 'truncate') return before.slice(0, at);
    const behind = before.slice(what === 'insert' ? at : at + 1);
    return before.slice(0, at) + (what === 'remove' ? '' : char) + behind;
  }, text),
);

/** A 204 or 304 with a length is complete for cambist, as RFC 9110 section 8.6 allows, and aborted for undici. */
function isBodiless(ours: Outcome, theirs: Outcome): boolean {
  const asTheirs = { ...ours, end: 'aborted' };
  return [204, 304].includes(ours.status ?? 0) && ours.end === 'complete' && isDeepStrictEqual(asTheirs, theirs);
}

/** undici refuses an unexpected 100 Continue, and cambist drops it (RFC 9110 section 15.2). */
const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

const interim = fc.array(
  fc.constantFrom(CONTINUE, 'HTTP/1.1 102 Processing\r\n\r\n', 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'),
  { maxLength: 2 },
);
const method = fc.constantFrom('GET', 'GET', 'GET', 'HEAD', 'POST');

test('ends each request as undici does, except for responses without a body', async (t) => {
  const responses: string[] = [];
  const splits: number[] = [];
  // Sends the response with the number in the request's path, in two parts, and then closes.
  const { origin } = await startBareUpstream(t, async ({ socket }, headers) => {
    const id = Number(/^[A-Z]+ \/(\d+)/.exec(headers)?.[1]);
    const bytes = Buffer.from(responses[id] as string, 'latin1');
    const at = (splits[id] as number) % (bytes.length + 1);
    socket.write(bytes.subarray(0, at));
    await new Promise((resolve) => setImmediate(resolve));
    socket.end(bytes.subarray(at));
  });
  const ours = http1Dispatcher(t);
  const theirs = new Agent();
  t.after(() => theirs.destroy());
  const send = (dispatcher: Dispatcher, how: string, text: string, split: number): Promise<Outcome> => {
    splits.push(split);
    return request(dispatcher, origin, how, responses.push(text) - 1);
  };
  const ends = { complete: 0, aborted: 0 };
  await fc.assert(
    fc.asyncProperty(changed, interim, fc.nat(), method, async (text, before, split, how) => {
      const [our, their] = await Promise.all([
        send(ours, how, before.join('') + text, split),
        send(theirs, how, before.filter((each) => each !== CONTINUE).join('') + text, split),
      ]);
      ends[our.end] += 1;
      if (!isBodiless(our, their)) assert.deepEqual(our, their);
    }),
    { numRuns: 1500 },
  );
  assert.ok(ends.complete > 100 && ends.aborted > 100, `enough of both kinds: ${JSON.stringify(ends)}`);
});
