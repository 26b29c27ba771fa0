import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { StatusReport } from '../../src/admin/status-report.ts';
import { startTestApp } from '../harness/app.ts';
import { connectIntercepted } from '../harness/intercepted.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

function configFor(hosts: readonly string[], intercept: Record<string, unknown>) {
  const route = { upstream: 'http://127.0.0.1:1', credential: 'none' };
  return { intercept, routes: hosts.map((host) => ({ name: host.replaceAll('.', '-'), match: { host }, ...route })) };
}

test('writes the trust folder before it is ready, with the address of the listener', async (t) => {
  const trust = join(temporaryFolder(t), 'trust');
  const app = await startTestApp(t, configFor(['a.example.com'], { trust_dir: trust }));
  assert.match(await readFile(join(trust, 'env'), 'utf8'), new RegExp(`^HTTPS_PROXY='${app.url}'$`, 'm'));
  const { ca } = new X509Certificate(await readFile(join(trust, 'ca.pem')));
  assert.ok(ca);
});

test('keeps the authority of a folder over a restart', async (t) => {
  const folder = temporaryFolder(t);
  const trust = join(folder, 'trust');
  const config = configFor(['a.example.com'], { ca: { dir: join(folder, 'ca') }, trust_dir: trust });
  const first = await startTestApp(t, config);
  const before = await readFile(join(trust, 'ca.pem'), 'utf8');
  await first.stop();
  const { url } = await startTestApp(t, config);
  assert.equal(await readFile(join(trust, 'ca.pem'), 'utf8'), before);
  // An agent that has run since before the restart.
  const running = { authority: 'a.example.com:443', servername: 'a.example.com' };
  const connection = await connectIntercepted(url, before, running);
  assert.equal(connection.socket.authorized, true);
  connection.socket.destroy();
});

test('reports a host that a reload adds and the authority excludes', async (t) => {
  const trust = temporaryFolder(t);
  const app = await startTestApp(t, configFor(['a.example.com'], { trust_dir: trust }));
  const waiting = app.reloadTo(configFor(['a.example.com', 'b.example.com'], { trust_dir: trust }));
  assert.deepEqual(waiting, ['routes.b-example-com.match.host']);
  const line = app.logs.find(({ msg }) => String(msg).includes('excludes these hosts'));
  assert.deepEqual(line?.hosts, ['b.example.com']);
  const status = (await (await fetch(`${app.admin}/status.json`)).json()) as StatusReport;
  assert.deepEqual(status.config.waits_for_restart, ['routes.b-example-com.match.host']);
  assert.deepEqual(app.reloadTo(configFor(['a.example.com'], { trust_dir: trust })), []);
});

test('reports a change of intercept as waiting for a restart', async (t) => {
  const trust = temporaryFolder(t);
  const app = await startTestApp(t, configFor(['a.example.com'], { trust_dir: trust }));
  assert.deepEqual(app.reloadTo(configFor(['a.example.com'], { trust_dir: join(trust, 'other') })), ['intercept']);
});

test('does not start when the trust folder cannot be written', async (t) => {
  const config = configFor(['a.example.com'], { trust_dir: '/dev/null/trust' });
  await assert.rejects(startTestApp(t, config), /intercept\.trust_dir: cannot write/);
});
