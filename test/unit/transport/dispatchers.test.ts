import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { type TestContext, test } from 'node:test';
import type { Dispatcher } from 'undici';
import type { TlsFiles } from '../../../src/config/kinds.ts';
import { createDispatchers } from '../../../src/transport/dispatchers.ts';
import { type Certificate, createCertificateAuthority } from '../../harness/certificates.ts';
import { eventually } from '../../harness/eventually.ts';
import { eventStream, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { follow } from '../../harness/followed.ts';
import { temporaryFolder, writerInto } from '../../harness/lifetime.ts';

const authority = createCertificateAuthority();

function dispatchersOf(t: TestContext) {
  const dispatchers = createDispatchers(() => {});
  t.after(() => dispatchers.destroy());
  return dispatchers;
}

/** Writes TLS files into a temporary folder. */
function tlsFiles(t: TestContext, { ca, client }: { ca?: string; client?: Certificate }): TlsFiles {
  const write = writerInto(temporaryFolder(t));
  const fileOf = (name: string, text: string | undefined) => (text === undefined ? undefined : write(name, text).file);
  return {
    ca: fileOf('ca.pem', ca),
    certificate: fileOf('tls.crt', client?.cert),
    privateKey: fileOf('tls.key', client?.key),
  };
}

/** The file of a CA. */
const caFile = (t: TestContext, { cert } = authority) => tlsFiles(t, { ca: cert });

const peer = (tls: TlsFiles | undefined, connectMs = 1000, name = 'route "github"') => ({ name, tls, connectMs });

test('shares a pool between peers that connect in the same way', (t) => {
  const dispatchers = dispatchersOf(t);
  const pool = dispatchers.for(peer(undefined));
  assert.equal(dispatchers.for(peer(undefined, 1000, 'route "docs"')), pool);
  assert.notEqual(dispatchers.for(peer(undefined, 2000)), pool);
});

test('shares a pool between peers whose TLS files have the same content', async (t) => {
  const dispatchers = dispatchersOf(t);
  const one = await dispatchers.for(peer(caFile(t)));
  assert.equal(await dispatchers.for(peer(caFile(t))), one);
  assert.notEqual(await dispatchers.for(peer(caFile(t, createCertificateAuthority()))), one);
});

test('does not share a pool between peers with the same TLS files that connect differently', async (t) => {
  const dispatchers = dispatchersOf(t);
  const usual = peer(caFile(t));
  const others = [
    { ...usual, connectMs: 2000 },
    { ...usual, socketPath: '/tmp/one.sock' },
    { ...usual, socketPath: '/tmp/other.sock' },
  ];
  const pools = new Set([await dispatchers.for(usual)]);
  for (const other of others) pools.add(await dispatchers.for(other));
  assert.equal(pools.size, 1 + others.length);
  for (const again of [usual, ...others]) assert.ok(pools.has(await dispatchers.for({ ...again })));
});

test('reads TLS files once, and again to see a change, which replaces the pool', async (t) => {
  const dispatchers = dispatchersOf(t);
  const tls = caFile(t);
  const first = await dispatchers.for(peer(tls));
  dispatchers.rereadTls();
  assert.equal(await dispatchers.for(peer(tls)), first);
  await writeFile(tls.ca ?? '', createCertificateAuthority().cert);
  assert.equal(await dispatchers.for(peer(tls)), first);
  dispatchers.rereadTls();
  assert.notEqual(await dispatchers.for(peer(tls)), first);
});

test('reads TLS files again that changed while they were read', async (t) => {
  const dispatchers = dispatchersOf(t);
  const tls = caFile(t);
  const reading = dispatchers.for(peer(tls));
  dispatchers.rereadTls();
  const stale = await reading;
  await writeFile(tls.ca ?? '', createCertificateAuthority().cert);
  assert.notEqual(await dispatchers.for(peer(tls)), stale);
});

test('fails with ERR_CREDENTIAL_UNAVAILABLE for an invalid certificate or the key of another', async (t) => {
  const dispatchers = dispatchersOf(t);
  const client = authority.issueClient();
  for (const pem of [
    { client: { ...client, cert: 'not a certificate' } },
    { client: { ...client, key: 'not a key' } },
    { client: { ...client, key: authority.issueClient().key } },
    { ca: 'not a certificate' },
  ]) {
    const tls = tlsFiles(t, pem);
    const message = 'invalid TLS files of route "github": each must be PEM, and the key must belong to the certificate';
    await assert.rejects(async () => dispatchers.for(peer(tls)), { code: 'ERR_CREDENTIAL_UNAVAILABLE', message });
  }
});

/** The code of the error of a request. */
async function errorOf(pool: Dispatcher, origin = 'https://127.0.0.1:9'): Promise<string | undefined> {
  const { error } = await follow(pool, { origin }).ended();
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

test('sends no new request on a pool whose TLS files changed, and lets its streams finish', async (t) => {
  const stream = eventStream();
  const { url: origin, requests } = await startFakeUpstream(t, stream.handler, { tls: authority.issueServer() });
  const dispatchers = dispatchersOf(t);
  const tls = caFile(t);
  const before = await dispatchers.for(peer(tls));
  const old = follow(before, { origin });
  await eventually('the old stream', () => old.status === 200);
  await writeFile(tls.ca ?? '', `${createCertificateAuthority('another CA').cert}${authority.cert}`);
  dispatchers.rereadTls();
  const after = await dispatchers.for(peer(tls));
  assert.notEqual(after, before);
  assert.equal(await errorOf(before, origin), 'UND_ERR_CLOSED');
  const other = follow(after, { origin });
  await eventually('the new stream', () => other.status === 200);
  stream.emit('still here');
  stream.end();
  for (const { body } of [await old.ended(), await other.ended()]) assert.equal(body, 'data: still here\n\n');
  await eventually('the old connection is closed', () => requests[0]?.message.socket.destroyed === true);
  assert.equal(requests[1]?.message.socket.destroyed, false);
});

test('closes a pool that was not used between two changes of TLS files', async (t) => {
  const dispatchers = dispatchersOf(t);
  const gone = await dispatchers.for(peer(caFile(t)));
  const stays = peer(caFile(t, createCertificateAuthority()));
  const kept = await dispatchers.for(stays);
  for (let i = 0; i < 2; i += 1) {
    dispatchers.rereadTls();
    assert.equal(await dispatchers.for(stays), kept);
  }
  assert.deepEqual([await errorOf(gone), await errorOf(kept)], ['UND_ERR_CLOSED', 'ECONNREFUSED']);
});

test('keeps pools that were not used while the TLS files of other peers changed', async (t) => {
  const dispatchers = dispatchersOf(t);
  const tls = caFile(t);
  const kept = await dispatchers.for(peer(tls));
  const changing = caFile(t, createCertificateAuthority());
  const replaced = await dispatchers.for(peer(changing));
  for (let i = 0; i < 2; i += 1) {
    await writeFile(changing.ca ?? '', createCertificateAuthority().cert);
    dispatchers.rereadTls([changing.ca ?? '']);
  }
  assert.equal(await errorOf(replaced), 'UND_ERR_CLOSED');
  assert.notEqual(await dispatchers.for(peer(changing)), replaced);
  assert.equal(await dispatchers.for(peer(tls)), kept);
  assert.equal(await errorOf(kept), 'ECONNREFUSED');
});

const HOUR_MS = 3_600_000;

test('allows an idle hour on a stream, and an hour until a response', async (t) => {
  const stream = eventStream();
  const waiting: ServerResponse[] = [];
  const upstream = await startFakeUpstream(t, (received, response) => {
    if (received.url === '/stream') return stream.handler(received, response);
    waiting.push(response);
  });
  const dispatchers = dispatchersOf(t);
  const pool = await dispatchers.for(peer(undefined, 5000));
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const slow = follow(pool, { origin: upstream.url, path: '/slow', method: 'POST', body: Buffer.from('{}') });
  const streamed = follow(pool, { origin: upstream.url, path: '/stream' });
  await eventually('both are in flight', () => streamed.status === 200 && upstream.requests.length === 2);
  t.mock.timers.tick(HOUR_MS);
  t.mock.timers.reset();
  stream.emit('still here');
  stream.end();
  assert.equal((await streamed.ended()).body, 'data: still here\n\n');
  for (const response of waiting) response.end('at last');
  assert.equal((await slow.ended()).body, 'at last');
});
