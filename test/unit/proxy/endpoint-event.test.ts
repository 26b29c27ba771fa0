import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createEndpointRewriter } from '../../../src/proxy/endpoint-event.ts';

const rewrite = (url: string) => (url.startsWith('/mcp/') ? `/github/${url.slice('/mcp/'.length)}` : undefined);

/** The rewritten stream of these pieces. */
function passed(...pieces: (string | Buffer)[]): string {
  const rewriter = createEndpointRewriter(rewrite);
  const parts = pieces.map((piece) => rewriter.push(Buffer.from(piece as string)));
  return Buffer.concat([...parts, rewriter.rest()]).toString('latin1');
}

test('rewrites the URL of the first event for all line ends and field orders', () => {
  for (const [stream, expected] of [
    ['event: endpoint\ndata: /mcp/m?s=1\n\nrest', 'event: endpoint\ndata: /github/m?s=1\n\nrest'],
    ['event:endpoint\r\ndata:/mcp/m\r\n\r\n', 'event:endpoint\r\ndata:/github/m\r\n\r\n'],
    ['event: endpoint\rdata: /mcp/m\r\r', 'event: endpoint\rdata: /github/m\r\r'],
    ['data: /mcp/m\nid: 1\nevent: endpoint\n: c\n\n', 'data: /github/m\nid: 1\nevent: endpoint\n: c\n\n'],
    [
      '\n\n: hello\nretry: 100\n\nevent: endpoint\ndata: /mcp/m\n\n',
      '\n\n: hello\nretry: 100\n\nevent: endpoint\ndata: /github/m\n\n',
    ],
    ['\xef\xbb\xbfevent: endpoint\ndata: /mcp/m\n\n', '\xef\xbb\xbfevent: endpoint\ndata: /github/m\n\n'],
    ['event: endpoint\n\nevent: endpoint\ndata: /mcp/m\n\n', 'event: endpoint\n\nevent: endpoint\ndata: /github/m\n\n'],
  ] as const) {
    assert.equal(passed(Buffer.from(stream, 'latin1')), expected);
  }
});

test('keeps everything else unchanged', () => {
  for (const stream of [
    'event: message\ndata: /mcp/m\n\nevent: endpoint\ndata: /mcp/m\n\n',
    'data: /mcp/m\n\nevent: endpoint\ndata: /mcp/m\n\n',
    'event: endpoint\ndata: /other\n\nevent: endpoint\ndata: /mcp/m\n\n',
    'event: endpoint\ndata: /mcp/m\ndata: /mcp/n\n\n',
    'event: endpoint \ndata: /mcp/m\n\n',
    'event: Endpoint\ndata: /mcp/m\n\n',
    'event\ndata: /mcp/m\n\n',
    ' event: endpoint\ndata: /mcp/m\n\n',
    'event: endpoint\ndata:  /mcp/m\n\n',
    'event: endpoint\ndata\n\n',
    'event: endpoint\ndata: /mcp/m',
    'event: endpoint\ndata: /mcp/m\n',
    '{"event": "endpoint"}',
    '',
  ]) {
    assert.equal(passed(stream), stream);
  }
});

test('passes later events as the same buffers', () => {
  const rewriter = createEndpointRewriter(rewrite);
  rewriter.push(Buffer.from('event: message\n'));
  const chunk = Buffer.from([0, 255, 13, 10, 128]);
  assert.equal(rewriter.push(chunk), chunk);
});

test('passes comments and blank lines before the event at once', () => {
  const rewriter = createEndpointRewriter(rewrite);
  const push = (text: string) => rewriter.push(Buffer.from(text)).toString();
  assert.equal(push(': keep-alive\n\n'), ': keep-alive\n\n');
  assert.equal(push('retry: 1000\n\n'), 'retry: 1000\n\n');
  assert.equal(push('id: 7\nevent: endp'), 'id: 7\n');
  assert.equal(push('oint\n'), '');
  assert.equal(push('data: /mcp/m\n\n: x'), 'event: endpoint\ndata: /github/m\n\n: x');
});

test('passes a first event of another type as soon as its type is known', () => {
  const rewriter = createEndpointRewriter(rewrite);
  assert.equal(rewriter.push(Buffer.from('event: message\nda')).toString(), 'event: message\nda');
});

test('buffers an incomplete first event up to a limit', () => {
  const rewriter = createEndpointRewriter(rewrite);
  const long = `event: endpoint\ndata: /mcp/${'x'.repeat(8000)}`;
  assert.equal(rewriter.push(Buffer.from(long)).length, 0);
  const more = 'y'.repeat(500);
  assert.ok(rewriter.push(Buffer.from(more)).toString() === long + more);
  assert.equal(rewriter.push(Buffer.from('\n\n')).toString(), '\n\n');
});

test('produces the same stream for any division into pieces', () => {
  const line = fc.constantFrom('event: endpoint', 'event: message', 'data: /mcp/m', 'data: x', ': c', 'id: 1', '', 'ä');
  const end = fc.constantFrom('\n', '\r\n', '\r');
  const stream = fc.array(fc.tuple(line, end), { maxLength: 12 }).map((lines) => lines.flat().join(''));
  fc.assert(
    fc.property(stream, fc.array(fc.nat(200), { maxLength: 10 }), (text, cuts) => {
      const bytes = Buffer.from(text);
      const at = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)).sort((a, b) => a - b), bytes.length];
      const pieces = at.slice(1).map((to, index) => bytes.subarray(at[index], to));
      assert.equal(passed(...pieces), passed(bytes));
    }),
    { numRuns: 5000 },
  );
});

test('counts the lines of each event without data apart, however the stream is divided', () => {
  const start = `event: endpoint\n${'id: 1\n'.repeat(20)}\n`;
  const event = `event: endpoint\n${'id: 1\n'.repeat(20)}data: /mcp/m\n\n`;
  const expected = start + event.replace('/mcp/', '/github/');
  assert.equal(passed(start + event), expected);
  assert.equal(passed(start, event), expected);
});

test('reads a first event of at most 32 lines and forwards a longer one unchanged', () => {
  const lines = (comments: number) => `event: endpoint\n${':\n'.repeat(comments)}data: /mcp/m\n\n`;
  const one = [...lines(30)];
  assert.equal(passed(...one), lines(30).replace('/mcp/', '/github/'));
  assert.equal(passed(lines(40)), lines(40));
  assert.equal(passed(...lines(40)), lines(40));
  const comments = ':\n'.repeat(100);
  assert.equal(passed(comments, ...lines(1)), comments + lines(1).replace('/mcp/', '/github/'));
});
