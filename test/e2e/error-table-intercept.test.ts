import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { soon } from '../harness/eventually.ts';
import { startFakeSetup } from '../harness/fake-setup.ts';
import { connectIntercepted, INTERCEPTED } from '../harness/intercepted.ts';

test('refuses a request for another host on an intercepted connection', async (t) => {
  const setup = await startFakeSetup({
    change: (config, { directory }) => ({
      ...config,
      intercept: { ca: { dir: join(directory, 'ca') }, trust_dir: join(directory, 'trust') },
      routes: [...config.routes.map((route) => ({ ...route, match: { host: INTERCEPTED, path: '/tools' } }))],
    }),
  });
  t.after(setup.close);
  const { cambist, upstream, authorizationServer, leaks } = setup;
  const ca = await readFile(join(cambist.directory, 'trust/ca.pem'), 'utf8');
  const { authorization } = await setup.bearer();
  const send = async (host: string): Promise<string> => {
    const connection = await connectIntercepted(cambist.url, ca);
    const headers = `Host: ${host}\r\nAuthorization: ${authorization}\r\nConnection: close\r\n`;
    connection.send(`GET /tools HTTP/1.1\r\n${headers}X-Request-Id: to-${host}\r\n\r\n`);
    return soon('the response', connection.closed());
  };

  const code = 'ERR_MISDIRECTED_REQUEST';
  const response = await send('other.example.com');
  assert.match(response, /^HTTP\/1\.1 421 Misdirected Request\r\n/);
  assert.equal(JSON.parse(response.split('\r\n\r\n')[1] ?? '').code, code);
  assert.equal(upstream.requests.length + authorizationServer.requests.length, 0);
  const line = await cambist.waitForLog(({ request_id: id }) => id === 'to-other.example.com');
  assert.deepEqual([line.level, line.error, line.status, line.way_in], ['warn', code, 421, 'proxy']);
  assert.equal(await cambist.metric('cambist_failures_total', { route: '_unmatched', error: code }), 1);

  assert.match(await send(INTERCEPTED), /^HTTP\/1\.1 200 /);
  assert.equal(upstream.requests.length, 1);
  leaks.assertNoLeak({ stdout: cambist.stdout(), stderr: cambist.stderr(), response });
});
