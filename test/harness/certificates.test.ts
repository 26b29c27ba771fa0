import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Agent, request } from 'undici';
import { createCertificateAuthority } from './certificates.ts';
import { type HttpServer, type ServerTls, startHttpServer } from './http-server.ts';

const authority = createCertificateAuthority();

async function serve(tls: ServerTls): Promise<HttpServer> {
  return startHttpServer((_request, response) => response.end('served'), { tls });
}

async function get(server: HttpServer, url: string, connect: ConstructorParameters<typeof Agent>[0]): Promise<string> {
  const dispatcher = new Agent(connect);
  try {
    return await (await request(url, { dispatcher })).body.text();
  } finally {
    await dispatcher.destroy();
    await server.close();
  }
}

test('trusts a server certificate of the CA by name and by address', async () => {
  for (const host of ['localhost', '127.0.0.1']) {
    const server = await serve(authority.issueServer());
    const url = `https://${host}:${server.port}`;
    assert.equal(await get(server, url, { connect: { ca: authority.cert } }), 'served');
  }
});

const INVALID: [description: string, tls: ServerTls, ca: string, code: string][] = [
  [
    'of another CA',
    createCertificateAuthority('other').issueServer(),
    authority.cert,
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  ],
  [
    'for another host',
    authority.issueServer({ hosts: ['other.test'] }),
    authority.cert,
    'ERR_TLS_CERT_ALTNAME_INVALID',
  ],
  ['that expired', authority.issueServer({ validUntilSeconds: -60 }), authority.cert, 'CERT_HAS_EXPIRED'],
];

for (const [description, tls, ca, code] of INVALID) {
  test(`rejects a server certificate ${description}`, async () => {
    const server = await serve(tls);
    await assert.rejects(get(server, server.url, { connect: { ca } }), { code });
  });
}

test('accepts only client certificates of the client CA', async () => {
  const tls = { ...authority.issueServer(), clientCa: authority.cert };
  const trusted = await serve(tls);
  const connect = { ca: authority.cert, ...authority.issueClient() };
  assert.equal(await get(trusted, trusted.url, { connect }), 'served');
  const untrusted = await serve(tls);
  await assert.rejects(get(untrusted, untrusted.url, { connect: { ca: authority.cert } }));
});
