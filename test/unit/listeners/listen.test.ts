import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fastify from 'fastify';
import type { Listen } from '../../../src/config/config.ts';
import { openListener } from '../../../src/listeners/listen.ts';

function appOf(t: TestContext) {
  const app = fastify();
  app.get('/', () => 'here');
  t.after(() => app.close());
  return app;
}

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'cambist-listen-'));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

const onFreePort = (host: string): Listen => ({ kind: 'tcp', host, port: 0 });

function getOverSocket(socketPath: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get({ socketPath, path: '/', agent: false }, (answer) => resolve(answer.resume().statusCode)).once('error', reject);
  });
}

/** A socket whose owner was killed: nobody listens, and the file is still there. */
async function leaveSocket(path: string): Promise<void> {
  const server = createServer();
  const moved = `${path}.moved`;
  await new Promise<void>((resolve) => server.listen(moved, resolve));
  await rename(moved, path);
  await new Promise((resolve) => server.close(resolve));
}

test('a port of 0 becomes a free one, and the address says which', async (t) => {
  const url = await openListener(appOf(t), onFreePort('127.0.0.1'), 'listen');
  assert.match(url, /^http:\/\/127\.0\.0\.1:[1-9]\d*$/);
  assert.equal(await (await fetch(url)).text(), 'here');
});

test('an IPv6 address stands in brackets', async (t) => {
  const url = await openListener(appOf(t), onFreePort('::1'), 'listen');
  assert.match(url, /^http:\/\/\[::1\]:[1-9]\d*$/);
});

test('a taken port is an error that says which listener, where, and what to do', async (t) => {
  const url = await openListener(appOf(t), onFreePort('127.0.0.1'), 'listen');
  const port = Number(new URL(url).port);
  await assert.rejects(openListener(appOf(t), { kind: 'tcp', host: '127.0.0.1', port }, 'admin'), {
    message: `admin: cannot listen on 127.0.0.1:${port}: another process does: stop it, or choose another address`,
  });
});

test('an address that this machine does not have is an error that says so', async (t) => {
  await assert.rejects(
    openListener(appOf(t), onFreePort('192.0.2.1'), 'listen'),
    /192\.0\.2\.1:0: this machine has no/,
  );
});

test('a unix socket is listened on', async (t) => {
  const path = join(await folder(t), 'proxy.sock');
  assert.equal(await openListener(appOf(t), { kind: 'unix', path }, 'listen'), `unix:${path}`);
  assert.equal(await getOverSocket(path), 200);
});

test('a socket that a killed process left behind is taken over', async (t) => {
  const path = join(await folder(t), 'proxy.sock');
  await leaveSocket(path);
  assert.ok(existsSync(path));
  await openListener(appOf(t), { kind: 'unix', path }, 'listen');
  assert.equal(await getOverSocket(path), 200);
});

test('a socket on which somebody listens is left to them', async (t) => {
  const path = join(await folder(t), 'proxy.sock');
  await openListener(appOf(t), { kind: 'unix', path }, 'listen');
  await assert.rejects(openListener(appOf(t), { kind: 'unix', path }, 'admin'), /another process does/);
  assert.equal(await getOverSocket(path), 200);
});

test('a file that is no socket is never removed', async (t) => {
  const path = join(await folder(t), 'cambist.yaml');
  await writeFile(path, 'version: 1');
  await assert.rejects(openListener(appOf(t), { kind: 'unix', path }, 'listen'), {
    message: `listen: cannot listen on ${path}: a file that is no socket is there: remove it, or choose another path`,
  });
  assert.equal(await readFile(path, 'utf8'), 'version: 1');
});

test('a folder that does not exist is an error that says so', async (t) => {
  const path = join(await folder(t), 'none', 'proxy.sock');
  await assert.rejects(openListener(appOf(t), { kind: 'unix', path }, 'listen'), /the folder does not exist: make it/);
});
