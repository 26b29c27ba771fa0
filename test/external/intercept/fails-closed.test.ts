import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { curlOf, HOST, type InterceptSetup, MCP_URL, runClient, startInterceptSetup } from './setup.ts';

/** The holes of another proxy: each fault must fail closed, with no token anywhere that it should not be. */
/** Prints the body as well. */
const showing = (curl: readonly string[]) => curl.filter((word) => word !== '-o' && word !== '/dev/null');

function assertNothingSent({ backend, leaks, cambist }: InterceptSetup): void {
  assert.equal(backend.requests.length, 0);
  leaks.assertNoLeak({ log: cambist.stdout(), stderr: cambist.stderr() });
}

test('an upstream whose certificate is not trusted gets an error, and no tunnel', async (t) => {
  const setup = await startInterceptSetup(t, {
    untrusted: true,
    top: { forward_proxy: { connect: ['*:443', `${HOST}:443`] } },
  });
  for (let times = 0; times < 2; times += 1) {
    const { stdout } = await runClient(setup, showing(curlOf(setup, MCP_URL)));
    assert.match(stdout, /ERR_UPSTREAM_TLS[\s\S]*502$/);
  }
  assert.equal(await setup.cambist.metric('cambist_tunnels_total'), 0);
  assertNothingSent(setup);
});

test('an agent that rejects the certificate gets no tunnel afterwards', async (t) => {
  const setup = await startInterceptSetup(t, { top: { forward_proxy: { connect: ['*:443', `${HOST}:443`] } } });
  const untrusting = { without: ['SSL_CERT_FILE', 'CURL_CA_BUNDLE'] };
  for (let times = 0; times < 3; times += 1) {
    const { code } = await runClient(setup, curlOf(setup, MCP_URL), untrusting);
    assert.equal(code, 60, 'curl does not trust the certificate');
  }
  const failures = () => setup.cambist.metric('cambist_handshake_failures_total', { cause: 'untrusted' });
  await eventually('each rejection is counted', async () => (await failures()) === 3);
  assert.equal(await setup.cambist.metric('cambist_tunnels_total'), 0);
  assertNothingSent(setup);
});

test('an agent that pins a certificate gets none but that of cambist', async (t) => {
  const setup = await startInterceptSetup(t);
  const pin = ['--pinnedpubkey', 'sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='];
  const { code } = await runClient(setup, curlOf(setup, MCP_URL, ...pin));
  assert.equal(code, 90, 'curl refuses the public key');
  assertNothingSent(setup);
});
