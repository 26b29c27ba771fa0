import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { CambistError } from '../../../src/errors.ts';
import { createWorkloadApi, type WorkloadApi, type WorkloadApiOptions } from '../../../src/spiffe/workload-api.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { deferred, eventually, soon } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import {
  der,
  type FakeSpiffeAgent,
  jwtSvid,
  message,
  startSpiffeAgent,
  svidParts,
  x509SvidResponse,
} from '../../harness/spiffe-agent.ts';

const ID = 'spiffe://example.org/gateway';
const OTHER_ID = 'spiffe://example.org/other';
const AUDIENCE = 'https://idp.example.com';
const WITHDRAWN = { code: status.PERMISSION_DENIED, details: 'no identity issued' };
const authority = createCertificateAuthority('example.org');
const other = createCertificateAuthority('other.example');

/** A new certificate at each call. */
function response(id = ID, federated: Parameters<typeof x509SvidResponse>[1] = [], validUntilSeconds = 3600): Buffer {
  const certificate = authority.issueClient({ hosts: [id], validUntilSeconds });
  return x509SvidResponse([svidParts(id, certificate, authority.cert)], federated);
}

async function start(
  t: TestContext,
  first: Parameters<FakeSpiffeAgent['send']>[0] = response(),
  options: Partial<WorkloadApiOptions> = {},
) {
  const agent = await startSpiffeAgent(t);
  agent.send(first);
  const clock = createFakeClock(Date.now());
  /** Log lines, with the texts of their errors. */
  const lines: string[] = [];
  const write = (fields: { readonly err?: unknown }, text: string): void => {
    const { err } = fields;
    const cause =
      err instanceof Error ? `: ${err.message} (${err.cause instanceof Error ? err.cause.message : ''})` : '';
    lines.push(`${text}${cause}`);
  };
  const { address } = agent;
  const api = createWorkloadApi({ address, clock, logger: { info: write, warn: write }, retryMs: 20, ...options });
  t.after(api.close);
  return { agent, api, clock, lines };
}

const certificate = (api: WorkloadApi): string | undefined => api.svid()?.certificate;
const isUnavailable = (text: RegExp) => (error: unknown) =>
  error instanceof CambistError && error.code === 'ERR_CREDENTIAL_UNAVAILABLE' && text.test(error.message);

test('follows each new certificate and bundle', async (t) => {
  const { agent, api, lines } = await start(t);
  await soon('the first SVID', api.ready);
  await api.prepare();
  assert.equal(api.svid()?.spiffeId.id, ID);
  assert.deepEqual([...api.bundles().keys()], ['example.org']);
  assert.deepEqual(api.status(), { isUp: true, expiresAtMs: api.svid()?.expiresAtMs });

  const first = certificate(api);
  let changes = 0;
  const end = api.changed(() => changes++);
  agent.send(response(ID, [['spiffe://other.example', der(other.cert)]]));
  await eventually('the second SVID', () => certificate(api) !== first);
  assert.equal(changes, 1);
  assert.deepEqual([...api.bundles().keys()].sort(), ['example.org', 'other.example']);

  end();
  agent.send(response());
  await eventually('the bundle is gone', () => api.bundles().size === 1);
  assert.equal(changes, 1);
  assert.equal(agent.streams, 1);
  assert.deepEqual(lines, []);
});

test('waits for an agent that starts later', async (t) => {
  const { agent, api, lines } = await start(t);
  api.close();
  agent.stop();
  const late = createWorkloadApi({
    address: agent.address,
    clock: createFakeClock(Date.now()),
    logger: { info: (_, text) => lines.push(text), warn: (_, text) => lines.push(text) },
    retryMs: 20,
  });
  t.after(late.close);
  await assert.rejects(late.prepare(), isUnavailable(/has not sent an SVID yet/));
  await eventually('a log line', () => lines.length > 0);
  await assert.rejects(late.prepare(), isUnavailable(/is unavailable: check that it runs/));
  assert.deepEqual(late.status(), { isUp: false, expiresAtMs: undefined });
  assert.equal(late.svid(), undefined);
  await agent.start();
  await soon('the first SVID', late.ready);
  assert.deepEqual(lines, ['no SVID from the SPIFFE agent; retrying', 'SPIFFE agent is available']);
});

test('keeps the certificate while the agent is gone, until it expires, and says so once', async (t) => {
  const { agent, api, clock, lines } = await start(t);
  await soon('the first SVID', api.ready);
  const first = certificate(api);
  agent.stop();
  await eventually('a log line', () => lines.length > 0);
  assert.equal(certificate(api), first);
  assert.equal(api.bundles().size, 1);
  assert.equal(api.status().isUp, false);
  assert.match(
    lines[0] ?? '',
    /^lost the SPIFFE agent; keeping the SVID until it expires: spiffe: the agent at "unix:\/\/\/.*" is unavailable/,
  );

  clock.advance((api.svid()?.expiresAtMs ?? 0) - clock.wallMs());
  assert.equal(api.svid(), undefined);
  await assert.rejects(api.prepare(), isUnavailable(/is unavailable/));
  await eventually('a second log line', () => lines.length > 1);
  assert.match(lines[1] ?? '', /^no SVID from the SPIFFE agent; retrying/);

  agent.send(response(ID, [], 7200));
  await agent.start();
  await eventually('the next SVID', () => api.status().isUp);
  assert.notEqual(certificate(api), first);
  assert.equal(lines.at(-1), 'SPIFFE agent is available');
  assert.equal(lines.length, 3);
});

test('says when the agent accepts connections and does not respond, at the start and later', async (t) => {
  const folder = temporaryFolder(t);
  const address = `unix://${join(folder, 'agent.sock')}`;
  const sockets = new Set<Socket>();
  let hangs = true;
  const { agent, api, lines } = await start(t, response(), { address, responseMs: 300, pingMs: 100 });
  const server = createServer((from) => {
    const to = connect(agent.address.slice('unix://'.length));
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      sockets.add(one);
      one
        .on('data', (bytes) => hangs || other.write(bytes))
        .on('error', () => {})
        .on('close', () => other.destroy());
    }
  });
  t.after(() => server.close());
  server.listen(join(folder, 'agent.sock'));
  await eventually('a call without a response', () => lines.some((line) => line.includes('(CANCELLED')));
  assert.ok(lines.every((line) => line.startsWith('no SVID from the SPIFFE agent; retrying: ')));

  hangs = false;
  for (const socket of sockets) socket.destroy();
  await eventually('the first SVID', () => api.status().isUp);
  hangs = true;
  await eventually('the agent is lost', () => !api.status().isUp);
  assert.match(lines.at(-1) ?? '', /^lost the SPIFFE agent; keeping the SVID until it expires: .*UNAVAILABLE/);
});

for (const [what, bad, reason] of [
  ['an empty update', Buffer.alloc(0), /sent an invalid SVID: the response has no SVID/],
  ['a malformed update', Buffer.from('hello'), /sent an invalid SVID: the response is malformed/],
  ['an update that is larger than 4 MiB', Buffer.alloc(5 * 1024 * 1024), /is unavailable.*RESOURCE_EXHAUSTED/],
  ['an error', { code: status.INTERNAL, details: 'oops' }, /is unavailable.*\(INTERNAL: oops\)/],
] as const) {
  test(`keeps the certificate after ${what}, and asks the agent again`, async (t) => {
    const { agent, api, lines } = await start(t);
    await soon('the first SVID', api.ready);
    const first = certificate(api);
    agent.send(bad);
    await eventually('a second attempt', () => agent.streams > 2);
    assert.equal(certificate(api), first);
    assert.equal(api.status().isUp, false);
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? '', reason);
    agent.send(response());
    await eventually('the next SVID', () => api.status().isUp);
    assert.notEqual(certificate(api), first);
  });
}

test('refuses SVIDs of a trust domain whose bundle is invalid, and says so once', async (t) => {
  const federated = [['spiffe://other.example', Buffer.from('x')]] as const;
  const { agent, api, lines } = await start(t, response(ID, federated));
  await soon('the first SVID', api.ready);
  const first = certificate(api);
  agent.send(response(ID, federated));
  await eventually('the second SVID', () => certificate(api) !== first);
  assert.deepEqual([...api.bundles().keys()], ['example.org']);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /bundle of spiffe:\/\/other\.example is invalid/);
});

test('stops using an identity that the agent withdraws', async (t) => {
  const { agent, api, lines } = await start(t);
  await soon('the first SVID', api.ready);
  agent.onJwt(() => token(300));
  await api.jwtSvid(AUDIENCE);
  agent.send(WITHDRAWN);
  await eventually('no SVID', () => api.svid() === undefined);
  assert.equal(api.bundles().size, 0);
  await assert.rejects(api.prepare(), isUnavailable(/has no identity for this process: register an entry/));
  assert.match(lines[0] ?? '', /PERMISSION_DENIED: no identity issued/);
  agent.onJwt(() => WITHDRAWN);
  await assert.rejects(api.jwtSvid(AUDIENCE), isUnavailable(/has no identity/));
});

const token = (seconds: number, id = ID, more = {}): Buffer => {
  const claims = { sub: id, aud: [AUDIENCE], exp: Math.floor(Date.now() / 1000) + seconds, ...more };
  return message([1, message([1, id], [2, jwtSvid(claims)])]);
};

test('fetches a token once, and the next one after half of its lifetime', async (t) => {
  const { agent, api, clock } = await start(t);
  await soon('the first SVID', api.ready);
  let count = 0;
  agent.onJwt(() => token(300, ID, { jti: ++count }));
  const [first, same] = await Promise.all([api.jwtSvid(AUDIENCE), api.jwtSvid(AUDIENCE)]);
  assert.equal(first, same);
  assert.equal(await api.jwtSvid(AUDIENCE), first);
  assert.deepEqual(agent.jwtRequests, [message([1, AUDIENCE], [2, ID])]);
  assert.equal(`${first.token}`, '[secret]');

  clock.advance(151_000);
  assert.equal(await api.jwtSvid(AUDIENCE), first);
  await eventually('the second token', async () => (await api.jwtSvid(AUDIENCE)) !== first);
  assert.equal(agent.jwtRequests.length, 2);
});

test('keeps a token while the next one fails, until it expires', async (t) => {
  const { agent, api, clock, lines } = await start(t);
  await soon('the first SVID', api.ready);
  agent.onJwt(() => token(300));
  const first = await api.jwtSvid(AUDIENCE);
  agent.onJwt(() => ({ code: status.UNAVAILABLE, details: 'busy' }));
  clock.advance(151_000);
  for (let i = 0; i < 5; i++) assert.equal(await api.jwtSvid(AUDIENCE), first);
  await eventually('a log line', () => lines.length > 0);
  assert.match(lines[0] ?? '', /^JWT-SVID not replaced; keeping it until it expires.*UNAVAILABLE: busy/);
  assert.equal(await api.jwtSvid(AUDIENCE), first);
  await api.jwtSvid('another').catch(() => {});
  assert.equal(agent.jwtRequests.length, 3);
  clock.advance(140_000);
  await assert.rejects(api.jwtSvid(AUDIENCE), isUnavailable(/is unavailable/));
});

test('drops the tokens of its previous identity, and those in flight', async (t) => {
  const { agent, api } = await start(t);
  await soon('the first SVID', api.ready);
  agent.onJwt(() => token(300));
  const first = await api.jwtSvid(AUDIENCE);
  const { promise, resolve } = deferred<Buffer>();
  agent.onJwt(() => promise);
  const inFlight = api.jwtSvid('in flight');
  agent.send(response(OTHER_ID));
  await eventually('the other identity', () => api.svid()?.spiffeId.id === OTHER_ID);
  resolve(token(300, ID, { aud: 'in flight' }));
  const late = await inFlight;
  for (const [audience, previous] of [
    [AUDIENCE, first],
    ['in flight', late],
  ] as const) {
    agent.onJwt(() => token(300, OTHER_ID, { aud: audience }));
    assert.notEqual(await api.jwtSvid(audience), previous);
    assert.deepEqual(agent.jwtRequests.at(-1), message([1, audience], [2, OTHER_ID]));
  }
});

test('closes its connection', async (t) => {
  const { agent, api, lines } = await start(t);
  await soon('the first SVID', api.ready);
  const { promise, resolve } = deferred<void>();
  api.changed(resolve);
  agent.send(response());
  await promise;
  api.close();
  await eventually('the stream is closed', () => agent.open === 0);
  assert.deepEqual(lines, []);
});
