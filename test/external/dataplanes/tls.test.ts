import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCertificateAuthority, listenerTls } from '../../harness/certificates.ts';
import { startGateway } from '../../harness/gateway.ts';
import { call } from '../../harness/http-call.ts';
import { freePort } from '../../harness/http-server.ts';
import { temporaryFolder, writerInto } from '../../harness/lifetime.ts';
import { listenerOf, startDataPlane } from './data-plane.ts';
import { caddy, envoy, haproxy, nginx, printedConfig, traefik } from './planes.ts';

const authority = createCertificateAuthority();
const stranger = createCertificateAuthority('another CA');

for (const [plane, by] of [
  [nginx, 'http'],
  [haproxy, 'http'],
  [caddy, 'http'],
  [traefik, 'http'],
  [envoy, 'http'],
  [envoy, 'ext_proc'],
] as const) {
  for (const [title, server, client, passes] of [
    ['asks over TLS, with its own certificate', authority, authority, true],
    ['passes nothing if the certificate of cambist is of another authority', stranger, authority, false],
    ['passes nothing if its own certificate is of another authority', authority, stranger, false],
  ] as const) {
    test(`${plane.kind} by ${by} ${title}`, async (t) => {
      const folder = temporaryFolder(t);
      const write = writerInto(folder);
      const [own, shown] = [server.issueServer({ hosts: ['cambist', '127.0.0.1'] }), client.issueClient()];
      write('cambist-ca.pem', authority.cert);
      // HAProxy reads the key from the same file.
      write('client.pem', plane === haproxy ? shown.cert + shown.key : shown.cert);
      write('client.key', shown.key);
      const tls = { ...listenerTls(folder, authority, own), client_certificate: 'required' };
      const { config, authorization, upstream, authorizationServer } = await startGateway(t, {
        top: {
          listen: `127.0.0.1:${await freePort()}`,
          decisions: { [listenerOf(by)]: { listen: { address: `127.0.0.1:${await freePort()}`, tls } } },
        },
      });
      const text = printedConfig(plane, config, by)
        .replaceAll(/\/etc\/\w+\/(cambist-ca\.pem|client\.(?:pem|key))/g, `${folder}/$1`)
        .replaceAll('/run/haproxy/', `${folder}/`);
      const url = await startDataPlane(t, plane, text);
      const { status } = await call(`${url}/github`, { headers: { authorization } });
      assert.equal(status, passes ? 200 : plane.downStatus);
      const tokens = passes ? [`Bearer ${authorizationServer.requests[0]?.issued}`] : [];
      assert.deepEqual(
        upstream.requests.flatMap(({ authorization: values }) => values),
        tokens,
      );
    });
  }
}
