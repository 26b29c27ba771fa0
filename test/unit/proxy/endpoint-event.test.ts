import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createEndpointRewriter } from '../../../src/proxy/endpoint-event.ts';
import { fuzz } from '../../fuzz/targets/endpoint-event.ts';

function rewrite(url: string | undefined): string {
  if (url === undefined) throw new Error('malformed');
  return url.startsWith('/mcp/') ? `/github/${url.slice('/mcp/'.length)}` : url;
}

/** The rewritten stream of these pieces. */
function passed(...pieces: (string | Buffer)[]): string {
  const rewriter = createEndpointRewriter(rewrite);
  const parts = pieces.map((piece) => rewriter.push(Buffer.from(piece as string)));
  return Buffer.concat([...parts, rewriter.rest()]).toString('latin1');
}

/** The rewritten stream, or the error. Both do not depend on the pieces. */
function outcome(...pieces: Buffer[]): string {
  try {
    return passed(...pieces);
  } catch {
    return 'refused';
  }
}

test('rewrites the URL of each endpoint event', () => {
  for (const stream of [
    'event: endpoint\ndata: /mcp/m?s=1\n\nrest',
    'event:endpoint\r\ndata:/mcp/m\r\n\r\n',
    '\n\n: hello\nretry: 100\n\nevent: endpoint\nid: 1\n: c\ndata: /mcp/m\n\n',
    '\xef\xbb\xbfevent: endpoint\ndata: /mcp/m\n\n',
    'event: message\ndata: /other\n\nevent: endpoint\ndata: /mcp/m\n\n',
    'event: endpoint\ndata: /other\n\nevent: endpoint\ndata: /mcp/m\n\n',
    `event: endpoint\n${': c\n'.repeat(200)}data: /mcp/m\n\n`,
    // Clients that take the end of the stream for the end of the event.
    'event: endpoint\ndata: /mcp/m',
    'event: endpoint\ndata: /mcp/m\n',
  ]) {
    assert.equal(passed(Buffer.from(stream, 'latin1')), stream.replaceAll('/mcp/', '/github/'));
  }
});

/** White space of Unicode, JavaScript, Python, Go or Rust, and characters that some clients drop. */
const BLANKS = [' ', '\t', '\0', ...'\x1f\xa0\u1680\u2000\u200a\u200b\u202f\u205f\u3000\ufeff', ' '.repeat(80)];
/** White space for some clients, line ends for others. */
const LENIENT_ENDS = ['\r', ...'\v\f\x1c\x1d\x1e\x85\u2028\u2029'];

test('recognizes the name of an endpoint event between white space that some clients remove', () => {
  for (const blank of [...BLANKS, ...LENIENT_ENDS]) {
    const names = [`${blank}event: endpoint`, `event:${blank}endpoint`, `EVENT${blank}:Endpoint`];
    names.push(`x\vevent:${blank}endpoint`);
    if (BLANKS.includes(blank)) names.push(`event: endpoint${blank}`);
    for (const name of names) {
      const stream = Buffer.from(`${name}\ndata: /mcp/m\n\n`);
      const expected = stream.toString('latin1').replace('/mcp/', '/github/');
      for (const pieces of [[stream], [...stream].map((byte) => Buffer.of(byte))]) {
        assert.equal(passed(...pieces), expected, JSON.stringify(name));
      }
    }
  }
});

test('refuses an endpoint event with white space that some clients remove, where its data could be another', () => {
  for (const blank of [...BLANKS, ...LENIENT_ENDS]) {
    for (const stream of [
      `event: endpoint\n${blank}data: /mcp/m\n\n`,
      `event: endpoint\ndata${blank}: /mcp/m\n\n`,
      `event: endpoint\ndata: /mcp/m\n${blank}data: /mcp/n\n\n`,
      `${blank}data: /mcp/m\nevent: endpoint\n`,
      `data${blank}: /mcp/m\nevent: endpoint\n`,
      `data: /mcp/m\nevent: endpoint${blank}\n`,
    ]) {
      assert.equal(outcome(Buffer.from(stream)), 'refused', JSON.stringify(stream));
      assert.equal(outcome(...[...stream].map((each) => Buffer.from(each))), 'refused', JSON.stringify(stream));
    }
  }
});

test('keeps everything else unchanged', () => {
  for (const stream of [
    'event: message\ndata: /mcp/m\n\n',
    'data: /mcp/m\n\n',
    'event\ndata: /mcp/m\n\n',
    'event: endpoints\ndata: /mcp/m\n\n',
    'event: end\rpoints\ndata: /mcp/m\r\n\r\n',
    'data: /mcp/m\n\r\nevent: endpoints\n',
    'data: \u2028 event: endpoints\n\n',
    '{"event": "endpoint"}',
    '',
  ]) {
    assert.equal(passed(stream), Buffer.from(stream).toString('latin1'));
  }
});

test('refuses an endpoint event that clients could read differently', () => {
  for (const stream of [
    'event: endpoint\ndata: /mcp/m\ndata: /mcp/n\n\n',
    'event: endpoint\ndata\n\n',
    // Some clients keep the name until an event has data.
    'event: endpoint\n\ndata: /mcp/m\n\n',
    'event: endpoint\ndata:\n\ndata: /mcp/m\n\n',
    // Some clients end lines at \\n alone.
    'event: endpoint\rdata: /mcp/m\r\r',
    'event: endpoint\ndata: /mcp/m\r: c\n\n',
    'event: endpoint\ndata: x\r/mcp/m\n\n',
    'data: x\n\r\r\nevent: endpoint\n',
    'event: endpoint\n data: /mcp/m\n\n',
    'data: /mcp/m\nevent: endpoint\n',
    'data: /mcp/m\nevent: endpoint',
    'data: x\u2028event: endpoint\u2028data: /mcp/m\n\n',
    ':\u000bevent: endpoint\n',
    ...LENIENT_ENDS.map((end) => `event: endpoint${end}data: /mcp/m\n\n`),
    'event: endpoint\ndata: /mcp/m\n: \u2029data: /mcp/n\n\n',
    `event: endpoint\ndata: /mcp/${'x'.repeat(9000)}`,
  ]) {
    assert.throws(() => passed(stream), /malformed/, stream.slice(0, 80));
    assert.throws(() => passed(...stream), /malformed/, stream.slice(0, 80));
  }
});

test('passes a piece without an endpoint event as the same buffer', () => {
  const rewriter = createEndpointRewriter(rewrite);
  for (const chunk of [Buffer.of(0, 255, 13, 10, 128), Buffer.of(10, 10, 10)]) {
    assert.equal(rewriter.push(chunk), chunk);
  }
});

test('decodes nothing where no line names an endpoint event', (t) => {
  const rewriter = createEndpointRewriter(rewrite);
  const lines = ['\n', '\r', '\r\n', ': c\n', 'id: 1\n', 'data: é\n'];
  const chunks = lines.map((line) => Buffer.from(line.repeat(1000)));
  const decode = t.mock.method(Buffer.prototype, 'toString');
  for (const chunk of chunks) rewriter.push(chunk);
  assert.equal(decode.mock.callCount(), 0);
});

test('passes everything at once but the part of an endpoint event behind its name', () => {
  const rewriter = createEndpointRewriter(rewrite);
  const push = (text: string) => rewriter.push(Buffer.from(text)).toString();
  for (const text of [': keep-alive\n\n', 'event: message\nda', 'ta: x\n\nid: 7\nevent: endp', 'oint\n']) {
    assert.equal(push(text), text);
  }
  assert.equal(push('data: /mc'), '');
  assert.equal(push('p/m\n\n: x'), 'data: /github/m\n\n: x');
});

test('produces the same stream for any size of the pieces, and leaves no client another URL', () => {
  const line = fc.constantFrom('event: endpoint', 'event: message', 'data: /mcp/m', 'data: x', ': c', 'id: 1', '', 'ä');
  const end = fc.constantFrom('\n', '\r\n', '\r');
  const stream = fc.array(fc.tuple(line, end), { maxLength: 12 }).map((lines) => lines.flat().join(''));
  fc.assert(
    fc.property(fc.nat(255), stream, (size, text) => fuzz(Buffer.concat([Buffer.of(size), Buffer.from(text)]))),
    { numRuns: 5000 },
  );
});
