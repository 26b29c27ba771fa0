import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { type TestContext, test } from 'node:test';
import type { TlsFiles } from '../../../src/config/kinds.ts';
import { CambistError } from '../../../src/errors.ts';
import { createDispatchers } from '../../../src/transport/dispatchers.ts';
import { type Certificate, createCertificateAuthority } from '../../harness/certificates.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { eventStream, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { dispatched } from '../../harness/followed.ts';
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

const isUnavailable = (error: unknown) => error instanceof CambistError && error.code === 'ERR_CREDENTIAL_UNAVAILABLE';

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
    await assert.rejects(
      async () => dispatchers.for(peer(tls)),
      (error: Error) =>
        isUnavailable(error) && error.message.includes('route "github"') && !error.message.includes('not a'),
      JSON.stringify(Object.keys(pem)),
    );
  }
});

/** A pool with an open stream, and a function that changes its CA file. */
async function startRotation(t: TestContext) {
  const stream = eventStream();
  const upstream = await startFakeUpstream(t, stream.handler, { tls: authority.issueServer() });
  const dispatchers = dispatchersOf(t);
  const tls = caFile(t);
  const before = await dispatchers.for(peer(tls));
  const old = await dispatched(before, { origin: upstream.url, path: '/' });
  const rotate = async () => {
    await writeFile(tls.ca ?? '', `${createCertificateAuthority('another CA').cert}${authority.cert}`);
    dispatchers.rereadTls();
    return dispatchers.for(peer(tls));
  };
  return { stream, upstream, before, old, rotate };
}

const CLOSED = { code: 'UND_ERR_CLOSED' };

test('sends no new request on a pool whose TLS files changed, and lets its streams finish', async (t) => {
  const { stream, upstream, before, old, rotate } = await startRotation(t);
  const after = await rotate();
  assert.notEqual(after, before);
  await assert.rejects(dispatched(before, { origin: upstream.url, path: '/' }), CLOSED);
  const other = await dispatched(after, { origin: upstream.url, path: '/' });
  stream.emit('still here');
  stream.end();
  assert.equal(await soon('the old stream', old.text()), 'data: still here\n\n');
  assert.equal(await soon('the new stream', other.text()), 'data: still here\n\n');
  await eventually('the old connection is closed', () => upstream.requests[0]?.message.socket.destroyed === true);
  assert.equal(upstream.requests[1]?.message.socket.destroyed, false);
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
  const nowhere = { origin: 'https://127.0.0.1:9', path: '/' };
  await assert.rejects(dispatched(gone, nowhere), CLOSED);
  await assert.rejects(dispatched(kept, nowhere), { code: 'ECONNREFUSED' });
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
  const nowhere = { origin: 'https://127.0.0.1:9', path: '/' };
  await assert.rejects(dispatched(replaced, nowhere), CLOSED);
  assert.notEqual(await dispatchers.for(peer(changing)), replaced);
  assert.equal(await dispatchers.for(peer(tls)), kept);
  await assert.rejects(dispatched(kept, nowhere), { code: 'ECONNREFUSED' });
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
  const slow = dispatched(pool, { origin: upstream.url, path: '/slow', method: 'POST', body: Buffer.from('{}') });
  const { text } = await dispatched(pool, { origin: upstream.url, path: '/stream' });
  await eventually('both are in flight', () => upstream.requests.length === 2);
  t.mock.timers.tick(HOUR_MS);
  t.mock.timers.reset();
  stream.emit('still here');
  stream.end();
  assert.equal(await text(), 'data: still here\n\n');
  for (const response of waiting) response.end('at last');
  assert.equal(await (await slow).text(), 'at last');
});
