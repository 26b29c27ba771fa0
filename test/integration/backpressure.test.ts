import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientRequest, request } from 'node:http';
import { test } from 'node:test';
import { sendResponse } from '../harness/faults.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';

const TOTAL_BYTES = 20 * 1024 * 1024;
const CHUNK = Buffer.alloc(64 * 1024, 'x');

/** Writes whenever the socket accepts data. `sentBytes` stops growing when the receiver stops reading. */
function upload(sent: ClientRequest): { sentBytes(): number } {
  let bytes = 0;
  const go = (): void => {
    while (bytes < TOTAL_BYTES) {
      bytes += CHUNK.length;
      if (!sent.write(CHUNK)) {
        sent.once('drain', go);
        return;
      }
    }
    sent.end();
  };
  go();
  return { sentBytes: () => bytes };
}

test('relays a response that arrives before the upload is complete', async (t) => {
  const { app } = await startPlainGateway(t, {
    handler(received, response) {
      received.message.once('data', () => sendResponse(response, 413, 'too large'));
    },
  });
  const sent = request(`${app.url}/plain`, { method: 'POST', agent: false });
  const { sentBytes } = upload(sent);
  const [response] = await once(sent, 'response');
  let text = '';
  for await (const chunk of response) text += chunk;
  assert.deepEqual([response.statusCode, text], [413, 'too large']);
  assert.ok(sentBytes() < TOTAL_BYTES, 'the upload was complete before the response arrived');
  sent.on('error', () => {});
  sent.destroy();
});

test('responds with an error in the middle of an upload', async (t) => {
  const { app } = await startGateway(t, {
    moreRoutes: [{ name: 'nowhere', match: { path: '/nowhere' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
  });
  for (const [path, status, code] of [
    ['/nowhere', 502, 'ERR_UPSTREAM_UNREACHABLE'],
    ['/github', 401, 'ERR_SUBJECT_TOKEN_MISSING'],
    ['/other', 403, 'ERR_ROUTE_NOT_FOUND'],
  ] as const) {
    const sent = request(`${app.url}${path}`, { method: 'POST', agent: false });
    upload(sent);
    const [response] = await once(sent, 'response');
    let text = '';
    for await (const chunk of response) text += chunk;
    assert.deepEqual([response.statusCode, JSON.parse(text).code], [status, code]);
    sent.on('error', () => {});
    sent.destroy();
  }
});
