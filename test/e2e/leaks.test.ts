import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import type { Mood, TokenRequest } from '../harness/fake-authorization-server.ts';
import type { UpstreamHandler } from '../harness/fake-upstream.ts';
import { call } from '../harness/http-call.ts';
import { type Scene, type SceneAnswer, type SceneCall, startScene } from '../harness/scene.ts';
import { answer, dieMidStream, echo, refuseBearer } from '../harness/upstream-handlers.ts';

/** Responses of an authorization server that repeat the request. */
const INDISCREET: ((request: TokenRequest) => Mood)[] = [
  (request) => refusal(request, 'invalid_grant', everything),
  (request) => refusal(request, 'invalid_request', (said) => `subject_token ${said.subject} is invalid`),
  (request) => refusal(request, 'invalid_client', (said) => said.assertion),
  (request) => refusal(request, 'invalid_target', (said) => `token=${said.subject}&actor=${said.actor}`),
  (request) => refusal(request, 'unauthorized_client', (said) => said.subject.slice(-60)),
  ({ form }) => ({ kind: 'answer', status: 400, body: { error: form.get('subject_token') } }),
  ({ form }) => ({ kind: 'answer', status: 400, body: `<h1>${form}</h1>` }),
  ({ form }) => ({ kind: 'answer', status: 200, body: `<h1>${form}</h1>` }),
  ({ form }) => ({ kind: 'answer', status: 500, body: form.toString() }),
  ({ form }) => ({ kind: 'answer', status: 307, headers: { location: `http://127.0.0.1:1/?${form}` } }),
  ({ form }) => ({ kind: 'issue', fields: { token_type: form.get('subject_token') } }),
  ({ form }) => ({ kind: 'issue', fields: { issued_token_type: form.get('subject_token') } }),
  ({ form }) => ({ kind: 'issue', fields: { expires_in: form.get('subject_token') } }),
  ({ form }) => ({ kind: 'issue', audience: form.get('subject_token') ?? '' }),
  ({ form }) => ({ kind: 'issue', fields: { access_token: `${form.get('subject_token')} and more` } }),
  ({ form }) => ({ kind: 'answer', status: 429, headers: { 'retry-after': form.get('subject_token') ?? '' } }),
  () => ({ kind: 'reset' }),
];

interface Said {
  subject: string;
  actor: string;
  assertion: string;
}

function refusal({ form }: TokenRequest, error: string, describe: (said: Said) => string): Mood {
  const [subject = '', actor = '', assertion = ''] = ['subject_token', 'actor_token', 'client_assertion'].map(
    (name) => form.get(name) ?? '',
  );
  const error_description = describe({ subject, actor, assertion });
  // LemonLDAP::NG responds like this.
  return { kind: 'answer', status: 400, body: { error, error_description, refresh_token: subject, id_token: actor } };
}

function everything({ subject, actor, assertion }: Said): string {
  return `you sent ${subject} for ${actor}, by ${assertion}, urlencoded ${encodeURIComponent(subject)}`;
}

/** Responses of an upstream that repeat its token. */
const HOSTILE_UPSTREAMS: UpstreamHandler[] = [
  (request, response) =>
    void response.socket?.end(`HTTP/1.1 200 ${request.authorization}\r\nbad ${request.authorization}`),
  (request, response) => void response.socket?.end(`${request.authorization}\r\n\r\n`),
  (request, response) =>
    answer(401, request.authorization, { 'www-authenticate': request.authorization })(request, response),
  dieMidStream(1000, 10),
  refuseBearer(() => true),
];

/** Everything that cambist writes and serves. */
async function outputs({ cambist }: Scene, responses: readonly SceneAnswer[]): Promise<Record<string, string>> {
  const admin = async (path: string) => {
    const { rawHeaders, text } = await call(`${cambist.adminUrl}${path}`);
    return `${rawHeaders}\n${text}`;
  };
  return {
    stdout: cambist.stdout(),
    stderr: cambist.stderr(),
    responses: responses.map(({ rawHeaders, text }) => `${rawHeaders}\n${text}`).join('\n'),
    metrics: await admin('/metrics'),
    readyz: await admin('/readyz'),
    cache: await admin('/cache'),
  };
}

test('leaks no token or secret to logs, responses, metrics or status', async (t) => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const actor = `actor.${Buffer.from('{"sub":"cambist"}').toString('base64url')}.signature-of-the-actor-token`;
  const scene = await startScene({
    files: { key, actor },
    change: (config, { authorizationServer, upstream }) => ({
      ...config,
      log: { level: 'trace' },
      authorization_servers: {
        ...config.authorization_servers,
        signing: {
          issuer: authorizationServer.issuer,
          client_id: 'cambist',
          client_auth: { method: 'private_key_jwt', private_key: { file: 'key' } },
        },
        posting: {
          issuer: authorizationServer.issuer,
          client_id: 'cambist',
          client_auth: { method: 'client_secret_post', client_secret: { file: 'client-secret' } },
        },
      },
      routes: ['local', 'signing', 'posting'].map((server) => ({
        name: server,
        match: { path: `/${server}` },
        upstream: `${upstream.url}/mcp`,
        authorization_server: server,
        actor_token: { file: 'actor' },
      })),
    }),
  });
  t.after(scene.close);
  const { authorizationServer, upstream, leaks } = scene;
  leaks.remember(actor);
  for (const line of key.split('\n').filter((part) => !part.startsWith('-----') && part.length > 20))
    leaks.remember(line);
  const own: SceneAnswer[] = [];
  const go = async (options: SceneCall) => {
    const response = await scene.call(options).catch(() => undefined);
    if (response?.headers['content-type'] === 'application/problem+json') own.push(response);
  };

  for (const path of ['/local', '/signing', '/posting']) {
    for (const mood of INDISCREET) {
      authorizationServer.mood = mood;
      const headers = await scene.bearer();
      await go({ path, headers });
      await go({ path, headers });
      authorizationServer.mood = { kind: 'issue' };
      // A success keeps the circuit breaker closed for the next response.
      await go({ path, headers: await scene.bearer() });
    }
    for (const handler of HOSTILE_UPSTREAMS) {
      upstream.handler = handler;
      await go({ path, headers: await scene.bearer(), body: '{}' });
    }
    upstream.handler = echo;
    const { authorization } = await scene.bearer();
    const token = authorization.slice('Bearer '.length);
    const idFromToken = token.slice(-100);
    for (const headers of [
      { authorization, 'x-copy': token, cookie: `t=${token}`, 'mcp-session-id': token, traceparent: token },
      { authorization, 'x-request-id': idFromToken },
      { authorization: [authorization, authorization] },
      { authorization: `${authorization} ${token}` },
      { authorization: `Basic ${token}` },
      { authorization, host: token.slice(0, 200) },
    ]) {
      await go({ path, headers });
    }
    await go({ path: `${path}/${token}?t=${token}`, headers: { authorization } });
    await go({ path: `/${token}`, headers: { authorization } });
    await go({ path, headers: await scene.bearer({ ttlSeconds: -60 }) });
  }
  for (const { form } of authorizationServer.requests) {
    const assertion = form.get('client_assertion');
    if (assertion !== null) leaks.remember(assertion);
  }

  assert.ok(own.length > 60, `${own.length} responses of cambist itself`);
  assert.ok(scene.cambist.logs().length > 150);
  leaks.assertNoLeak(await outputs(scene, own));
  const received = upstream.requests.map(({ rawHeaders, url }) => `${url} ${rawHeaders}`).join('\n');
  for (const request of authorizationServer.requests) {
    const subject = request.form.get('subject_token') ?? '';
    assert.ok(!received.includes(subject), 'an upstream received the token of a caller');
  }
});

test('leaks no short or unusual secret that another server repeats', async (t) => {
  const secret = 'p4ss wörd+&=!';
  const scene = await startScene({
    files: { unusual: secret },
    change: (config) => ({
      ...config,
      log: { level: 'trace' },
      authorization_servers: {
        local: {
          ...config.authorization_servers.local,
          client_auth: { method: 'client_secret_post', client_secret: { file: 'unusual' } },
        },
      },
    }),
  });
  t.after(scene.close);
  const token = 'tok-a1b2c3d4';
  scene.leaks.remember(secret);
  scene.leaks.remember(token);
  scene.authorizationServer.mood = ({ form }) => ({
    kind: 'answer',
    status: 400,
    body: {
      error: 'invalid_client',
      error_description: `${form.get('client_secret')} with ${form.get('subject_token')}`,
    },
  });
  const own = [await scene.call({ headers: { authorization: `Bearer ${token}` } })];
  scene.leaks.assertNoLeak(await outputs(scene, own));
});

test("replaces a request id that contains the caller's token", async (t) => {
  const scene = await startScene({
    change: (config) => ({
      ...config,
      routes: [
        ...config.routes,
        { ...config.routes[0], name: 'bare', match: { path: '/bare' }, subject_token: { header: 'x-user-token' } },
      ],
    }),
  });
  t.after(scene.close);
  scene.upstream.handler = answer(200, 'fine');
  const token = 'opaque-token-of-alice-1234567';
  scene.leaks.remember(token);
  const own: SceneAnswer[] = [];
  for (const id of [token, `id:${token}`, `${token}.1`]) {
    own.push(await scene.call({ headers: { authorization: `Bearer ${token}`, 'x-request-id': id } }));
    own.push(await scene.call({ path: '/bare', headers: { 'x-user-token': token, 'x-request-id': id } }));
  }
  assert.deepEqual(
    own.map(({ status }) => status),
    [200, 200, 200, 200, 200, 200],
  );
  scene.leaks.assertNoLeak(await outputs(scene, own));
  for (const { rawHeaders } of scene.upstream.requests) {
    assert.ok(!rawHeaders.join('\n').includes(token), 'an upstream received the token of a caller');
  }
});
