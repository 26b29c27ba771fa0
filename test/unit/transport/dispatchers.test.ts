import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { TlsFiles } from '../../../src/config/config.ts';
import { CambistError } from '../../../src/errors.ts';
import { createDispatchers, type Dispatchers } from '../../../src/transport/dispatchers.ts';
import { type Certificate, createCertificateAuthority } from '../../harness/certificates.ts';
import { dispatched } from '../../harness/dispatched.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { startFakeUpstream } from '../../harness/fake-upstream.ts';
import { eventStream } from '../../harness/upstream-handlers.ts';

const authority = createCertificateAuthority();

interface Told {
  readonly dispatchers: Dispatchers;
  readonly certificates: [peer: string, expiresAtSeconds: number][];
}

function dispatchersOf(t: TestContext): Told {
  const certificates: Told['certificates'] = [];
  const dispatchers = createDispatchers((...told) => void certificates.push(told));
  t.after(() => dispatchers.destroy());
  return { dispatchers, certificates };
}

/** TLS files in a folder of the test's own. */
async function tlsFiles(t: TestContext, pem: { ca?: string; client?: Certificate }): Promise<TlsFiles> {
  const folder = await mkdtemp(join(tmpdir(), 'cambist-tls-'));
  t.after(() => rm(folder, { recursive: true }));
  const write = async (name: string, text: string | undefined) => {
    if (text === undefined) return undefined;
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };
  return {
    ca: await write('ca.pem', pem.ca),
    certificate: await write('tls.crt', pem.client?.cert),
    privateKey: await write('tls.key', pem.client?.key),
  };
}

const peer = (tls: TlsFiles | undefined, connectMs = 1000, name = 'route "github"') => ({ name, tls, connectMs });

const isUnavailable = (error: unknown) => error instanceof CambistError && error.code === 'ERR_CREDENTIAL_UNAVAILABLE';

test('peers that are connected to in the same way share a pool, others do not', (t) => {
  const { dispatchers } = dispatchersOf(t);
  const pool = dispatchers.for(peer(undefined));
  assert.equal(dispatchers.for(peer(undefined, 1000, 'route "docs"')), pool);
  assert.notEqual(dispatchers.for(peer(undefined, 2000)), pool);
});

test('peers whose TLS files say the same share a pool, wherever the files lie', async (t) => {
  const { dispatchers } = dispatchersOf(t);
  const one = await dispatchers.for(peer(await tlsFiles(t, { ca: authority.cert })));
  const other = await dispatchers.for(peer(await tlsFiles(t, { ca: authority.cert })));
  const stranger = await dispatchers.for(peer(await tlsFiles(t, { ca: createCertificateAuthority().cert })));
  assert.equal(other, one);
  assert.notEqual(stranger, one);
});

test('TLS files are read once, and anew after a change was seen', async (t) => {
  const { dispatchers } = dispatchersOf(t);
  const tls = await tlsFiles(t, { ca: authority.cert });
  const first = await dispatchers.for(peer(tls));
  await writeFile(tls.ca ?? '', createCertificateAuthority().cert);
  assert.equal(await dispatchers.for(peer(tls)), first);
  dispatchers.rereadTls();
  assert.notEqual(await dispatchers.for(peer(tls)), first);
});

test('TLS files that were read anew and did not change keep their connections', async (t) => {
  const { dispatchers } = dispatchersOf(t);
  const tls = await tlsFiles(t, { ca: authority.cert });
  const first = await dispatchers.for(peer(tls));
  dispatchers.rereadTls();
  assert.equal(await dispatchers.for(peer(tls)), first);
});

test('files that change while they are being read do not keep what they said before', async (t) => {
  const { dispatchers } = dispatchersOf(t);
  const tls = await tlsFiles(t, { ca: authority.cert });
  const begun = dispatchers.for(peer(tls));
  dispatchers.rereadTls();
  const stale = await begun;
  await writeFile(tls.ca ?? '', createCertificateAuthority().cert);
  assert.notEqual(await dispatchers.for(peer(tls)), stale);
});

test('the end of a client certificate is told', async (t) => {
  const { dispatchers, certificates } = dispatchersOf(t);
  const client = authority.issueClient({ validUntilSeconds: 7200 });
  await dispatchers.for(peer(await tlsFiles(t, { client })));
  const [[name, expiresAtSeconds] = ['', 0]] = certificates;
  assert.equal(name, 'route "github"');
  assert.ok(Math.abs(expiresAtSeconds - (Date.now() / 1000 + 7200)) < 60);
});

test('a TLS file that is not there is a credential that is unavailable, until it is', async (t) => {
  const { dispatchers } = dispatchersOf(t);
  const tls = await tlsFiles(t, { ca: authority.cert });
  await rm(tls.ca ?? '');
  await assert.rejects(async () => dispatchers.for(peer(tls)), isUnavailable);
  await writeFile(tls.ca ?? '', authority.cert);
  await dispatchers.for(peer(tls));
});

test('a file that holds no certificate, or a key of another, is a credential that is unavailable', async (t) => {
  const { dispatchers } = dispatchersOf(t);
  const client = authority.issueClient();
  for (const pem of [
    { client: { ...client, cert: 'not a certificate' } },
    { client: { ...client, key: 'not a key' } },
    { client: { ...client, key: authority.issueClient().key } },
    { ca: 'not a certificate' },
  ]) {
    const tls = await tlsFiles(t, pem);
    await assert.rejects(
      async () => dispatchers.for(peer(tls)),
      (error: Error) =>
        isUnavailable(error) && error.message.includes('route "github"') && !error.message.includes('not a'),
      JSON.stringify(Object.keys(pem)),
    );
  }
});

test('a peer that HTTP/2 is offered to shares its pool with none that it is not', (t) => {
  const { dispatchers } = dispatchersOf(t);
  const peer = { name: 'route "a"', tls: undefined, connectMs: 5000 };
  const second = dispatchers.for({ ...peer, http2: true });
  assert.notEqual(second, dispatchers.for(peer));
  assert.equal(second, dispatchers.for({ ...peer, name: 'route "b"', http2: true }));
  assert.equal(dispatchers.for(peer), dispatchers.for({ ...peer, http2: false }));
});

/** A pool for a server that streams, whose CA file is then changed, and the stream that was open then. */
async function startRotation(t: TestContext) {
  const stream = eventStream();
  const upstream = await startFakeUpstream(stream.handler, { tls: authority.issueServer() });
  t.after(upstream.close);
  const { dispatchers } = dispatchersOf(t);
  const tls = await tlsFiles(t, { ca: authority.cert });
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

test('a pool whose TLS files changed takes no new request, and streams on it go on to their end', async (t) => {
  const { stream, upstream, before, old, rotate } = await startRotation(t);
  const after = await rotate();
  assert.notEqual(after, before);
  await assert.rejects(dispatched(before, { origin: upstream.url, path: '/' }), CLOSED);
  const other = await dispatched(after, { origin: upstream.url, path: '/' });
  stream.emit('still here');
  stream.end();
  assert.equal(await soon('the old stream', old.text()), 'data: still here\n\n');
  assert.equal(await soon('the new stream', other.text()), 'data: still here\n\n');
  await eventually('the old connection has gone', () => upstream.requests[0]?.message.socket.destroyed === true);
  assert.equal(upstream.requests[1]?.message.socket.destroyed, false);
});

test('a pool that nobody has asked for since the last change closes with the next, and its keys go', async (t) => {
  const { dispatchers } = dispatchersOf(t);
  const gone = await dispatchers.for(peer(await tlsFiles(t, { ca: authority.cert })));
  const stays = peer(await tlsFiles(t, { ca: createCertificateAuthority().cert }));
  const kept = await dispatchers.for(stays);
  for (let i = 0; i < 2; i += 1) {
    dispatchers.rereadTls();
    assert.equal(await dispatchers.for(stays), kept);
  }
  const nowhere = { origin: 'https://127.0.0.1:9', path: '/' };
  await assert.rejects(dispatched(gone, nowhere), CLOSED);
  await assert.rejects(dispatched(kept, nowhere), { code: 'ECONNREFUSED' });
});
