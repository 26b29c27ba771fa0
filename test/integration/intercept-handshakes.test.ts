import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect } from 'node:tls';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { sendRaw } from '../harness/http-call.ts';
import {
  assertNothingSent,
  ESTABLISHED,
  failures,
  get,
  INTERCEPTED,
  secured,
  startIntercepted,
} from '../harness/intercepted.ts';

test('the certificate names only the host, and is valid for 24 hours from an hour ago', async (t) => {
  const gateway = await startIntercepted(t);
  const { socket } = await gateway.connectTls({ ALPNProtocols: ['h2', 'http/1.1'] });
  const { subjectaltname, valid_from: from, valid_to: to } = socket.getPeerCertificate();
  assert.equal(subjectaltname, `DNS:${INTERCEPTED}`);
  assert.equal(Date.parse(to) - Date.parse(from), 24 * 3_600_000);
  const backdatedMs = Date.now() - Date.parse(from);
  assert.ok(backdatedMs >= 3_600_000 - 1000 && backdatedMs < 3_700_000, from);
  assert.equal(socket.alpnProtocol, 'http/1.1');
  assert.equal(await gateway.app.metric('cambist_connections', { listener: 'listen' }), 1);
});

for (const [what, options, cause, alert] of [
  ['another server name', { servername: 'other.example.com' }, 'server_name', /unrecognized name/],
  ['a server name below its own', { servername: `x.${INTERCEPTED}` }, 'server_name', /unrecognized name/],
  ['no server name', { servername: '' }, 'server_name', /unrecognized name/],
  ['HTTP/2 alone', { ALPNProtocols: ['h2'] }, 'protocol', /no application protocol/],
  ['TLS 1.1 alone', { minVersion: 'TLSv1', maxVersion: 'TLSv1.1' }, 'protocol', /protocol version|no protocols/],
] as const) {
  test(`closes a handshake with ${what} by an alert, and sends nothing`, async (t) => {
    const gateway = await startIntercepted(t);
    await assert.rejects(gateway.connectTls({ checkServerIdentity: () => undefined, ...options }), alert);
    if (what === 'TLS 1.1 alone') return;
    await eventually('the failure is counted', async () => (await failures(gateway, cause)) === 1);
    assertNothingSent(gateway);
  });
}

test('resumes a session only for the same host', async (t) => {
  const gateway = await startIntercepted(t, {
    moreRoutes: [
      { name: 'docs', match: { host: 'docs.example.com' }, upstream: 'http://127.0.0.1:1', credential: 'none' },
    ],
  });
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const first = await gateway.connectTls({ maxVersion });
    // TLS 1.3 sends a ticket after the handshake, TLS 1.2 during it.
    let ticket = first.socket.getSession();
    first.socket.on('session', (session) => {
      ticket = session;
    });
    await first.ask(get(gateway));
    assert.ok(ticket !== undefined);
    const again = await gateway.connectTls({ maxVersion, session: ticket });
    assert.equal(again.socket.isSessionReused(), true, maxVersion);
    assert.match(await again.ask(get(gateway)), /^HTTP\/1\.1 200 /);
    const other = { maxVersion, session: ticket, servername: 'docs.example.com' };
    await assert.rejects(gateway.connectTls(other), /unrecognized name/, maxVersion);
    const elsewhere = await gateway.connectTls({ ...other, authority: 'docs.example.com:443' });
    assert.equal(elsewhere.socket.isSessionReused(), false, maxVersion);
    elsewhere.socket.destroy();
  }
});

test('counts a client that does not trust the certificate, and names its variable', async (t) => {
  const gateway = await startIntercepted(t);
  // Node verifies after the handshake, so the failure of this client has no alert.
  await assert.rejects(gateway.connectTls({ ca: createCertificateAuthority().cert }), /self-signed|unable to/);
  await eventually('the failure is counted', async () => (await failures(gateway, 'closed')) === 1);
  assert.match(gateway.app.logText(), /before its first request; it may lack NODE_EXTRA_CA_CERTS for Node/);
  assertNothingSent(gateway);
});

test('does not count a spare connection of a client that trusted the certificate before', async (t) => {
  const gateway = await startIntercepted(t);
  const first = await gateway.connectTls();
  const ticket = new Promise<Buffer>((resolve) => first.socket.once('session', resolve));
  await first.ask(get(gateway));
  const spare = await gateway.connectTls({ session: await soon('the ticket', ticket) });
  assert.equal(spare.socket.isSessionReused(), true);
  // Once another connection has a response, the handshake of this one is over for cambist as well.
  await (await gateway.connectTls()).ask(get(gateway));
  spare.socket.destroy();
  await soon('the end of the spare connection', spare.closed());
  // The client trusts another authority and closes later, so that only its connection is counted.
  await assert.rejects(gateway.connectTls({ ca: createCertificateAuthority().cert }), /self-signed|unable to/);
  await eventually('a failure is counted', async () => ((await failures(gateway, 'closed')) ?? 0) > 0);
  assert.equal(await failures(gateway, 'closed'), 1);
});

test('does not count a connection without a request that gives way to a new one', async (t) => {
  const gateway = await startIntercepted(t, { top: { limits: { max_connections: 1, max_in_flight: 1 } } });
  const spare = await gateway.connectTls();
  // Each new one is dropped until then.
  await eventually('cambist has the whole handshake', async () => {
    await sendRaw(gateway.app.url, 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    return spare.socket.destroyed;
  });
  assert.equal((await failures(gateway, 'closed')) ?? 0, 0);
  assert.doesNotMatch(gateway.app.logText(), /before its first request/);
});

test('closes malformed TLS by an alert', async (t) => {
  const gateway = await startIntercepted(t);
  for (const bytes of ['160301000501000001', '1603010000', '16030140ff', '160301000402000000']) {
    const all = await (await gateway.tunnel()).ask(Buffer.from(bytes.padEnd(40, '0'), 'hex'));
    assert.deepEqual(Buffer.from(all.slice(ESTABLISHED.length), 'latin1').subarray(0, 2), Buffer.of(0x15, 3), bytes);
  }
});

for (const [what, text] of [
  ['the beginning of a request', `GET /mcp HTTP/1.1\r\nHost: ${INTERCEPTED}`],
  ['a refused request', 'GET / HTTP/1.1\r\nHost: elsewhere.example.com\r\n\r\n'],
] as const) {
  test(`closes the connection of an agent that sends ${what} and resets it at once`, async (t) => {
    const gateway = await startIntercepted(t);
    const { socket } = await gateway.tunnel();
    socket.removeAllListeners('data');
    const { send } = await secured(connect({ socket, ca: gateway.ca, servername: INTERCEPTED }));
    send(text);
    socket.resetAndDestroy();
    await gateway.app.metricBecomes('cambist_connections', 0, { listener: 'listen' });
    await gateway.app.metricBecomes('cambist_requests_in_flight', 0);
  });
}

test('writes the trust folder before it is ready, with the address of the listener', async (t) => {
  const { app, trustDir, ca } = await startIntercepted(t);
  assert.match(await readFile(join(trustDir, 'env'), 'utf8'), new RegExp(`^HTTPS_PROXY='${app.url}'$`, 'm'));
  assert.ok(new X509Certificate(ca).ca);
});

test('does not start when the trust folder cannot be written', async (t) => {
  const top = { intercept: { trust_dir: '/dev/null/trust' } };
  await assert.rejects(startIntercepted(t, { top }), /intercept\.trust_dir: cannot write/);
});
