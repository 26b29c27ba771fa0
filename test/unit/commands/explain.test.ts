import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ACTOR_TOKEN, CONFIG, json, run, SECRET, TOOLS } from './explained.ts';

const GITHUB = 'http://github-mcp.tools.svc/mcp';
const CALLING = 'http://127.0.0.1:8180/tools';
const DOCS = 'http://127.0.0.1:8180/docs';
const SHARED = 'cache: { shared: { url: redis://127.0.0.1, key: { file: shared-key } } }\n';

test("says how cambist learns that a caller's token is revoked", async (t) => {
  const signals = `${CONFIG}signals:
  listen: 127.0.0.1:8190
  transmitters:
    idp: { issuer: https://idp.example.com, audience: cambist, delivery: push, backchannel_logout: true }
`;
  const told = ['Shared Signals of idp (push)', 'back-channel logout of idp'];
  for (const [config, url, revokedBy] of [
    [signals, GITHUB, told],
    [signals + SHARED, GITHUB, [...told, 'other replicas']],
    [signals + SHARED, DOCS, undefined],
  ] as const) {
    assert.deepEqual((await json(t, config, url)).explanation.revoked_by, revokedBy);
  }
});

test('says whether replicas share the token of a route', async (t) => {
  for (const [host, sharing] of [
    ['github-mcp', "shared with other replicas, sealed under the caller's token"],
    ['x', 'not shared with other replicas, because it is for cambist itself'],
  ]) {
    const { explanation } = await json(t, CONFIG + SHARED, `http://${host}.tools.svc/mcp`);
    assert.equal(explanation.sharing, sharing);
  }
});

test('shows where a secret goes, and not what it is', async (t) => {
  const route = `{ name: weather, match: { path: / }, upstream: "https://w.example.com", credential: secret, secret: { file: api-key }`;
  const config = `version: 1\nroutes:\n  - ${route}, send: { header: X-API-Key, scheme: Key } }\n`;
  const { text } = await run(t, config, '/a');
  assert.match(text, /credential {3}secret/);
  assert.match(text, / {2}sent as {6}X-API-Key: Key <secret from \S+\/api-key>/);
  assert.ok(!text.includes(SECRET));
});

/** The first route of TOOLS with these keys. */
const toolsWith = (keys: string) => TOOLS.replace('    step_up:', `    ${keys}\n    step_up:`);

test('says when a request without a token is sent as cambist itself', async (t) => {
  const config = toolsWith('on_missing_subject: client_credentials');
  const { text } = await run(t, config, CALLING);
  assert.match(text, /^ {2}credential {3}exchange\n {2}no token {5}cambist's own token \(client_credentials\)$/m);
  assert.doesNotMatch((await run(t, config, '-X', 'GET', CALLING)).text, /no token/);
});

test('says how handshakes and lists without a caller are sent', async (t) => {
  for (const [unattended, how] of [
    ['client_credentials', "cambist's own token \\(client_credentials\\)"],
    ['none', 'sent without a token'],
  ]) {
    const { text } = await run(t, toolsWith(`unattended: ${unattended}`), CALLING);
    assert.match(text, new RegExp(`^ {2}unattended {3}handshakes and lists without a caller: ${how}$`, 'm'));
    assert.match(text, /^ {2}web pages {4}none without a caller's token$/m);
  }
});

test('says that the caller is a handle with inbound, on routes that need one', async (t) => {
  const verify = "verify: { issuer: 'https://i.example', audience: a }";
  const config = `${TOOLS}inbound: { listen: 0.0.0.0:80, agent: 'http://127.0.0.1:81', ${verify} }\n`;
  assert.match((await run(t, config, CALLING)).text, /^ {2}caller {7}handle, in Authorization or baggage$/m);
  assert.doesNotMatch((await run(t, config, DOCS)).text, /^ {2}caller/m);
});

test('shows every parameter of the token request', async (t) => {
  const { explanation } = await json(t, CONFIG, GITHUB);
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

test('shows step-up scopes and the metadata for callers', async (t) => {
  const url = `${CALLING}/x`;
  const { explanation } = await json(t, TOOLS, url);
  assert.deepEqual(explanation.step_up, ['tools:write', 'tools:admin']);
  const metadata = 'http://127.0.0.1:8180/.well-known/oauth-protected-resource/tools/x';
  assert.equal(explanation.protected_resource_metadata, metadata);
  const { text } = await run(t, TOOLS, url);
  for (const line of ['step-up      tools:write tools:admin', metadata]) assert.ok(text.includes(line), line);
  const docs = await json(t, TOOLS, DOCS);
  assert.equal('protected_resource_metadata' in docs.explanation || 'step_up' in docs.explanation, false);
});

test('shows which web pages may call a route that needs no token of the caller', async (t) => {
  const service = 'http://other.tools.svc/any';
  for (const [config, url, origins, line] of [
    [TOOLS, DOCS, ['https://app.example.com'], / {2}web pages {4}https:\/\/app\.example\.com\n/],
    [CONFIG, service, [], /web pages {4}none without a caller's token/],
  ] as const) {
    assert.deepEqual((await json(t, config, url)).explanation.allowed_origins, origins);
    assert.match((await run(t, config, url)).text, line);
  }
  assert.equal('allowed_origins' in (await json(t, TOOLS, CALLING)).explanation, false);
});

test('shows the request of a route with client_credentials', async (t) => {
  const { explanation } = await json(t, CONFIG, 'http://other.tools.svc/any');
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
  const { code, explanation } = await json(t, CONFIG, DOCS);
  assert.equal(code, 0);
  assert.equal(explanation.credential, 'none');
  assert.equal('token_request' in explanation, false);
  assert.equal('cache_key' in explanation, false);
});

test('prints the same as text', async (t) => {
  const { code, text } = await run(t, CONFIG, GITHUB);
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
});

test('shows no secret', async (t) => {
  for (const url of [GITHUB, 'http://other.tools.svc/']) {
    for (const format of [[], ['--json']]) {
      const { text } = await run(t, CONFIG, ...format, '-H', 'Authorization: Bearer callers-own-token', url);
      for (const secret of [SECRET, ACTOR_TOKEN, 'callers-own-token']) assert.ok(!text.includes(secret));
    }
  }
});

test('exits with 2 on no URL, two URLs, a malformed header, or a Host that no route serves', async (t) => {
  const host = /Host must be given once, as a host/;
  for (const [args, message] of [
    [[], /one URL/],
    [['/a', '/b'], /one URL/],
    [['-H', ': value', '/a'], /header/],
    [['-H', 'host: a', '-H', 'Host: a', '/a'], host],
    [['-H', 'host: a/b', '/a'], host],
    [['--agent', 'billing', GITHUB], /the config has no agents/],
    // A malformed header may be a token.
    [['-H', 'callers-own-token', '/a'], /^(?!.*callers-own-token).*header/s],
  ] as const) {
    const { code, text } = await run(t, CONFIG, ...args);
    assert.equal(code, 2, args.join());
    assert.match(text, message);
  }
});

test('exits with 1 and every problem of an invalid config', async (t) => {
  const { code, text } = await run(t, 'version: 2\nroutes: 7\n', '/a');
  assert.equal(code, 1);
  assert.match(text, /cambist\.yaml:1:\d+: version: /);
  assert.match(text, /cambist\.yaml:2:\d+: routes: /);
});

test('prints no character of the config that controls or reorders the line', async (t) => {
  const hostile = CONFIG.replace('audience: github-mcp', 'audience: "a\\x9b2J\\u202Eb\\nc"');
  assert.match((await run(t, hostile, GITHUB)).text, /\n {2}audience=a\?2J\?b\?c\n/);
  const { text } = await run(t, hostile, '--json', GITHUB);
  assert.match(text, /"a\\u009b2J\\u202eb\\nc"/);
  assert.ok(JSON.parse(text).token_request.form.some(([, value]: string[]) => value === 'a\u009b2J\u202eb\nc'));
});

test('says as which agent a request may be sent, and how cambist knows it', async (t) => {
  const agents = `listen:
  address: 127.0.0.1:8443
  tls: { certificate: { file: a }, private_key: { file: b }, client_ca: { file: c } }
agents:
  token: { header: x-agent-token, issuer: https://cluster.example.com, audience: cambist }
  certificate: true
  forwarded: { from: ['spiffe://example.org/proxy'] }
  known:
    billing: { service_account: team-a/billing, spiffe_id: spiffe://example.org/billing }
    support: { subject: support }
    certified: { spiffe_id: spiffe://example.org/certified }
`;
  const delegating = '    agents: [billing, certified]\n    actor_token: { from: agent }';
  const gateway = CONFIG.replace(/ {4}actor_token: .*/, delegating) + agents;
  const plain = await run(t, gateway, GITHUB);
  assert.equal(plain.code, 0);
  for (const line of [
    '  agents       only billing, certified',
    '  known by     token of https://cluster.example.com in the header "x-agent-token"; client certificate; x-forwarded-client-cert of spiffe://example.org/proxy',
    '  actor_token=<token of the agent from the header "x-agent-token">',
    '  the agent, by issuer and subject of its token',
  ]) {
    assert.ok(plain.text.includes(`\n${line}\n`), `${line}: ${plain.text}`);
  }
  const billing = await run(t, gateway, '--agent', 'billing', GITHUB);
  assert.equal(billing.code, 0);
  const sub = 'system:serviceaccount:team-a:billing';
  const identities = `spiffe://example.org/billing; https://cluster.example.com ${sub}`;
  assert.ok(billing.text.includes(`\n  agent        billing: ${identities}\n`), billing.text);
  for (const [agent, refused] of [
    ['support', '403 ERR_AGENT_NOT_ALLOWED here'],
    ['certified', '401 ERR_AGENT_UNKNOWN here: the route needs its token, and it has none'],
  ] as const) {
    const { code, text } = await run(t, gateway, '--agent', agent, GITHUB);
    assert.equal(code, 1);
    assert.ok(text.includes(`Route "github"\nRefused: agent "${agent}" gets ${refused}.\n`), text);
  }
  const { code, explanation } = await json(t, gateway, '--agent', 'support', 'http://x/docs');
  assert.deepEqual([code, explanation.agent.refused], [0, undefined]);
  assert.deepEqual(explanation.agent.served, ['billing', 'support', 'certified']);
  const unknown = await run(t, gateway, '--agent', 'other', GITHUB);
  assert.match(unknown.text, /known agents are billing, support, certified/);
});
