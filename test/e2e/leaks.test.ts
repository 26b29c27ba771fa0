import assert from 'node:assert/strict';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { parseRecords } from '../harness/audit-records.ts';
import type { Behaviour, TokenRequest } from '../harness/fake-authorization-server.ts';
import { type FakeSetup, type SetupCall, type SetupResponse, startFakeSetup } from '../harness/fake-setup.ts';
import { echo, failMidStream, refuseBearer, respond, type UpstreamHandler } from '../harness/fake-upstream.ts';
import { call } from '../harness/http-call.ts';

/** Responses of an authorization server that repeat the request. */
const INDISCREET: ((request: TokenRequest) => Behaviour)[] = [
  (request) => refusal(request, 'invalid_grant', everything),
  (request) => refusal(request, 'invalid_request', (said) => `subject_token ${said.subject} is invalid`),
  (request) => refusal(request, 'invalid_client', (said) => `${said.secret}${said.assertion} with ${said.subject}`),
  (request) => refusal(request, 'invalid_target', (said) => `token=${said.subject}&actor=${said.actor}`),
  (request) => refusal(request, 'unauthorized_client', (said) => said.subject.slice(-60)),
  ({ form }) => ({ kind: 'response', status: 400, body: { error: form.get('subject_token') } }),
  ({ form }) => ({ kind: 'response', status: 400, body: `<h1>${form}</h1>` }),
  ({ form }) => ({ kind: 'response', status: 200, body: `<h1>${form}</h1>` }),
  ({ form }) => ({ kind: 'response', status: 500, body: form.toString() }),
  ({ form }) => ({ kind: 'response', status: 307, headers: { location: `http://127.0.0.1:1/?${form}` } }),
  ({ form }) => ({ kind: 'issue', fields: { token_type: form.get('subject_token') } }),
  ({ form }) => ({ kind: 'issue', fields: { issued_token_type: form.get('subject_token') } }),
  ({ form }) => ({ kind: 'issue', fields: { expires_in: form.get('subject_token') } }),
  ({ form }) => ({ kind: 'issue', audience: form.get('subject_token') ?? '' }),
  ({ form }) => ({ kind: 'issue', fields: { access_token: `${form.get('subject_token')} and more` } }),
  ({ form }) => ({ kind: 'response', status: 429, headers: { 'retry-after': form.get('subject_token') ?? '' } }),
  () => ({ kind: 'reset' }),
];

const NAMES = ['subject_token', 'actor_token', 'client_assertion', 'client_secret'];

type Said = Record<'subject' | 'actor' | 'assertion' | 'secret', string>;

function refusal({ form }: TokenRequest, error: string, describe: (said: Said) => string): Behaviour {
  const [subject = '', actor = '', assertion = '', secret = ''] = NAMES.map((name) => form.get(name) ?? '');
  const error_description = describe({ subject, actor, assertion, secret });
  // LemonLDAP::NG responds like this.
  return { kind: 'response', status: 400, body: { error, error_description, refresh_token: subject, id_token: actor } };
}

function everything({ subject, actor, assertion, secret }: Said): string {
  return `you sent ${subject} for ${actor}, by ${assertion}${secret}, urlencoded ${encodeURIComponent(subject)}`;
}

/** Responses of an upstream that repeat its token. */
const HOSTILE_UPSTREAMS: UpstreamHandler[] = [
  (request, response) =>
    void response.socket?.end(`HTTP/1.1 200 ${request.authorization}\r\nbad ${request.authorization}`),
  (request, response) => void response.socket?.end(`${request.authorization}\r\n\r\n`),
  (request, response) =>
    respond(401, request.authorization, { 'www-authenticate': request.authorization })(request, response),
  failMidStream(1000, 10),
  refuseBearer(() => true),
];

const UNUSUAL_SECRET = 'p4ss wörd+&=!';
const SHORT_TOKEN = 'tok-a1b2c3d4';

/** Everything that cambist writes and serves. */
async function outputs({ cambist }: FakeSetup, responses: readonly SetupResponse[]): Promise<Record<string, string>> {
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
  const setup = await startFakeSetup(t, {
    files: { key, actor, unusual: UNUSUAL_SECRET },
    change: (config, { authorizationServer, upstream }) => ({
      ...config,
      log: { level: 'trace' },
      audit: { to: 'stdout' },
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
          client_auth: { method: 'client_secret_post', client_secret: { file: 'unusual' } },
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
  const { authorizationServer, upstream, leaks } = setup;
  for (const secret of [actor, UNUSUAL_SECRET, SHORT_TOKEN]) leaks.remember(secret);
  for (const line of key.split('\n').filter((part) => !part.startsWith('-----') && part.length > 20))
    leaks.remember(line);
  const own: SetupResponse[] = [];
  const go = async (options: SetupCall) => {
    const response = await setup.call(options).catch(() => undefined);
    if (response?.text.includes('"urn:cambist:error:') === true) own.push(response);
  };

  for (const path of ['/local', '/signing', '/posting']) {
    for (const behaviour of INDISCREET) {
      authorizationServer.behaviour = behaviour;
      const headers = await setup.bearer();
      await go({ path, headers });
      await go({ path, headers });
      await go({ path, headers: { authorization: `Bearer ${SHORT_TOKEN}`, 'mcp-session-id': randomUUID() } });
      authorizationServer.behaviour = { kind: 'issue' };
      // A success keeps the circuit breaker closed for the next response.
      await go({ path, headers: await setup.bearer() });
    }
    for (const handler of HOSTILE_UPSTREAMS) {
      upstream.handler = handler;
      await go({ path, headers: await setup.bearer(), body: '{}' });
    }
    upstream.handler = echo;
    const { authorization } = await setup.bearer();
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
    await go({ path, headers: await setup.bearer({ ttlSeconds: -60 }) });
  }
  for (const { form } of authorizationServer.requests) {
    const assertion = form.get('client_assertion');
    if (assertion !== null) leaks.remember(assertion);
  }

  assert.ok(own.length > 60, `${own.length} responses of cambist itself`);
  assert.ok(setup.cambist.logs().length > 150);
  const audited = setup.cambist.logs().filter(({ kind }) => kind === 'audit');
  assert.ok(parseRecords(audited.map((line) => JSON.stringify(line)).join('\n')).length > 60);
  leaks.assertNoLeak(await outputs(setup, own));
  const received = upstream.requests.map(({ rawHeaders, url }) => `${url} ${rawHeaders}`).join('\n');
  for (const request of authorizationServer.requests) {
    const subject = request.form.get('subject_token') ?? '';
    assert.ok(!received.includes(subject), 'an upstream received the token of a caller');
  }
});
