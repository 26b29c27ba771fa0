import assert from 'node:assert/strict';
import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { takeBody } from '../../../src/proxy/request-body.ts';

/** A request whose body the test pushes. */
function requestWith(headers: Record<string, string>): IncomingMessage {
  const request = new IncomingMessage(new Socket());
  Object.assign(request.headers, headers);
  return request;
}

function pushAll(request: IncomingMessage, ...chunks: string[]): void {
  for (const chunk of chunks) request.push(Buffer.from(chunk));
  request.push(null);
}

async function read(content: Buffer | AsyncIterable<Buffer> | null): Promise<string> {
  if (content === null || Buffer.isBuffer(content)) return String(content);
  const chunks: Buffer[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

test('a request without a body has none, and can be sent again', async () => {
  for (const headers of [{}, { 'content-length': '0' }]) {
    const body = await takeBody(requestWith(headers), 10);
    assert.equal(body.content, null);
    assert.equal(body.replay(), null);
  }
});

test('a body that says it is small is read whole, and can be sent again', async () => {
  const request = requestWith({ 'content-length': '10' });
  const taken = takeBody(request, 10);
  pushAll(request, 'hello', 'world');
  const body = await taken;
  assert.deepEqual(body.content, Buffer.from('helloworld'));
  assert.deepEqual(body.replay(), Buffer.from('helloworld'));
});

test('a body that says it is larger than the limit streams, and cannot be sent again', async () => {
  const request = requestWith({ 'content-length': '11' });
  const body = await takeBody(request, 10);
  pushAll(request, 'hello', ' world');
  assert.equal(await read(body.content), 'hello world');
  assert.equal(body.replay(), undefined);
});

test('a chunked body streams, and can be sent again once it has ended within the limit', async () => {
  const request = requestWith({ 'transfer-encoding': 'chunked' });
  const body = await takeBody(request, 10);
  pushAll(request, 'hello', 'world');
  assert.equal(body.replay(), undefined);
  assert.equal(await read(body.content), 'helloworld');
  assert.deepEqual(body.replay(), Buffer.from('helloworld'));
});

test('a chunked body that grows past the limit goes on, and cannot be sent again', async () => {
  const request = requestWith({ 'transfer-encoding': 'chunked' });
  const body = await takeBody(request, 9);
  pushAll(request, 'hello', 'world');
  assert.equal(await read(body.content), 'helloworld');
  assert.equal(body.replay(), undefined);
});

test('with a limit of 0 nothing is kept', async () => {
  const sized = requestWith({ 'content-length': '1' });
  const chunked = requestWith({ 'transfer-encoding': 'chunked' });
  for (const request of [sized, chunked]) {
    const body = await takeBody(request, 0);
    pushAll(request, 'x');
    assert.equal(await read(body.content), 'x');
    assert.equal(body.replay(), undefined);
  }
});

test('whoever stops reading a streaming body early does not end the connection to the caller', async () => {
  const request = requestWith({ 'transfer-encoding': 'chunked' });
  const body = await takeBody(request, 10);
  request.push(Buffer.from('hello'));
  for await (const _chunk of body.content as AsyncIterable<Buffer>) break;
  assert.equal(request.destroyed, false);
  assert.equal(body.replay(), undefined);
});

test('a caller that goes away while its body is read is an error of ours, and not an unhandled one', async () => {
  const request = requestWith({ 'content-length': '10' });
  const taken = takeBody(request, 10);
  request.push(Buffer.from('hello'));
  request.destroy(new Error('aborted'));
  await assert.rejects(
    async () => taken,
    (error) => error instanceof CambistError,
  );
});
