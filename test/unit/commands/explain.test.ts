import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { UsageError } from '../../../src/commands/command.ts';
import { explain } from '../../../src/commands/explain.ts';
import { ACTOR_TOKEN, CONFIG, file, folder, json, run, SECRET, TOOLS, tools } from './explained.ts';

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

test('says whether replicas share the token of a route', async (t) => {
  const shared = join(folder, 'shared.yaml');
  await writeFile(join(folder, 'shared-key'), 'a key that is long enough by any measure');
  const cache = 'cache: { shared: { url: redis://127.0.0.1, key: { file: shared-key } } }\n';
  await writeFile(shared, CONFIG + cache);
  const sharing = async (host: string) =>
    (await json(t, '--config', shared, `http://${host}.tools.svc/mcp`)).explanation.sharing;
  assert.equal(await sharing('github-mcp'), "shared with other replicas, sealed under the caller's token");
  assert.equal(await sharing('x'), 'not shared with other replicas, because it is for cambist itself');
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

test('says when a request without a token is sent as cambist itself', async (t) => {
  await writeFile(tools, TOOLS.replace('    step_up:', '    on_missing_subject: client_credentials\n    step_up:'));
  t.after(() => writeFile(tools, TOOLS));
  const { text } = await run(t, '--config', tools, 'http://127.0.0.1:8180/tools');
  assert.match(text, /^ {2}credential {3}exchange\n {2}no token {5}cambist's own token \(client_credentials\)$/m);
  const denied = await run(t, '--config', tools, '-X', 'GET', 'http://127.0.0.1:8180/tools');
  assert.doesNotMatch(denied.text, /no token/);
});

test('says how handshakes and lists without a caller are sent', async (t) => {
  t.after(() => writeFile(tools, TOOLS));
  for (const [unattended, how] of [
    ['client_credentials', "cambist's own token \\(client_credentials\\)"],
    ['none', 'sent without a token'],
  ]) {
    await writeFile(tools, TOOLS.replace('    step_up:', `    unattended: ${unattended}\n    step_up:`));
    const { text } = await run(t, '--config', tools, 'http://127.0.0.1:8180/tools');
    assert.match(text, new RegExp(`^ {2}unattended {3}handshakes and lists without a caller: ${how}$`, 'm'));
    assert.match(text, /^ {2}web pages {4}none without a caller's token$/m);
  }
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

test('shows step-up scopes and the metadata for callers', async (t) => {
  const url = 'http://127.0.0.1:8180/tools/x';
  const { explanation } = await json(t, '--config', tools, url);
  assert.deepEqual(explanation.step_up, ['tools:write', 'tools:admin']);
  const metadata = 'http://127.0.0.1:8180/.well-known/oauth-protected-resource/tools/x';
  assert.equal(explanation.protected_resource_metadata, metadata);
  const { text } = await run(t, '--config', tools, url);
  for (const line of ['step-up      tools:write tools:admin', metadata]) {
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

test('throws on a Host that no route serves: two of them, or one that is malformed', async () => {
  for (const args of [
    ['-H', 'host: a', '-H', 'Host: a'],
    ['-H', 'host: a/b'],
  ]) {
    await assert.rejects(explain(['--config', file, ...args, '/a']), /Host must be given once, as a host/);
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

test('prints no character of the config that controls or reorders the line', async (t) => {
  const hostile = join(folder, 'hostile.yaml');
  await writeFile(hostile, CONFIG.replace('audience: github-mcp', 'audience: "a\\x9b2J\\u202Eb\\nc"'));
  const request = ['--config', hostile, 'http://github-mcp.tools.svc/mcp'];
  assert.match((await run(t, ...request)).text, /\n {2}audience=a\?2J\?b\?c\n/);
  const { text } = await run(t, '--json', ...request);
  assert.match(text, /"a\\u009b2J\\u202eb\\nc"/);
  assert.deepEqual(
    JSON.parse(text).token_request.form.find(([name]: [string]) => name === 'audience')[1],
    'a\u009b2J\u202eb\nc',
  );
});

test('says as which agent a request may be sent, and how cambist knows it', async (t) => {
  const gateway = join(folder, 'agents.yaml');
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
  await writeFile(gateway, CONFIG.replace(/ {4}actor_token: .*/, delegating) + agents);
  const url = 'http://github-mcp.tools.svc/mcp';
  const plain = await run(t, '--config', gateway, url);
  assert.equal(plain.code, 0);
  for (const line of [
    '  agents       only billing, certified',
    '  known by     token of https://cluster.example.com in the header "x-agent-token"; client certificate; x-forwarded-client-cert of spiffe://example.org/proxy',
    '  actor_token=<token of the agent from the header "x-agent-token">',
    '  the agent, by issuer and subject of its token',
  ]) {
    assert.ok(plain.text.includes(`\n${line}\n`), `${line}: ${plain.text}`);
  }
  const billing = await run(t, '--config', gateway, '--agent', 'billing', url);
  assert.equal(billing.code, 0);
  const sub = 'system:serviceaccount:team-a:billing';
  const identities = `spiffe://example.org/billing; https://cluster.example.com ${sub}`;
  assert.ok(billing.text.includes(`\n  agent        billing: ${identities}\n`), billing.text);
  for (const [agent, refused] of [
    ['support', '403 ERR_AGENT_NOT_ALLOWED here'],
    ['certified', '401 ERR_AGENT_UNKNOWN here: the route needs its token, and it has none'],
  ] as const) {
    const { code, text } = await run(t, '--config', gateway, '--agent', agent, url);
    assert.equal(code, 1);
    assert.ok(text.includes(`Route "github"\nRefused: agent "${agent}" gets ${refused}.\n`), text);
  }
  const { code, explanation } = await json(t, '--config', gateway, '--agent', 'support', 'http://x/docs');
  assert.deepEqual([code, explanation.agent.refused], [0, undefined]);
  assert.deepEqual(explanation.agent.served, ['billing', 'support', 'certified']);
  await assert.rejects(
    run(t, '--config', gateway, '--agent', 'other', url),
    /known agents are billing, support, certified/,
  );
  await assert.rejects(run(t, '--agent', 'billing', url), /the config has no agents/);
});
