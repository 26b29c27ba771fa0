import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { decodeJwt } from 'jose';
import { routeTo, startTestApp } from '../../harness/app.ts';
import { deferred, eventually } from '../../harness/eventually.ts';
import { echo, type FakeUpstream, startFakeUpstream, type UpstreamHandler } from '../../harness/fake-upstream.ts';
import { type GatewayOptions, startGateway } from '../../harness/gateway.ts';
import { type CallOptions, call } from '../../harness/http-call.ts';
import { temporaryFolder, writerInto } from '../../harness/lifetime.ts';
import { type By, listenerOf, startDataPlane } from '../dataplanes/data-plane.ts';
import { envoy, printedConfig } from '../dataplanes/planes.ts';

interface Setup extends Pick<GatewayOptions, 'handler' | 'route'> {
  readonly by: By;
  /** Keys of the listener, beside its address. */
  readonly keys?: Record<string, unknown>;
  readonly decisions?: Record<string, unknown>;
  readonly top?: Record<string, unknown>;
  readonly moreRoutes?: (docs: FakeUpstream) => Record<string, unknown>[];
  /** Changes what the snippet says. */
  readonly change?: (bootstrap: string) => string;
}

/** cambist, and an Envoy with its snippet. Afterwards, no backend may have got a caller's token. */
async function start(t: TestContext, setup: Setup) {
  const { by, keys = {}, decisions = {}, top: more, moreRoutes, change = (text) => text, ...options } = setup;
  const folder = temporaryFolder(t);
  const docs = await startFakeUpstream(t, echo);
  const listener = { listen: `unix:${join(folder, 'decisions.sock')}`, ...keys };
  const top = {
    listen: `unix:${join(folder, 'listen.sock')}`,
    decisions: { [listenerOf(by)]: listener, ...decisions },
    ...more,
  };
  const routes = (moreRoutes ?? (by === 'ext_authz' ? DOCS : () => []))(docs);
  const gateway = await startGateway(t, { ...options, top, moreRoutes: routes });
  const url = await startDataPlane(t, envoy, change(printedConfig(envoy, gateway.config, by)));
  const callers = [gateway.subjectToken];
  const mint = async (subject: string) => {
    const token = await gateway.authorizationServer.mint({ subject });
    callers.push(token);
    return `Bearer ${token}`;
  };
  t.after(() => {
    for (const { url: target, rawHeaders } of [...gateway.upstream.requests, ...docs.requests]) {
      const received = [target, ...rawHeaders].join('\n');
      assert.ok(!callers.some((token) => received.includes(token)), `the backend got a caller's token: ${target}`);
    }
  });
  const ask = (path: string, options: CallOptions = {}) =>
    call(url, { path, ...options, headers: options.headers ?? { authorization: gateway.authorization } });
  return { ...gateway, docs, url, folder, mint, ask };
}

type Start = (t: TestContext, setup?: Omit<Setup, 'by'>) => ReturnType<typeof start>;

function testBy(
  ways: readonly By[],
  title: string,
  run: (t: TestContext, start: Start, by: By) => Promise<void>,
): void {
  for (const by of ways) {
    test(`${title}, by ${by}`, (t) => run(t, (context, setup) => start(context, { by, ...setup }), by));
  }
}

const ALL = ['http', 'ext_authz', 'ext_proc'] as const;
const PRINTED = ['http', 'ext_proc'] as const;

/** The issued token that a backend got last. */
function lastToken({ requests }: FakeUpstream): string {
  const [value = '', ...more] = requests.at(-1)?.authorization ?? [];
  assert.deepEqual(more, []);
  return value.replace('Bearer ', '');
}

const DOCS = (docs: FakeUpstream) => [routeTo('docs', `${docs.url}/v1/`, { send: { header: 'X-Api-Key' } })];

testBy(ALL, 'the token is for the backend that Envoy chooses, however the path is written', async (t, start, by) => {
  const { ask, upstream, docs, authorizationServer } = await start(t, { moreRoutes: DOCS });
  const paths = {
    '/docs/x': '/v1/x',
    '/docs': '/v1/',
    '/github/../docs/x': '/v1/x',
    '/github/%2e%2e/docs/x': '/v1/x',
    '/docs//x': '/v1/x',
    '/docs/%78%20y?a=%2F..%2F': '/v1/x%20y?a=%2F..%2F',
  };
  for (const [path, received] of Object.entries(paths)) {
    assert.equal((await ask(path)).status, 200, path);
    const { url, headers, authorization } = docs.requests.at(-1) ?? {};
    assert.deepEqual([url, authorization], [received, []], path);
    assert.deepEqual(decodeJwt(String(headers?.['x-api-key'])).aud, `${docs.url}/v1`);
  }
  // Asked by ext_proc, cambist refuses what no route of Envoy names.
  for (const path of ['/github%2f..%2fdocs', '/docs%5cx', '/docs/..%2fgithub', '/dOcs', '/', '/docsx'])
    assert.ok([400, by === 'ext_proc' ? 403 : 404].includes((await ask(path)).status), path);
  assert.equal((await ask('/docs/../github/x')).status, 200);
  assert.equal(upstream.requests.at(-1)?.url, '/mcp/x');
  assert.deepEqual(decodeJwt(lastToken(upstream)).aud, `${upstream.url}/mcp`);
  assert.deepEqual([upstream.requests.length, docs.requests.length], [1, Object.keys(paths).length]);
  assert.equal(authorizationServer.requests.length, 2);
});

testBy(PRINTED, 'a route that Envoy has no name for is refused', async (t, start) => {
  const { ask, docs } = await start(t, {
    moreRoutes: DOCS,
    // As if the operator had added a route, and forgotten its question.
    change: (text) =>
      text.replace('path_prefix: /ext-authz/docs', 'path_prefix: /no-route').replace('value: docs', 'value: no-route'),
  });
  assert.equal((await ask('/docs')).status, 403);
  assert.equal(docs.requests.length, 0);
});

const tools = (name: string) => ({ path: '/tools', mcp_method: 'tools/call', mcp_name: name });
const BY_MESSAGE = {
  decisions: { routes_by: 'match' },
  // With ext_authz over gRPC, Envoy 1.40 ignores `pack_as_bytes` of a route.
  change: (text: string) =>
    text.replace(
      /^( *)encode_raw_headers: true/m,
      '$&\n$1with_request_body: { max_request_bytes: 1048576, pack_as_bytes: true }',
    ),
  moreRoutes: (docs: FakeUpstream) => [
    { name: 'reads', match: tools('read'), upstream: `${docs.url}/mcp`, scope: 'read' },
    { name: 'writes', match: tools('write'), upstream: `${docs.url}/mcp`, scope: 'write' },
  ],
};
const callOf = (name: string, filler = '') =>
  JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: { filler } } });

/** A call of a tool, whose headers may name another one. */
function toolCall(authorization: string, name: string, body = callOf(name)) {
  const headers = {
    authorization,
    'content-type': 'application/json',
    'mcp-protocol-version': '2026-07-28',
    'mcp-method': 'tools/call',
    'mcp-name': name,
  };
  return { method: 'POST', headers: { ...headers, 'content-length': String(Buffer.byteLength(body)) }, body };
}

testBy(ALL, 'by match, each tool gets its own scope, from whole bodies', async (t, start) => {
  const { ask, authorization, docs, authorizationServer } = await start(t, BY_MESSAGE);
  for (const name of ['read', 'write']) {
    assert.equal((await ask('/tools', toolCall(authorization, name))).status, 200);
    assert.equal(decodeJwt(lastToken(docs)).scope, name);
    assert.equal(String(await docs.requests.at(-1)?.body()), callOf(name));
  }
  assert.equal((await ask('/tools', toolCall(authorization, 'read', callOf('write')))).status, 400);
  assert.equal((await ask('/tools', toolCall(authorization, 'other'))).status, 403);
  const large = toolCall(authorization, 'read', callOf('read', 'x'.repeat(2 ** 20)));
  assert.equal((await ask('/tools', large)).status, 413);
  assert.equal((await ask('/github')).status, 200);
  assert.deepEqual([docs.requests.length, authorizationServer.requests.length], [2, 3]);
});

testBy(
  ALL,
  'passes every byte of a tool call up to the limit, in chunks too, and refuses invalid UTF-8',
  async (t, start) => {
    const { ask, authorization, docs } = await start(t, BY_MESSAGE);
    // `retry_body_limit` of a route is 64 KiB, unless it is set.
    const ofSize = (size: number) => Buffer.from(callOf('read', 'x'.repeat(size - callOf('read').length)));
    const invalid = Buffer.from(callOf('read', 'xx'));
    invalid.set([0xc3, 0x28], invalid.indexOf('xx'));
    for (const [name, body, status] of [
      ['at the limit', ofSize(2 ** 16), 200],
      ['above the limit', ofSize(2 ** 16 + 1), 413],
      ['in chunks', ofSize(60_000), 200],
      ['invalid UTF-8', invalid, 403],
    ] as const) {
      const { headers } = toolCall(authorization, 'read');
      const framing =
        name === 'in chunks' ? { 'transfer-encoding': 'chunked' } : { 'content-length': String(body.length) };
      const { 'content-length': _, ...rest } = headers;
      const response = await ask('/tools', { method: 'POST', headers: { ...rest, ...framing }, body });
      assert.equal(response.status, status, `${name}: ${response.text}`);
      if (status === 200) assert.ok(body.equals((await docs.requests.at(-1)?.body()) ?? assert.fail()), name);
    }
    assert.equal(docs.requests.length, 2);
  },
);

testBy(ALL, 'refuses the part of a body that an operator lets through', async (t, start, by) => {
  const { ask, authorization, docs } = await start(t, {
    ...BY_MESSAGE,
    change: (text) =>
      BY_MESSAGE.change(text)
        .replaceAll('max_request_bytes: 1048576', 'allow_partial_message: true, max_request_bytes: 64')
        .replaceAll('BUFFERED', 'BUFFERED_PARTIAL'),
  });
  const { status, text } = await ask('/tools', toolCall(authorization, 'read', callOf('read', 'x'.repeat(100))));
  assert.equal(status, by === 'ext_proc' ? 403 : 413);
  assert.match(text, by === 'ext_proc' ? /ERR_ROUTE_NOT_FOUND/ : /ERR_MESSAGE_TOO_LARGE/);
  assert.equal(docs.requests.length, 0);
});

test('refuses a tool call that ext_authz sends as text', async (t) => {
  const change = (text: string) => BY_MESSAGE.change(text).replace(', pack_as_bytes: true', '');
  const { ask, authorization, docs } = await start(t, { ...BY_MESSAGE, by: 'ext_authz', change });
  assert.equal((await ask('/tools', toolCall(authorization, 'read'))).status, 403);
  assert.equal(docs.requests.length, 0);
});

test('forwards with the issued token alone where ext_authz sends the headers as a map', async (t) => {
  const change = (text: string) => text.replace('encode_raw_headers: true', 'encode_raw_headers: false');
  const { ask, authorization, subjectToken, authorizationServer, upstream } = await start(t, {
    by: 'ext_authz',
    change,
  });
  const copies = ['x-copy', `a ${subjectToken}`, 'x-http-method-override', 'DELETE', 'dpop', 'proof'];
  const own = ['authorization', authorization];
  for (const _ of [1, 2]) assert.equal((await ask('/github', { headers: [...own, ...copies] })).status, 200);
  assert.equal(lastToken(upstream), authorizationServer.requests[0]?.issued);
  for (const name of ['x-copy', 'x-http-method-override', 'dpop']) {
    assert.equal(upstream.requests.at(-1)?.headers[name], undefined, name);
  }
  assert.equal((await ask('/github', { headers: [] })).status, 401);
  assert.ok([400, 401].includes((await ask('/github', { headers: [...own, ...own] })).status));
  assert.equal(upstream.requests.length, 2);
});

for (const [service, status] of [
  ['envoy.service.auth.v3.Authorization', 200],
  ['other', 503],
] as const) {
  test(`Envoy asks about the health of ${service}, and then has ${status}`, async (t) => {
    const check = 'timeout: 5s, interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1';
    const { ask } = await start(t, {
      by: 'ext_authz',
      change: (text) =>
        text.replace(
          '- name: cambist_decisions\n',
          `$&      health_checks: [{ ${check}, grpc_health_check: { service_name: ${service} } }]
      common_lb_config: { healthy_panic_threshold: { value: 0 } }
`,
        ),
    });
    // Until the first check, Envoy does not use cambist.
    await eventually('the status', async () => (await ask('/github')).status === status);
  });
}

testBy(ALL, 'with another secret, passes nothing', async (t, start, by) => {
  const write = writerInto(temporaryFolder(t));
  const { file } = write('other', 'another-secret');
  const { ask, upstream } = await start(t, {
    keys: { secret: write('secret', 'a-secret-of-the-data-plane') },
    change: (text) => text.replace(/(generic_secret: .* filename: )"[^"]*"/, `$1"${file}"`),
  });
  assert.equal((await ask('/github')).status, by === 'http' ? 403 : 503);
  assert.equal(upstream.requests.length, 0);
});

/** Refuses these tokens, and each further one while there are `more`. */
function refusing(more = 0) {
  const refused = new Set<string>();
  const handler: UpstreamHandler = async (request, response) => {
    const [token = ''] = request.authorization;
    if (refused.size < more) refused.add(token);
    await request.body();
    if (refused.has(token)) response.writeHead(401, { 'www-authenticate': 'Bearer resource_metadata="https://evil"' });
    response.end(token);
  };
  return { handler, refused };
}

test('after a 401, Envoy sends the request again with a new token', async (t) => {
  const { handler } = refusing(1);
  const { ask, upstream, authorizationServer, authorization, app } = await start(t, { by: 'ext_proc', handler });
  const message = { method: 'POST', body: 'x'.repeat(100_000), headers: { authorization, 'x-kept': 'yes' } };
  for (const requests of [2, 3]) {
    assert.equal((await ask('/github/x', message)).status, 200);
    assert.equal(upstream.requests.length, requests);
    const received = upstream.requests.at(-1);
    assert.equal(String(await received?.body()), message.body);
    assert.equal(received?.headers['x-kept'], 'yes');
    assert.equal(lastToken(upstream), authorizationServer.requests[1]?.issued);
  }
  assert.equal(authorizationServer.requests.length, 2);
  assert.match(await app.metrics(), /cambist_upstream_retries_total\{route="github",reason="token"\} 1/);
});

test('a backend that refuses each token is a fault of the backend, and its challenge stays away from the client', async (t) => {
  const { handler } = refusing(10);
  const { ask, upstream, app } = await start(t, { by: 'ext_proc', handler });
  const { status, headers, text } = await ask('/github');
  assert.equal(status, 502);
  assert.equal(headers['www-authenticate'], undefined);
  assert.match(text, /"code":"ERR_UPSTREAM_REFUSED_TOKEN"/);
  assert.equal(new Set(upstream.requests.map(({ authorization: [token] }) => token)).size, 2);
  await eventually('the log line', () => app.logText().includes('the backend refused a token'));
});

test('a request that Envoy cannot send again fails, and the next one has a new token', async (t) => {
  const { handler, refused } = refusing(1);
  const change = (text: string) => text.replaceAll('num_retries: 1', 'num_retries: 0');
  const { ask, upstream, authorizationServer } = await start(t, { by: 'ext_proc', handler, change });
  assert.equal((await ask('/github')).status, 502);
  assert.equal((await ask('/github')).status, 200);
  assert.deepEqual([upstream.requests.length, authorizationServer.requests.length], [2, 2]);
  assert.ok(!refused.has(`Bearer ${lastToken(upstream)}`));
});

test('a retry that gets no new token has the error of the exchange', async (t) => {
  const { handler } = refusing(1);
  const { ask, upstream, authorizationServer } = await start(t, { by: 'ext_proc', handler });
  const refusal = { kind: 'response', status: 400, body: { error: 'invalid_grant' } } as const;
  authorizationServer.queue.push({ kind: 'issue' }, refusal);
  const { status, text } = await ask('/github');
  assert.equal(status, 401);
  assert.match(text, /ERR_SUBJECT_TOKEN_INVALID/);
  assert.equal(upstream.requests.length, 1);
});

test('a backend that wants another sign-in keeps its token, and the client learns of it', async (t) => {
  const challenge = 'Bearer error="insufficient_user_authentication", acr_values="gold"';
  const handler: UpstreamHandler = (_request, response) => {
    response.writeHead(401, { 'www-authenticate': challenge }).end();
  };
  const { ask, authorizationServer } = await start(t, { by: 'ext_proc', handler });
  const { status, headers, text } = await ask('/github');
  assert.equal(status, 401);
  assert.match(String(headers['www-authenticate']), /acr_values="gold"/);
  assert.match(text, /ERR_INTERACTION_REQUIRED/);
  await ask('/github');
  assert.equal(authorizationServer.requests.length, 1);
});

test('many callers whose tokens are refused at once get a token each', async (t) => {
  const { handler, refused } = refusing();
  const { ask, upstream, mint } = await start(t, { by: 'ext_proc', handler });
  const callers = await Promise.all(
    ['a', 'b', 'c', 'd', 'e', 'f'].map(async (name) => [name, await mint(name)] as const),
  );
  const askAll = () =>
    Promise.all(
      callers.map(async ([name, authorization]) => {
        const { status, text } = await ask('/github', { headers: { authorization } });
        assert.deepEqual([status, decodeJwt(text.replace('Bearer ', '')).sub], [200, name]);
      }),
    );
  await askAll();
  for (const { authorization } of upstream.requests) refused.add(String(authorization));
  await askAll();
  assert.equal(upstream.requests.length, 3 * callers.length);
});

for (const [title, from, to] of [
  ['is off', /overrides: \{ grpc_initial_metadata.*\}/g, 'disabled: true'],
  ['skips requests', /^( *)(mutation_rules:.*)/m, '$1$2\n$1processing_mode: { request_header_mode: SKIP }'],
] as const) {
  test(`no attempt is sent where the filter of the listener ${title}`, async (t) => {
    const change = (text: string) => text.replace(from, to);
    const { ask, upstream, docs } = await start(t, { by: 'ext_proc', change, moreRoutes: DOCS });
    for (const path of ['/github', '/docs']) assert.equal((await ask(path)).status, 503);
    assert.deepEqual([upstream.requests.length, docs.requests.length], [0, 0]);
  });
}

for (const [title, isEach, status] of [
  ['no attempt is sent where another replica of cambist made the decision', true, 503],
  ['several replicas of cambist need no filter of attempts', false, 200],
] as const) {
  test(title, async (t) => {
    let second = '';
    const change = (text: string) => {
      const attempts = isEach
        ? text
        : text.replaceAll(/- name: cambist_attempts[\s\S]*?forwarding_namespaces.*\n */g, '');
      assert.equal(attempts.includes('cambist_attempts'), isEach);
      return attempts.replace(/\{ endpoint: .*?"([^"]*decisions\.sock)" \} \} \} \}/, (endpoint, path) => {
        second = `${path}-2`;
        return `${endpoint}, ${endpoint.replace(path, second)}`;
      });
    };
    const { ask, upstream, config, folder } = await start(t, { by: 'ext_proc', change });
    const decisions = { grpc: { listen: `unix:${second}` } };
    await startTestApp(t, { ...config, listen: `unix:${join(folder, 'listen-2.sock')}`, decisions });
    // Envoy asks both in turn.
    for (let i = 0; i < 4; i++) assert.equal((await ask('/github')).status, status);
    assert.equal(upstream.requests.length, isEach ? 0 : 4);
  });
}

for (const isRestarted of [true, false]) {
  test(`no retry is sent while cambist ${isRestarted ? 'knows nothing of the request after a restart' : 'is stopped'}`, async (t) => {
    let stop = async (): Promise<void> => {};
    const { ask, app, upstream, config } = await start(t, {
      by: 'ext_proc',
      async handler(_request, response) {
        await stop();
        response.writeHead(401).end();
      },
    });
    stop = async () => {
      await app.stop(AbortSignal.abort());
      if (isRestarted) await startTestApp(t, config);
    };
    assert.equal((await ask('/github')).status, 503);
    assert.equal(upstream.requests.length, 1);
  });
}

test('a retry whose token comes too late is not sent', async (t) => {
  const { handler } = refusing(1);
  const { ask, upstream, authorizationServer } = await start(t, {
    by: 'ext_proc',
    handler,
    change: (text) => text.replaceAll(/message_timeout: \d+s/g, 'message_timeout: 1s'),
  });
  authorizationServer.queue.push({ kind: 'issue' }, { kind: 'issue', delayMs: 2000 });
  assert.equal((await ask('/github')).status, 504);
  assert.equal(upstream.requests.length, 1);
});

test('a request that waits for its backend outlives a shutdown of cambist', async (t) => {
  const received = deferred<void>();
  const release = deferred<void>();
  const { ask } = await start(t, {
    by: 'ext_proc',
    async handler(_request, response) {
      received.resolve();
      await release.promise;
      response.end();
    },
  }).then((started) => {
    void received.promise.then(() => started.app.stop()).then(release.resolve);
    return started;
  });
  assert.equal((await ask('/github')).status, 200);
});
