import assert from 'node:assert/strict';
import { constants } from 'node:http2';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { authority, authorityFile } from '../harness/http2-gateway.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { assertProblem } from '../harness/problem.ts';
import { type RawStream, startRawHttp2 } from '../harness/raw-http2.ts';

const CODES = ['NO_ERROR', 'INTERNAL_ERROR', 'REFUSED_STREAM', 'CANCEL', 'ENHANCE_YOUR_CALM'] as const;
const code = (name: (typeof CODES)[number]): number => constants[`NGHTTP2_${name}`];

/** An app with an upstream whose responses break the protocol or break off. */
async function startBroken(t: TestContext, respond: (stream: RawStream) => void) {
  const upstream = await startRawHttp2(authority.issueServer(), respond);
  t.after(upstream.close);
  const tls = { ca: { file: await authorityFile(t) } };
  const route = { name: 'raw', match: { path: '/' }, upstream: upstream.url, credential: 'none', http2: true, tls };
  return { app: await startTestApp(t, { routes: [route] }), upstream };
}

/** Everything that a caller receives until the connection ends. */
async function receive(url: string, method = 'GET'): Promise<string> {
  const connection = await connectRaw(url);
  connection.send(`${method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n`);
  return soon('the connection ends', connection.closed());
}

for (const name of CODES) {
  for (const [framing, length] of [
    ['with a length', 1000],
    ['without a length', undefined],
  ] as const) {
    for (const part of ['half of it', '']) {
      const where = part === '' ? 'right after its headers' : 'half-way';
      test(`never completes a response ${framing} that the upstream resets ${where} with ${name}`, async (t) => {
        const { app } = await startBroken(t, (stream) => {
          stream.head(length);
          if (part !== '') stream.data(part);
          setTimeout(() => stream.reset(code(name)), 20);
        });
        for (const method of ['GET', 'POST']) {
          const all = await receive(app.url, method);
          assert.match(all, /^HTTP\/1\.1 200 /);
          assert.ok(all.includes(part));
          assert.doesNotMatch(all, /0\r\n\r\n$/);
        }
        await eventually('both are logged', () => app.logs.filter(({ msg }) => msg === 'request').length === 2);
        const cut = { route: 'raw', aborted_by: 'upstream' };
        assert.equal(sumSamples(await app.metrics(), 'cambist_requests_aborted_total', cut), 2);
        for (const { aborted_by } of app.logs.filter(({ msg }) => msg === 'request'))
          assert.equal(aborted_by, 'upstream');
      });
    }
  }

  test(`fails a request whose stream is reset with ${name} before the response, and sends it once`, async (t) => {
    const { app, upstream } = await startBroken(t, (stream) => stream.reset(code(name)));
    assertProblem(await soon('the response', call(`${app.url}/`, { body: '{}' })), 'ERR_UPSTREAM_UNREACHABLE');
    assert.deepEqual(upstream.streams, [1]);
    assert.match(app.logText(), new RegExp(`the stream closed with error code ${code(name)} `));
  });

  test(`never completes a response that is reset with ${name} while its caller does not read`, async (t) => {
    const big = 'x'.repeat(16_384);
    const { app } = await startBroken(t, (stream) => {
      stream.head();
      // The initial flow-control window (RFC 9113 section 6.9.2).
      for (let i = 0; i < 3; i += 1) stream.data(big);
      setTimeout(() => stream.reset(code(name)), 100);
    });
    const connection = await connectRaw(app.url);
    connection.socket.pause();
    connection.send('GET / HTTP/1.1\r\nHost: h\r\n\r\n');
    await new Promise((resolve) => setTimeout(resolve, 300));
    connection.socket.resume();
    const all = await soon('the connection ends', connection.closed());
    assert.match(all, /^HTTP\/1\.1 200 /);
    assert.doesNotMatch(all, /0\r\n\r\n$/);
  });
}

test('refuses a response with an invalid status', async (t) => {
  // `:status` by its index in the static table, with a literal value of three digits (RFC 7541 section 6.2.2).
  const { app } = await startBroken(t, (stream) => stream.block(Buffer.from('\x08\x03099', 'latin1')));
  assertProblem(await soon('the response', call(app.url)), 'ERR_UPSTREAM_UNREACHABLE');
});
