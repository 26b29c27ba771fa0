import assert from 'node:assert/strict';
import { test } from 'node:test';
import { soon } from '../../harness/eventually.ts';
import { SETUP_ROUTE, startFakeSetup } from '../../harness/fake-setup.ts';
import { connectRaw } from '../../harness/http-call.ts';

const EVENT = 'data: one\n\n';

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
    raw.send(`POST /${SETUP_ROUTE} HTTP/1.1\r\nHost: agent\r\nAuthorization: ${authorization}\r\n\r\n`);
    const bytes = await soon('the connection ends', raw.closed());
    assert.ok(bytes.includes(EVENT));
    assert.ok(!bytes.endsWith('0\r\n\r\n'), 'the last chunk says that the stream is whole');
  });
}
