import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually, soon } from '../../harness/eventually.ts';
import { SETUP_ROUTE, startFakeSetup } from '../../harness/fake-setup.ts';
import type { UpstreamHandler } from '../../harness/fake-upstream.ts';
import { connectRaw } from '../../harness/http-call.ts';
import { neverRespond } from '../../harness/upstream-handlers.ts';

const WITHIN_MS = 1_000;
const EVENT = 'data: one\n\n';

function request(authorization: string, lines = ''): string {
  return `POST /${SETUP_ROUTE} HTTP/1.1\r\nHost: agent\r\nAuthorization: ${authorization}\r\n${lines}\r\n`;
}

const openStream: UpstreamHandler = (_request, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(EVENT);
};

for (const [when, handler, lines, heard] of [
  ['before the response', neverRespond, '', undefined],
  ['in the middle of an event stream', openStream, '', EVENT],
  ['in the middle of its own body', neverRespond, 'Content-Length: 1000000\r\n', undefined],
] as const) {
  for (const how of ['closes', 'resets'] as const) {
    test(`a client that ${how} its connection ${when} causes the upstream request to close within a second`, async (t) => {
      const setup = await startFakeSetup();
      t.after(setup.close);
      setup.upstream.handler = handler;
      const { authorization } = await setup.bearer();
      const client = await connectRaw(setup.cambist.url);
      client.send(request(authorization, lines));
      if (lines !== '') client.send('the first of it');
      if (heard !== undefined) await client.until(heard);
      await eventually('the upstream is asked', () => setup.upstream.requests.length === 1);
      const { gone } = setup.upstream.requests[0] ?? assert.fail();
      if (how === 'closes') client.socket.destroy();
      else client.socket.resetAndDestroy();
      await soon('the upstream request ends', gone, WITHIN_MS);
    });
  }
}

test('sends nothing upstream when the client disconnects during the exchange', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  setup.authorizationServer.behaviour = { kind: 'issue', delayMs: 300 };
  const client = await connectRaw(setup.cambist.url);
  client.send(request((await setup.bearer()).authorization));
  await eventually('the exchange is in flight', () => setup.authorizationServer.requests.length === 1);
  client.socket.destroy();
  await setup.cambist.waitForLog(({ outcome }) => outcome === 'cancelled');
  await delay(600);
  assert.equal(setup.upstream.requests.length, 0);
});

for (const [framing, headers] of [
  ['chunked', {}],
  ['with a length', { 'content-length': '1000' }],
] as const) {
  test(`never completes a response that breaks off, ${framing}`, async (t) => {
    const setup = await startFakeSetup();
    t.after(setup.close);
    setup.upstream.handler = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream', ...headers });
      response.write(EVENT, () => setTimeout(() => response.socket?.resetAndDestroy(), 50));
    };
    const { authorization } = await setup.bearer();
    const answer = await setup.open({ headers: { authorization } });
    let text = '';
    await assert.rejects(
      (async () => {
        for await (const chunk of answer) text += String(chunk);
      })(),
      { code: 'ECONNRESET' },
    );
    assert.equal(text, EVENT);

    const raw = await connectRaw(setup.cambist.url);
    raw.send(request(authorization));
    const bytes = await soon('the connection ends', raw.closed());
    assert.ok(bytes.includes(EVENT));
    assert.ok(!bytes.endsWith('0\r\n\r\n'), 'the last chunk says that the stream is whole');
  });
}
