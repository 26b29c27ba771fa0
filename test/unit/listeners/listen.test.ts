import assert from 'node:assert/strict';
import dns from 'node:dns';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { createServer, Server } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fastify from 'fastify';
import type { Listen } from '../../../src/config/addresses.ts';
import { openListener } from '../../../src/listeners/listen.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

function appOf(t: TestContext) {
  const app = fastify();
  app.get('/', () => 'here');
  t.after(() => app.close());
  return app;
}

const onFreePort = (host: string): Listen => ({ kind: 'tcp', host, port: 0 });

function getOverSocket(socketPath: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get({ socketPath, path: '/', agent: false }, (answer) => resolve(answer.resume().statusCode)).once('error', reject);
  });
}

/** Creates the socket of a killed process: the file exists, and no process listens. */
async function leaveSocket(path: string): Promise<void> {
  const server = createServer();
  const moved = `${path}.moved`;
  await new Promise<void>((resolve) => server.listen(moved, resolve));
  await rename(moved, path);
  await new Promise((resolve) => server.close(resolve));
}

for (const [host, written] of [
  ['127.0.0.1', '127.0.0.1'],
  ['::1', '[::1]'],
] as const) {
  test(`returns ${written} with the actual port in place of port 0`, async (t) => {
    const url = await openListener(appOf(t), onFreePort(host), 'listen');
    assert.ok(url.startsWith(`http://${written}:`));
    assert.equal(await (await fetch(url)).text(), 'here');
  });
}

test('listens on IPv4 and IPv6 for [::]', async (t) => {
  const { port } = new URL(await openListener(appOf(t), onFreePort('::'), 'listen'));
  for (const host of ['127.0.0.1', '[::1]']) {
    assert.equal(await (await fetch(`http://${host}:${port}`)).text(), 'here');
  }
});

test('listens on IPv4 alone for [::] on a machine without IPv6', async (t) => {
  const { listen } = Server.prototype;
  t.mock.method(Server.prototype, 'listen', function (this: Server, ...args: Parameters<Server['listen']>) {
    const [options] = args as unknown as [{ host?: string }];
    if (options.host !== '::') return listen.apply(this, args);
    const error = Object.assign(new Error('address family not supported'), { code: 'EAFNOSUPPORT' });
    return void process.nextTick(() => this.emit('error', error));
  });
  const url = await openListener(appOf(t), onFreePort('::'), 'listen');
  assert.match(url, /^http:\/\/0\.0\.0\.0:[1-9]\d*$/);
});

test('reports a port in use with the config key, the address and the fix', async (t) => {
  const url = await openListener(appOf(t), onFreePort('127.0.0.1'), 'listen');
  const port = Number(new URL(url).port);
  await assert.rejects(openListener(appOf(t), { kind: 'tcp', host: '127.0.0.1', port }, 'admin'), {
    message: `admin: cannot listen on 127.0.0.1:${port}: another process listens there: stop it, or choose another address`,
  });
});

for (const [what, listen, message] of [
  ['an address that the machine does not have', onFreePort('192.0.2.1'), /192\.0\.2\.1:0: this machine has no/],
  ['a missing folder', { kind: 'unix', path: '/no-such-folder/proxy.sock' }, /the folder does not exist: create it/],
] as const) {
  test(`reports ${what}`, async (t) => {
    await assert.rejects(openListener(appOf(t), listen, 'listen'), message);
  });
}

test('replaces the socket that a killed process left behind', async (t) => {
  const path = join(temporaryFolder(t), 'proxy.sock');
  await leaveSocket(path);
  assert.ok(existsSync(path));
  await openListener(appOf(t), { kind: 'unix', path }, 'listen');
  assert.equal(await getOverSocket(path), 200);
});

test('keeps a socket that another process listens on', async (t) => {
  const path = join(temporaryFolder(t), 'proxy.sock');
  await openListener(appOf(t), { kind: 'unix', path }, 'listen');
  await assert.rejects(openListener(appOf(t), { kind: 'unix', path }, 'admin'), /another process listens there/);
  assert.equal(await getOverSocket(path), 200);
});

test('keeps a file that is not a socket', async (t) => {
  const path = join(temporaryFolder(t), 'cambist.yaml');
  await writeFile(path, 'version: 1');
  await assert.rejects(openListener(appOf(t), { kind: 'unix', path }, 'listen'), {
    message: `listen: cannot listen on ${path}: the file there is not a socket: remove it, or choose another path`,
  });
  assert.equal(await readFile(path, 'utf8'), 'version: 1');
});

for (const [mode, umask] of [
  [0o660, 0o022],
  [0o600, 0],
  [0o666, 0o077],
] as const) {
  test(`creates a Unix socket with mode ${mode.toString(8)}, whatever the umask, here ${umask.toString(8)}`, async (t) => {
    const path = join(temporaryFolder(t), 'proxy.sock');
    const before = process.umask(umask);
    t.after(() => process.umask(before));
    const app = appOf(t);
    const modes: number[] = [];
    const { listen } = app.server;
    app.server.listen = ((...args: Parameters<typeof listen>) => {
      const server = listen.apply(app.server, args);
      modes.push(statSync(path).mode & 0o777);
      return server;
    }) as typeof listen;
    await openListener(app, { kind: 'unix', path }, 'listen', mode);
    assert.deepEqual([...modes, statSync(path).mode & 0o777], [mode, mode]);
    assert.equal(process.umask(), umask);
  });
}

test('closes the open connections of a Unix socket', async (t) => {
  const path = join(temporaryFolder(t), 'proxy.sock');
  const app = fastify({ forceCloseConnections: true });
  app.get('/', () => new Promise(() => {}));
  await openListener(app, { kind: 'unix', path }, 'listen', 0o600);
  const pending = getOverSocket(path);
  await once(app.server, 'connection');
  await app.close();
  await assert.rejects(pending);
  assert.ok(!existsSync(path));
});

test('listens on one address for localhost, because a second server would miss the limits of the first', async (t) => {
  const both = ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 }));
  t.mock.method(dns, 'lookup', (host: string, ...rest: unknown[]) => {
    const found = rest.at(-1) as (...result: unknown[]) => void;
    if (rest.length > 1 && (rest[0] as dns.LookupOptions).all === true) found(null, both);
    else found(null, host === 'localhost' ? '127.0.0.1' : host, 4);
  });
  const app = appOf(t);
  const url = await openListener(app, onFreePort('localhost'), 'listen');
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/);
  assert.equal(app.addresses().length, 1);
});
