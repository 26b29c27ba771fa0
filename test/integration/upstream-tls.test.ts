import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { type Certificate, createCertificateAuthority } from '../harness/certificates.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { call } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { assertProblem } from '../harness/problem.ts';
import { echo } from '../harness/upstream-handlers.ts';

const authority = createCertificateAuthority();
const stranger = createCertificateAuthority('another CA');

interface Scene {
  readonly server: Certificate;
  /** What the upstream wants its clients' certificates to be signed by. */
  readonly clientCa?: string;
  /** PEM texts for the route's `tls`. */
  readonly ca?: string;
  readonly client?: Certificate;
}

async function start(t: TestContext, { server, clientCa, ca, client }: Scene) {
  const tls = { ...server, ...(clientCa !== undefined && { clientCa }) };
  const upstream = await startFakeUpstream(echo, { tls });
  t.after(upstream.close);
  const folder = await mkdtemp(join(tmpdir(), 'cambist-tls-'));
  t.after(() => rm(folder, { recursive: true }));
  const file = async (name: string, pem: string) => {
    await writeFile(join(folder, name), pem);
    return { file: join(folder, name) };
  };
  const keys = {
    ...(ca !== undefined && { ca: await file('ca.pem', ca) }),
    ...(client !== undefined && {
      certificate: await file('tls.crt', client.cert),
      private_key: await file('tls.key', client.key),
    }),
  };
  const app = await startTestApp(t, {
    routes: [
      {
        name: 'secure',
        match: { path: '/' },
        upstream: upstream.url,
        credential: 'none',
        ...(Object.keys(keys).length > 0 && { tls: keys }),
      },
    ],
  });
  return { app, upstream, folder };
}

test('a certificate of a CA that the route trusts is good', async (t) => {
  const { app } = await start(t, { server: authority.issueServer(), ca: authority.cert });
  assert.equal((await call(`${app.url}/x`)).status, 200);
});

test('a certificate that nobody vouches for, of another name, or past its end, gets no request', async (t) => {
  for (const [what, scene] of Object.entries({
    'no CA configured': { server: authority.issueServer() },
    'signed by another': { server: stranger.issueServer(), ca: authority.cert },
    'another name': { server: authority.issueServer({ hosts: ['example.com'] }), ca: authority.cert },
    expired: {
      server: authority.issueServer({ validFromSeconds: -7200, validUntilSeconds: -3600 }),
      ca: authority.cert,
    },
    'not yet valid': {
      server: authority.issueServer({ validFromSeconds: 3600, validUntilSeconds: 7200 }),
      ca: authority.cert,
    },
    'for clients': { server: authority.issueClient({ commonName: 'localhost' }), ca: authority.cert },
  })) {
    const { app, upstream } = await start(t, scene);
    assertProblem(await call(`${app.url}/x`), 'ERR_UPSTREAM_TLS');
    assert.equal(upstream.requests.length, 0, what);
  }
});

test('a client certificate is shown to an upstream that asks for one, and its end is a metric', async (t) => {
  const client = authority.issueClient();
  const scene = { server: authority.issueServer(), clientCa: authority.cert, ca: authority.cert, client };
  const { app } = await start(t, scene);
  assert.equal((await call(`${app.url}/x`)).status, 200);
  const end = sumSamples(await app.metrics(), 'cambist_credential_expiry_timestamp_seconds', {
    credential: 'route "secure"',
  });
  assert.ok(Math.abs(end - (Date.now() / 1000 + 3600)) < 60);
});

test('an upstream that asks for a client certificate, and gets none or that of a stranger, is not reached', async (t) => {
  const server = authority.issueServer();
  for (const client of [undefined, stranger.issueClient()]) {
    const scene = { server, clientCa: authority.cert, ca: authority.cert, ...(client !== undefined && { client }) };
    const { app, upstream } = await start(t, scene);
    const answered = await call(`${app.url}/x`);
    assert.equal(answered.status, 502);
    assert.match(JSON.parse(answered.text).code, /^ERR_UPSTREAM_(TLS|UNREACHABLE)$/);
    assert.equal(upstream.requests.length, 0);
  }
});

test('an upstream that speaks no TLS where it should is not trusted', async (t) => {
  const upstream = await startFakeUpstream(echo);
  t.after(upstream.close);
  const url = upstream.url.replace('http:', 'https:');
  const app = await startTestApp(t, {
    routes: [{ name: 'plain', match: { path: '/' }, upstream: url, credential: 'none' }],
  });
  assertProblem(await call(`${app.url}/x`), 'ERR_UPSTREAM_TLS');
});

test('a TLS file of ours that is missing, or holds something else, is our credential and not the upstream', async (t) => {
  const { app, folder } = await start(t, { server: authority.issueServer(), ca: authority.cert });
  for (const spoil of [() => rm(join(folder, 'ca.pem')), () => writeFile(join(folder, 'ca.pem'), 'no PEM')]) {
    await spoil();
    app.rereadTls();
    const answered = await call(`${app.url}/x`);
    assertProblem(answered, 'ERR_CREDENTIAL_UNAVAILABLE');
    assert.equal(answered.headers['retry-after'], '1');
    assert.ok(!answered.text.includes(folder));
  }
});

test('a CA that changed is trusted from the next connection on', async (t) => {
  const { app, folder } = await start(t, { server: authority.issueServer(), ca: stranger.cert });
  assertProblem(await call(`${app.url}/x`), 'ERR_UPSTREAM_TLS');
  await writeFile(join(folder, 'ca.pem'), authority.cert);
  app.rereadTls();
  assert.equal((await call(`${app.url}/x`)).status, 200);
});
