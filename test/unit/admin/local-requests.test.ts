import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fastify, { type InjectOptions } from 'fastify';
import { addLogLevel } from '../../../src/admin/local-requests.ts';
import { createLogLevelControl } from '../../../src/observability/log-level.ts';
import { words } from '../../harness/words.ts';
import { loggerWithLines } from '../observability/log-lines.ts';

function serverOf(t: TestContext) {
  const { logger, lines } = loggerWithLines();
  logger.level = 'info';
  const app = fastify();
  addLogLevel(app, createLogLevelControl(logger), () => ['cambist.example.com']);
  t.after(() => app.close());
  const put = async (options: Omit<InjectOptions, 'headers'> & { headers?: Record<string, string> } = {}) => {
    const headers = { host: '127.0.0.1:9180', 'content-type': 'application/json', ...options.headers };
    const request = { method: 'PUT', url: '/log-level', payload: '{"level":"debug"}' } as const;
    const answer = await app.inject({ ...request, ...options, headers });
    return { status: answer.statusCode, body: answer.json() };
  };
  return { app, logger, lines, put };
}

test('shows the level and the configured one', async (t) => {
  const { app, put } = serverOf(t);
  const get = async () => (await app.inject('/log-level')).json();
  assert.deepEqual(await get(), { level: 'info', configured: 'info' });
  assert.deepEqual(await put(), { status: 200, body: { level: 'debug', configured: 'info' } });
  assert.deepEqual(await get(), { level: 'debug', configured: 'info' });
});

test('changes the level, logs the change, and changes it back', async (t) => {
  const { logger, lines, put } = serverOf(t);
  await put();
  assert.equal(logger.level, 'debug');
  await put({ payload: '{"level":"info"}' });
  assert.equal(logger.level, 'info');
  assert.deepEqual(
    lines.map(({ from, to }) => `${from} to ${to}`),
    ['info to debug', 'debug to info'],
  );
  for (const { level, msg } of lines) assert.equal(`${level}: ${msg}`, 'info: log level changed on the admin port');
});

test('refuses to write fewer lines than configured', async (t) => {
  const { logger, put } = serverOf(t);
  for (const level of ['silent', 'fatal', 'error', 'warn']) {
    const { status, body } = await put({ payload: JSON.stringify({ level }) });
    assert.equal(status, 400, level);
    assert.match(body.error, /configured level is info, .*set log\.level in the config/);
  }
  assert.equal(logger.level, 'info');
});

test('refuses other machines', async (t) => {
  const { logger, put } = serverOf(t);
  for (const remoteAddress of ['10.0.0.7', '::ffff:10.0.0.7', 'fd00::1']) {
    assert.equal((await put({ remoteAddress })).status, 403, remoteAddress);
  }
  for (const remoteAddress of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) {
    assert.equal((await put({ remoteAddress })).status, 200, remoteAddress);
  }
  assert.equal(logger.level, 'debug');
});

test('refuses a Host that another machine could have', async (t) => {
  const { logger, put } = serverOf(t);
  for (const host of words('evil.example.org cambist.svc:9180 10.0.0.7:9180 a@127.0.0.1 127.0.0.1.example.org')) {
    assert.equal((await put({ headers: { host } })).status, 403, host);
  }
  assert.equal(logger.level, 'info');
  for (const host of ['localhost:9180', 'LOCALHOST', '[::1]:9180', '127.8.9.10', 'Cambist.Example.com']) {
    assert.equal((await put({ headers: { host } })).status, 200, host);
  }
});

test('refuses web pages of another origin', async (t) => {
  const { logger, put } = serverOf(t);
  const origins = words(`
    http://evil.example.org null http://127.0.0.1:3000 http://localhost:9180 http://user@127.0.0.1:9180
    http://127.0.0.1:9180/
  `);
  const own = { origin: 'http://127.0.0.1:9180' };
  for (const headers of [
    ...origins.map((origin) => ({ origin })),
    ...['cross-site', 'same-site', 'none'].map((site) => ({ 'sec-fetch-site': site })),
    { ...own, 'sec-fetch-site': 'cross-site' },
  ]) {
    const { status, body } = await put({ headers });
    assert.equal(status, 403, JSON.stringify(headers));
    assert.match(body.error, /another origin/);
  }
  assert.equal(logger.level, 'info');
  assert.equal((await put({ headers: { ...own, 'sec-fetch-site': 'same-origin' } })).status, 200);
});

test('refuses every content type that a web page can send without a preflight', async (t) => {
  const { logger, put } = serverOf(t);
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=a', '']) {
    const { status, body } = await put({ headers: { 'content-type': type } });
    assert.equal(status, 415, type);
    assert.match(body.error, /must be application\/json/);
  }
  assert.equal(logger.level, 'info');
});

test('gives no permission to a preflight', async (t) => {
  const { app } = serverOf(t);
  const headers = { origin: 'http://evil.example.org', 'access-control-request-method': 'PUT' };
  const { statusCode, headers: answered } = await app.inject({ method: 'OPTIONS', url: '/log-level', headers });
  assert.equal(statusCode, 404);
  assert.ok(!Object.keys(answered).some((name) => name.startsWith('access-control')));
});

test('refuses a malformed body with the levels', async (t) => {
  const { logger, put } = serverOf(t);
  const malformed = words(`
    debug "debug" null [] {} {"level":"loud"} {"level":["debug"]} {"level":"debug","a":1} {"level":"debug","__proto__":{}}
  `);
  for (const payload of ['', ...malformed]) {
    const { status, body } = await put({ payload });
    assert.equal(status, 400, payload);
    assert.match(body.error, /one of silent, fatal, error, warn, info, debug, trace/);
  }
  assert.equal((await put({ payload: `{"level":"debug"${' '.repeat(300)}}` })).status, 413);
  assert.equal(logger.level, 'info');
});
