import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { UsageError } from '../../../src/commands/command.ts';
import { explain } from '../../../src/commands/explain.ts';

const SECRET = 'client-secret-that-must-stay-hidden';
const ACTOR_TOKEN = 'actor-token-that-must-stay-hidden';

const CONFIG = `
version: 1
host_header: x-kagent-host
authorization_servers:
  keycloak:
    issuer: https://idp.example.com/realms/agents
    client_id: cambist
    client_auth: { method: client_secret_basic, client_secret: { env: EXPLAIN_TEST_SECRET } }
    extra_params: { connector_id: main }
  tokendings:
    token_endpoint: https://tokendings.example.com/token
    client_id: cambist
    client_auth: { method: private_key_jwt, private_key: { env: EXPLAIN_TEST_SECRET } }
defaults:
  authorization_server: keycloak
routes:
  - name: github
    match: { host: github-mcp.tools.svc, path: /mcp }
    upstream: https://github-mcp.example.com/mcp
    scope: repo:read
    audience: github-mcp
    resource: https://github-mcp.example.com/mcp
    actor_token: { file: actor-token, type: jwt }
  - name: tools
    match: { host: '*.tools.svc' }
    upstream: https://tools.example.com
    authorization_server: tokendings
    credential: client_credentials
  - name: docs
    match: { path: /docs }
    upstream: http://docs-mcp:8080/mcp
    credential: none
`;

/** Three routes of one path. */
const TOOLS = `${CONFIG.slice(0, CONFIG.indexOf('  - name: github'))}  - name: calling
    match: { path: /tools }
    upstream: https://more.example.com
    http2: true
    step_up: ['tools:write', 'tools:admin']
  - name: getting
    match: { path: /tools, methods: [GET, HEAD] }
    upstream: https://more.example.com
  - name: deleting
    match: { path: /tools, mcp_name: 'delete_*' }
    upstream: https://more.example.com
  - name: docs
    match: { path: /docs }
    upstream: http://docs-mcp:8080/mcp
    credential: none
    allowed_origins: ['https://app.example.com']
`;

let folder = '';
let file = '';
let tools = '';

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cambist-explain-'));
  file = join(folder, 'cambist.yaml');
  await writeFile(file, CONFIG);
  tools = join(folder, 'tools.yaml');
  await writeFile(tools, TOOLS);
  await writeFile(join(folder, 'actor-token'), ACTOR_TOKEN);
  process.env.EXPLAIN_TEST_SECRET = SECRET;
});
after(() => rm(folder, { recursive: true }));

async function run(t: TestContext, ...args: string[]): Promise<{ code: number; text: string }> {
  const written: string[] = [];
  const log = t.mock.method(console, 'log', (line: string) => void written.push(line));
  const error = t.mock.method(console, 'error', (line: string) => void written.push(line));
  try {
    return { code: await explain(['--config', file, ...args]), text: written.join('\n') };
  } finally {
    log.mock.restore();
    error.mock.restore();
  }
}

async function json(t: TestContext, ...args: string[]) {
  const { code, text } = await run(t, '--json', ...args);
  return { code, explanation: JSON.parse(text) };
}

describe('explain', () => {
  test('says by which ways a request to an https URL could arrive, and ignores host_header for it', async (t) => {
    const url = 'https://github-mcp.tools.svc/mcp';
    const { code, text } = await run(t, '-H', 'x-kagent-host: docs', url);
    assert.equal(code, 0);
    assert.match(text, /Route "github"/);
    assert.match(
      text,
      /How the request arrives\n {2}exec: cambist exec -- COMMAND\n {2}no other way: the config has no intercept/,
    );
    assert.match(text, /metadata +https:\/\/github-mcp\.tools\.svc\/\.well-known/);
    const intercepted = join(folder, 'intercepted.yaml');
    await writeFile(intercepted, `${CONFIG}intercept: {}\n`);
    const { explanation } = await json(t, '--config', intercepted, url);
    assert.deepEqual(
      explanation.ways_in.map(({ way }: { way: string }) => way),
      ['proxy', 'exec'],
    );
  });

  test('refuses an https request for another host than that of its URL', async (t) => {
    const { code, text } = await run(t, '-H', 'host: x.tools.svc', 'https://github-mcp.tools.svc/mcp');
    assert.equal(code, 1);
    assert.match(text, /the request gets 421 ERR_MISDIRECTED_REQUEST/);
  });

  test("says how cambist learns that a caller's token is revoked", async (t) => {
    const revoking = join(folder, 'revoking.yaml');
    const signals = `signals:
  listen: 127.0.0.1:8190
  transmitters:
    idp: { issuer: https://idp.example.com, audience: cambist, delivery: push, backchannel_logout: true }
`;
    const told = ['Shared Signals of idp (push)', 'back-channel logout of idp'];
    await writeFile(revoking, CONFIG + signals);
    const url = 'http://github-mcp.tools.svc/mcp';
    assert.deepEqual((await json(t, '--config', revoking, url)).explanation.revoked_by, told);
    await writeFile(join(folder, 'shared-key'), 'a key that is long enough by any measure');
    const shared = 'cache: { shared: { url: redis://127.0.0.1, key: { file: shared-key } } }\n';
    await writeFile(revoking, CONFIG + signals + shared);
    assert.deepEqual((await json(t, '--config', revoking, url)).explanation.revoked_by, [...told, 'other replicas']);
    assert.equal((await json(t, '--config', revoking, 'http://x/docs')).explanation.revoked_by, undefined);
  });

  test('shows where a secret goes, and not what it is', async (t) => {
    const keys = join(folder, 'secret.yaml');
    const secret = join(folder, 'api-key');
    await writeFile(secret, SECRET);
    const route = `{ name: weather, match: { path: / }, upstream: "https://w.example.com", credential: secret, secret: { file: "${secret}" }`;
    await writeFile(keys, `version: 1\nroutes:\n  - ${route}, send: { header: X-API-Key, scheme: Key } }\n`);
    const { text } = await run(t, '--config', keys, '/a');
    assert.match(text, /credential {3}secret/);
    assert.ok(text.includes(`  sent as      X-API-Key: Key <secret from ${secret}>`), text);
    assert.ok(!text.includes(SECRET));
  });

  test('shows the route of a request, its upstream, and why no other route matches', async (t) => {
    const { code, explanation } = await json(t, 'http://github-mcp.tools.svc/mcp/x?a=%2F');
    assert.equal(code, 0);
    assert.deepEqual(explanation.request, { method: 'POST', host: 'github-mcp.tools.svc', path: '/mcp/x' });
    assert.equal(explanation.route, 'github');
    assert.equal(explanation.upstream, 'https://github-mcp.example.com/mcp/x?a=%2F');
    assert.equal(explanation.credential, 'exchange');
    assert.deepEqual(explanation.others, [
      { route: 'tools', why: 'the host of "github" is more specific' },
      { route: 'docs', why: 'its path /docs is not a prefix of /mcp/x in whole segments' },
    ]);
  });

  test('says when a request without a token is sent as cambist itself', async (t) => {
    await writeFile(tools, TOOLS.replace('    http2: true', '    on_missing_subject: client_credentials'));
    t.after(() => writeFile(tools, TOOLS));
    const { text } = await run(t, '--config', tools, 'http://127.0.0.1:8180/tools');
    assert.match(text, /^ {2}credential {3}exchange\n {2}no token {5}cambist's own token \(client_credentials\)$/m);
    const denied = await run(t, '--config', tools, '-X', 'GET', 'http://127.0.0.1:8180/tools');
    assert.doesNotMatch(denied.text, /no token/);
  });

  test('says that the caller is a handle with inbound, on routes that need one', async (t) => {
    const inbound =
      "inbound: { listen: 0.0.0.0:80, agent: 'http://127.0.0.1:81', verify: { issuer: 'https://i.example', audience: a } }";
    await writeFile(tools, `${TOOLS}${inbound}\n`);
    t.after(() => writeFile(tools, TOOLS));
    const { text } = await run(t, '--config', tools, 'http://127.0.0.1:8180/tools');
    assert.match(text, /^ {2}caller {7}handle, in Authorization or baggage$/m);
    const none = await run(t, '--config', tools, 'http://127.0.0.1:8180/docs');
    assert.doesNotMatch(none.text, /^ {2}caller/m);
  });

  test('shows every parameter of the token request', async (t) => {
    const { explanation } = await json(t, 'http://github-mcp.tools.svc/mcp');
    assert.deepEqual(explanation.token_request, {
      endpoint: 'the token_endpoint in the metadata of https://idp.example.com/realms/agents',
      client_authentication: 'Authorization: Basic <cambist:secret, form encoded>',
      form: [
        ['grant_type', 'urn:ietf:params:oauth:grant-type:token-exchange'],
        ['subject_token', '<token from the header "authorization">'],
        ['subject_token_type', 'urn:ietf:params:oauth:token-type:access_token'],
        ['actor_token', '<actor token>'],
        ['actor_token_type', 'urn:ietf:params:oauth:token-type:jwt'],
        ['resource', 'https://github-mcp.example.com/mcp'],
        ['audience', 'github-mcp'],
        ['scope', 'repo:read'],
        ['connector_id', 'main'],
      ],
    });
    assert.equal(explanation.cache_key.length, 3);
    assert.match(explanation.cache_key[1], /"mcp-session-id"/);
  });

  test('selects among routes of one path by method and message, and explains the others', async (t) => {
    const url = 'http://127.0.0.1:8180/tools';
    const nameOf = async (...args: string[]) => (await json(t, '--config', tools, ...args, url)).explanation;
    const called = await nameOf('-H', 'mcp-method: tools/call', '-H', 'mcp-name: =?base64?ZGVsZXRlX2FsbA==?=');
    assert.equal(called.route, 'deleting');
    assert.deepEqual(called.request, {
      method: 'POST',
      host: '127.0.0.1',
      path: '/tools',
      mcp_method: 'tools/call',
      mcp_name: 'delete_all',
    });
    const why = Object.fromEntries(called.others.map((one: { route: string; why: string }) => [one.route, one.why]));
    assert.equal(why.calling, 'the conditions of "deleting" are more specific');
    assert.equal(why.getting, 'it wants the method GET, HEAD');
    assert.equal((await nameOf('-X', 'GET')).route, 'getting');
    const plain = await nameOf();
    assert.equal(plain.route, 'calling');
    const reasons = plain.others.map((one: { why: string }) => one.why);
    assert.ok(reasons.includes('it wants the MCP name delete_*, and the request has none'));
  });

  test('shows step-up scopes, the protocol and the metadata for callers', async (t) => {
    const url = 'http://127.0.0.1:8180/tools/x';
    const { explanation } = await json(t, '--config', tools, url);
    assert.deepEqual(explanation.step_up, ['tools:write', 'tools:admin']);
    assert.equal(explanation.http2, true);
    const metadata = 'http://127.0.0.1:8180/.well-known/oauth-protected-resource/tools/x';
    assert.equal(explanation.protected_resource_metadata, metadata);
    const { text } = await run(t, '--config', tools, url);
    for (const line of ['HTTP/2 if the upstream supports it', 'step-up      tools:write tools:admin', metadata]) {
      assert.ok(text.includes(line), line);
    }
    const docs = await json(t, '--config', tools, 'http://127.0.0.1:8180/docs');
    assert.equal('protected_resource_metadata' in docs.explanation || 'step_up' in docs.explanation, false);
  });

  test('shows which web pages may call a route that needs no token of the caller', async (t) => {
    const docs = ['--config', tools, 'http://127.0.0.1:8180/docs'];
    assert.deepEqual((await json(t, ...docs)).explanation.allowed_origins, ['https://app.example.com']);
    assert.match((await run(t, ...docs)).text, / {2}web pages {4}https:\/\/app\.example\.com\n/);
    const service = 'http://other.tools.svc/any';
    assert.deepEqual((await json(t, service)).explanation.allowed_origins, []);
    assert.match((await run(t, service)).text, /web pages {4}none without a caller's token/);
    const calling = await json(t, '--config', tools, 'http://127.0.0.1:8180/tools');
    assert.equal('allowed_origins' in calling.explanation, false);
  });

  test('shows the request of a route with client_credentials', async (t) => {
    const { explanation } = await json(t, 'http://other.tools.svc/any');
    assert.equal(explanation.route, 'tools');
    assert.equal(explanation.token_request.endpoint, 'https://tokendings.example.com/token');
    assert.match(explanation.token_request.client_authentication, /client_assertion=<JWT signed now>/);
    assert.deepEqual(explanation.token_request.form, [
      ['grant_type', 'client_credentials'],
      ['resource', 'https://tools.example.com'],
    ]);
    assert.equal(explanation.cache_key.length, 1);
  });

  test('shows no token request on a route that needs no token', async (t) => {
    const { code, explanation } = await json(t, 'http://127.0.0.1:8180/docs');
    assert.equal(code, 0);
    assert.equal(explanation.credential, 'none');
    assert.equal('token_request' in explanation, false);
    assert.equal('cache_key' in explanation, false);
  });

  test('exits with 1 and explains each route if none matches', async (t) => {
    const { code, explanation } = await json(t, 'http://127.0.0.1:8180/other');
    assert.equal(code, 1);
    assert.equal('route' in explanation, false);
    assert.deepEqual(
      explanation.others.map(({ route }: { route: string }) => route),
      ['github', 'tools', 'docs'],
    );
    const { text } = await run(t, 'http://127.0.0.1:8180/other');
    assert.match(text, /^Why no route matches\n {2}github: /m);
  });

  test('takes the host from a Host header instead of the URL, as curl does', async (t) => {
    const { explanation } = await json(t, '-H', 'Host: GitHub-MCP.tools.svc:80', 'http://127.0.0.1:8180/mcp');
    assert.equal(explanation.request.host, 'github-mcp.tools.svc');
    assert.equal(explanation.route, 'github');
  });

  test('prefers the host header of the config', async (t) => {
    const args = ['-H', 'X-Kagent-Host: github-mcp.tools.svc', '-H', 'Host: other', 'http://127.0.0.1:8180/mcp'];
    assert.equal((await json(t, ...args)).explanation.route, 'github');
  });

  test('ignores a host that is named twice, as the proxy does', async (t) => {
    const host = ['-H', 'Host: github-mcp.tools.svc'];
    const { code, explanation } = await json(t, ...host, ...host, 'http://127.0.0.1:8180/mcp');
    assert.equal(code, 1);
    assert.equal('host' in explanation.request, false);
  });

  test('accepts a path with a host header', async (t) => {
    const { explanation } = await json(t, '-X', 'GET', '-H', 'host: github-mcp.tools.svc', '/mcp');
    assert.deepEqual(explanation.request, { method: 'GET', host: 'github-mcp.tools.svc', path: '/mcp' });
    assert.equal(explanation.route, 'github');
  });

  test('reports an invalid path', async (t) => {
    const { code, text } = await run(t, 'http://github-mcp.tools.svc/mcp/..%2fadmin');
    assert.equal(code, 1);
    assert.match(text, /path \(not usable\)/);
    assert.match(text, /the request path is invalid/);
  });

  test('prints the same as text', async (t) => {
    const { code, text } = await run(t, 'http://github-mcp.tools.svc/mcp');
    assert.equal(code, 0);
    for (const line of [
      'POST host github-mcp.tools.svc, path /mcp',
      'Route "github"',
      '  upstream     https://github-mcp.example.com/mcp',
      '  credential   exchange',
      'Token request',
      '  scope=repo:read',
      'Why no other route matches',
      '  tools: the host of "github" is more specific',
    ]) {
      assert.ok(text.split('\n').includes(line), `${line}\n\nis not in\n\n${text}`);
    }
    const refused = await run(t, 'http://127.0.0.1:8180/other');
    assert.match(refused.text, /No route: the request gets 403 ERR_ROUTE_NOT_FOUND\./);
  });

  test('shows no secret', async (t) => {
    for (const url of ['http://github-mcp.tools.svc/mcp', 'http://other.tools.svc/']) {
      for (const format of [[], ['--json']]) {
        const { text } = await run(t, ...format, '-H', 'Authorization: Bearer callers-own-token', url);
        for (const secret of [SECRET, ACTOR_TOKEN, 'callers-own-token']) assert.ok(!text.includes(secret));
      }
    }
  });

  test('throws on no URL, two URLs, or a malformed header', async () => {
    for (const args of [[], ['/a', '/b'], ['-H', 'no-colon', '/a'], ['-H', ': value', '/a']]) {
      await assert.rejects(explain(['--config', file, ...args]), UsageError);
    }
  });

  test('does not repeat a malformed header, which may be a token', async () => {
    await assert.rejects(explain(['--config', file, '-H', 'callers-own-token', '/a']), (error: Error) => {
      return !error.message.includes('callers-own-token');
    });
  });

  test('exits with 1 and every problem of an invalid config', async (t) => {
    const broken = join(folder, 'broken.yaml');
    await writeFile(broken, 'version: 2\nroutes: 7\n');
    const { code, text } = await run(t, '--config', broken, '/a');
    assert.equal(code, 1);
    assert.match(text, /broken\.yaml:1:\d+: version: /);
    assert.match(text, /broken\.yaml:2:\d+: routes: /);
  });
});

const GRANTS = `
version: 1
authorization_servers:
  idp:
    issuer: https://login.example.com
    client_id: cambist
    client_auth: { method: client_secret_jwt, client_secret: { env: EXPLAIN_TEST_SECRET } }
  entra:
    issuer: https://entra.example.com
    client_id: cambist
    grant: jwt_bearer
    client_auth: { method: client_secret_post, client_secret: { env: EXPLAIN_TEST_SECRET } }
  workload:
    issuer: https://workload.example.com
    client_id: cambist
    dpop: true
    client_auth: { method: client_assertion, client_assertion: { file: actor-token } }
  certified:
    issuer: https://certified.example.com
    client_id: cambist
    client_auth: { method: tls_client_auth }
    tls: { certificate: { file: c }, private_key: { file: k } }
routes:
  - name: chained
    match: { path: /chained }
    upstream: https://chained.example.com/mcp
    authorization_server: certified
    chain: { authorization_server: idp }
    subject_token: { verify: { issuer: https://login.example.com, audience: [a, b] } }
  - name: behalf
    match: { path: /behalf }
    upstream: https://behalf.example.com
    authorization_server: entra
    scope: api://b/.default
    expect_audience: api://b
    subject_token: { verify: { issuer: https://i, audience: any, jwks_uri: https://i/keys } }
  - name: work
    match: { path: /work }
    upstream: https://work.example.com
    authorization_server: workload
    subject_token: { file: actor-token }
`;

describe('explain of grants', () => {
  async function explained(t: TestContext, path: string) {
    const grants = join(folder, 'grants.yaml');
    await writeFile(grants, GRANTS);
    const { explanation } = await json(t, '--config', grants, path);
    const { text } = await run(t, '--config', grants, path);
    for (const secret of [SECRET, ACTOR_TOKEN]) assert.ok(!JSON.stringify([explanation, text]).includes(secret));
    return { explanation, text };
  }

  test('shows both requests of a chain, and the verification of the subject token', async (t) => {
    const { explanation, text } = await explained(t, '/chained');
    assert.deepEqual(explanation.assertion_request.form, [
      ['grant_type', 'urn:ietf:params:oauth:grant-type:token-exchange'],
      ['subject_token', '<token from the header "authorization">'],
      ['subject_token_type', 'urn:ietf:params:oauth:token-type:id_token'],
      ['resource', 'https://chained.example.com/mcp'],
      ['audience', 'https://certified.example.com'],
      ['requested_token_type', 'urn:ietf:params:oauth:token-type:id-jag'],
    ]);
    assert.match(explanation.assertion_request.client_authentication, /<JWT made now with the secret, HS256>/);
    assert.deepEqual(explanation.token_request.form, [
      ['grant_type', 'urn:ietf:params:oauth:grant-type:jwt-bearer'],
      ['assertion', '<assertion from the previous request>'],
      ['resource', 'https://chained.example.com/mcp'],
    ]);
    assert.match(explanation.token_request.endpoint, /mtls_endpoint_aliases if present$/);
    assert.match(explanation.token_request.client_authentication, /the client certificate of the connection$/);
    const check =
      'signed by https://login.example.com (keys from the jwks_uri of its metadata), aud one of a, b, exp and nbf';
    assert.equal(explanation.subject_token_check, check);
    assert.ok(text.includes(`  subject      ${check}`));
    assert.ok(text.indexOf('Assertion request') < text.indexOf('Token request'));
    assert.equal(explanation.issued_token_check, 'aud contains https://chained.example.com/mcp');
    assert.ok(text.includes(`Check of the issued token\n  ${explanation.issued_token_check}`));
  });

  test('shows a jwt_bearer request without a resource', async (t) => {
    const { explanation } = await explained(t, '/behalf');
    assert.deepEqual(explanation.token_request.form, [
      ['grant_type', 'urn:ietf:params:oauth:grant-type:jwt-bearer'],
      ['assertion', '<token from the header "authorization">'],
      ['scope', 'api://b/.default'],
    ]);
    assert.match(explanation.token_request.client_authentication, /client_secret=<secret> in the form/);
    assert.match(explanation.subject_token_check, /keys from https:\/\/i\/keys\), any aud/);
  });

  test('shows a subject token from a file, and the DPoP proof', async (t) => {
    const { explanation, text } = await explained(t, '/work');
    assert.equal(explanation.token_request.dpop, true);
    assert.deepEqual(explanation.token_request.form[1], ['subject_token', '<token from the file>']);
    assert.match(explanation.token_request.client_authentication, /<from the file>, of type urn:ietf/);
    assert.equal(explanation.cache_key.length, 2);
    assert.ok(text.includes('  DPoP: <proof made now>'));
  });
});
