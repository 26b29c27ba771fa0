import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, IncomingMessage } from 'node:http';
import { connect, Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { type BodySource, readWhole, takeBody } from '../../../src/proxy/request-body.ts';
import { soon } from '../../harness/eventually.ts';
import { serve } from '../../harness/http-server.ts';

const CHUNKED = { 'transfer-encoding': 'chunked' };
const WHOLE = Buffer.from('helloworld');

/** A request whose body the test pushes. */
function requestWith(headers: Readonly<Record<string, string>>): IncomingMessage {
  const request = new IncomingMessage(new Socket());
  Object.assign(request.headers, headers);
  return request;
}

function sourceOf(incoming: IncomingMessage): BodySource {
  return { incoming, waitForBody: (reading) => reading };
}

function pushAll(request: IncomingMessage, ...chunks: string[]): void {
  for (const chunk of chunks) request.push(chunk);
  request.complete = true;
  request.push(null);
}

const leave = (request: IncomingMessage) => request.destroy(new Error('aborted'));
const isHandled = (error: unknown) => error instanceof CambistError;

test('replays a request without a body', async () => {
  for (const headers of [{}, { 'content-length': '0' }]) {
    const body = await takeBody(sourceOf(requestWith(headers)), 10);
    assert.equal(body.content, null);
    assert.equal(body.replay(), null);
  }
});

test('reads a small body whole and replays it, whether it arrives with the headers or later in pieces', async () => {
  for (const turns of [[['helloworld']], [['hello', 'world']], [['hello'], ['world']], [[], ['hello', 'world']]]) {
    const request = requestWith({ 'content-length': '10' });
    const taken = takeBody(sourceOf(request), 10);
    for (const [index, pieces] of turns.entries()) {
      if (index > 0) await new Promise(setImmediate);
      for (const piece of pieces) request.push(piece);
    }
    pushAll(request);
    const body = await taken;
    assert.deepEqual([body.content, body.replay()], [WHOLE, WHOLE], JSON.stringify(turns));
    await new Promise(setImmediate);
    assert.equal(request.readableEnded, true);
  }
});

test('does not wait for a body that arrived with its headers, and reads on to the end of the request', async (t) => {
  const server = createServer();
  const { port } = await serve(t, server);
  let waits = 0;
  const taken = new Promise<[IncomingMessage, unknown]>((resolve, reject) => {
    server.on('request', (incoming) => {
      const waitForBody = <Read>(reading: Promise<Read>) => {
        waits += 1;
        return reading;
      };
      readWhole({ incoming, waitForBody }, 10).then((body) => resolve([incoming, body]), reject);
    });
  });
  connect(port).write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhelloworld');
  const [incoming, body] = await taken;
  assert.deepEqual([body, waits], [WHOLE, 0]);
  if (!incoming.readableEnded) await soon('the end', once(incoming, 'end'));
  assert.equal(incoming.complete, true);
});

test('rejects a body that is larger than its Content-Length', async () => {
  const request = requestWith({ 'content-length': '9' });
  pushAll(request, 'hello', 'world');
  assert.equal(await readWhole(sourceOf(request), 9), undefined);
});

for (const [headers, limit, isReplayed] of [
  [{ 'content-length': '10' }, 9, false],
  [{ 'content-length': '10' }, 0, false],
  [CHUNKED, 10, true],
  [CHUNKED, 9, false],
  [CHUNKED, 0, false],
] as const) {
  const replays = isReplayed ? 'replays it once it is read' : 'does not replay it';
  test(`streams ${JSON.stringify(headers)} with a limit of ${limit}, and ${replays}`, async () => {
    const request = requestWith(headers);
    const taken = takeBody(sourceOf(request), limit);
    pushAll(request, 'hello', 'world');
    const body = await taken;
    assert.equal(body.replay(), undefined);
    assert.equal(await text(body.content as AsyncIterable<Buffer>), 'helloworld');
    assert.deepEqual(body.replay(), isReplayed ? WHOLE : undefined);
  });
}

test('keeps the connection of the caller open when a streaming body is not read to the end', async () => {
  const request = requestWith(CHUNKED);
  const taken = takeBody(sourceOf(request), 10);
  request.push('hello');
  const body = await taken;
  for await (const _chunk of body.content as AsyncIterable<Buffer>) break;
  assert.equal(request.destroyed, false);
  assert.equal(body.replay(), undefined);
});

test('resolves a streaming body with its first bytes or when it is complete', async () => {
  for (const pieces of [['hello', ' world'], []]) {
    const request = requestWith(CHUNKED);
    let isThere = false;
    const taken = Promise.resolve(takeBody(sourceOf(request), 20)).finally(() => {
      isThere = true;
    });
    await new Promise(setImmediate);
    assert.equal(isThere, false);
    const [first, ...rest] = pieces;
    if (first === undefined) pushAll(request);
    else request.push(first);
    const body = await taken;
    if (first !== undefined) pushAll(request, ...rest);
    assert.equal(await text(body.content as AsyncIterable<Buffer>), pieces.join(''));
    assert.deepEqual(body.replay(), Buffer.from(pieces.join('')));
  }
});

test('handles a caller that leaves before its body or within it', async () => {
  const ten = { 'content-length': '10' };
  for (const [headers, ...pieces] of [[ten], [{ 'content-length': '11' }], [CHUNKED], [ten, 'hello']] as const) {
    const request = requestWith(headers);
    const taken = takeBody(sourceOf(request), 10);
    for (const piece of pieces) request.push(piece);
    leave(request);
    await assert.rejects(async () => taken, isHandled, JSON.stringify([headers, ...pieces]));
  }
});

test('handles a caller that left before its body is read, without waiting for the rest', async () => {
  const request = requestWith({ 'content-length': '10' });
  leave(request.on('error', () => {}));
  await new Promise(setImmediate);
  await assert.rejects(soon('the error', readWhole(sourceOf(request), 10)), isHandled);
});
