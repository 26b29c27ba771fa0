import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { eventually, soon } from '../harness/eventually.ts';
import { startGateway } from '../harness/gateway.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { assertUnexpired, SHORT_LIVED, SINGLE_USE, waitForExpiry } from '../harness/short-lived-tokens.ts';
import { echo } from '../harness/upstream-handlers.ts';

/** An upstream that records when each request arrives, and a connection of a slow caller. */
async function startSlow(t: TestContext, behaviour = SHORT_LIVED) {
  const gateway = await startGateway(t, {
    handler: (request, response) => {
      arrivals.push({ bearer: request.authorization[0], atMs: Date.now() });
      return echo(request, response);
    },
  });
  const { app, authorizationServer, authorization } = gateway;
  const arrivals: { bearer: string | undefined; atMs: number }[] = [];
  authorizationServer.behaviour = behaviour;
  const connection = await connectRaw(app.url);
  const head = `POST /github HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: ${authorization}\r\n`;
  return { ...gateway, arrivals, connection, head };
}

test('sends a fresh token if the cached one expires while a small body arrives', async (t) => {
  const { app, authorization, authorizationServer, connection, head, arrivals } = await startSlow(t);
  connection.send(`${head}Content-Length: 10\r\n\r\nhello`);
  await call(`${app.url}/github`, { headers: { authorization } });
  await waitForExpiry();
  connection.send('world');
  assert.match(await soon('the response', connection.closed()), /"body":"helloworld"/);
  assert.equal(authorizationServer.requests.length, 2);
  assert.equal(arrivals.length, 2);
  assertUnexpired(authorizationServer, arrivals);
});

test('chooses the token of a chunked body when its first bytes arrive', async (t) => {
  const { app, authorization, authorizationServer, connection, head, arrivals, upstream } = await startSlow(t);
  connection.send(`${head}Transfer-Encoding: chunked\r\n\r\n`);
  await call(`${app.url}/github`, { headers: { authorization } });
  await waitForExpiry();
  connection.send('5\r\nhello\r\n');
  // The request goes upstream before its body is complete.
  await eventually('the upstream has the request', () => upstream.requests.length === 2);
  connection.send('0\r\n\r\n');
  assert.match(await soon('the response', connection.closed()), /"body":"hello"/);
  assert.equal(authorizationServer.requests.length, 2);
  assertUnexpired(authorizationServer, arrivals);
});

for (const [kind, framing, first, last] of [
  ['small', 'Content-Length: 10', 'hello', 'world'],
  ['chunked', 'Transfer-Encoding: chunked', '', '5\r\nhello\r\n0\r\n\r\n'],
] as const) {
  test(`requests a single-use token once, when a ${kind} body can be sent with it`, async (t) => {
    const { authorizationServer, connection, head, arrivals } = await startSlow(t, SINGLE_USE);
    connection.send(`${head}${framing}\r\n\r\n${first}`);
    await waitForExpiry();
    assert.equal(authorizationServer.requests.length, 0);
    connection.send(last);
    assert.match(await soon('the response', connection.closed()), /HTTP\/1\.1 200/);
    assert.equal(authorizationServer.requests.length, 1);
    assert.deepEqual(
      arrivals.map(({ bearer }) => bearer),
      [`Bearer ${authorizationServer.requests[0]?.issued}`],
    );
  });
}

test('waits for a slow body inside a CONNECT as well', async (t) => {
  const { app, authorization, authorizationServer, connection, head, arrivals, config } = await startSlow(t);
  const routes = config.routes.map((route) => ({ ...route, match: { host: 'github-mcp.svc' } }));
  app.reloadTo({ ...config, routes });
  connection.send('CONNECT github-mcp.svc:80 HTTP/1.1\r\nHost: x\r\n\r\n');
  await connection.until('200 Connection Established');
  connection.send(`${head.replace('Host: x', 'Host: github-mcp.svc')}Content-Length: 10\r\n\r\nhello`);
  await call(`${app.url}/github`, { headers: { authorization, host: 'github-mcp.svc' } });
  await waitForExpiry();
  connection.send('world');
  assert.match(await soon('the response', connection.closed()), /"body":"helloworld"/);
  assert.equal(authorizationServer.requests.length, 2);
  assertUnexpired(authorizationServer, arrivals);
});

test('makes no exchange for a caller that disconnects before the first bytes of its body', async (t) => {
  const { app, authorizationServer, connection, head, upstream } = await startSlow(t);
  connection.send(`${head}Transfer-Encoding: chunked\r\n\r\n`);
  await eventually('the request is in flight', async () =>
    (await app.metrics()).includes('in_flight{route="github"} 1'),
  );
  connection.socket.destroy();
  await eventually('the request is logged', () =>
    app.logs.some(({ msg, outcome }) => msg === 'request' && outcome === 'cancelled'),
  );
  assert.deepEqual([authorizationServer.requests.length, upstream.requests.length], [0, 0]);
});
