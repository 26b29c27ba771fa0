import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Route } from '../../../src/config/route.ts';
import { assertProblems, configOf, problemsOf, routeOf, routeProblems, SERVER, VALID } from './sample.ts';

const UPSTREAM = 'upstream: https://mcp.example.com:443/MCP/\n';

function targetOf(route: Route) {
  assert.ok('target' in route.credential);
  return route.credential.target;
}

function sent(lines: string) {
  const { resource, audience, expectAudience } = targetOf(routeOf(UPSTREAM + lines));
  return { resource, audience, expectAudience };
}

test('requests a token for the upstream by default', () => {
  const canonical = ['https://mcp.example.com/MCP'];
  assert.deepEqual(sent(''), { resource: canonical, audience: [], expectAudience: canonical });
  assert.deepEqual(sent('audience: []\n'), { resource: canonical, audience: [], expectAudience: canonical });
});

test('sends resource and audience as written, and expects them in the issued token', () => {
  const resource = ['https://A/'];
  assert.deepEqual(sent('resource: https://A/\n'), { resource, audience: [], expectAudience: resource });
  assert.deepEqual(sent('audience: a\n'), { resource: [], audience: ['a'], expectAudience: ['a'] });
  assert.deepEqual(sent('resource: [urn:x:y, "https://A?b=1"]\naudience: [a, urn:x:y]\n'), {
    resource: ['urn:x:y', 'https://A?b=1'],
    audience: ['a', 'urn:x:y'],
    expectAudience: ['urn:x:y', 'https://A?b=1', 'a'],
  });
  assert.deepEqual(sent('resource: []\nexpect_audience: [a]\n'), { resource: [], audience: [], expectAudience: ['a'] });
  assert.deepEqual(sent('audience: a\nexpect_audience: b\n').expectAudience, ['b']);
  assert.equal(sent('audience: a\nexpect_audience: any\n').expectAudience, 'any');
  assert.deepEqual(sent('expect_audience: { only: b }\n').expectAudience, { only: ['b'] });
  assert.deepEqual(sent('expect_audience: { only: [b, c] }\n').expectAudience, { only: ['b', 'c'] });
});

test('refuses invalid resources, audiences and scopes', () => {
  const cases = [
    ['resource: github', 'routes[0].resource: must be an absolute URI'],
    ['resource: ["https://x", "https://x#y"]', 'routes[0].resource[1]: must not contain a fragment'],
    ['resource: "https://x y"', 'routes[0].resource: must be an absolute URI'],
    ['resource: ""', 'routes[0].resource: must not be empty'],
    ['resource: [5]', 'routes[0].resource[0]: must be a string'],
    ['expect_audience: []', 'routes[0].expect_audience: must name at least one audience, and not "any"'],
    ['expect_audience: [any, a]', 'routes[0].expect_audience: must name at least one audience, and not "any"'],
    ['expect_audience: { only: [] }', 'routes[0].expect_audience.only: must name at least one audience'],
    ['expect_audience: { only: any }', 'routes[0].expect_audience.only: must name at least one audience'],
    ['expect_audience: { only: [a, 5] }', 'routes[0].expect_audience.only[1]: must be a string'],
    ['expect_audience: { only: 5 }', 'routes[0].expect_audience.only: must be a string or a list of strings'],
    ['expect_audience: {}', 'routes[0].expect_audience: missing key "only"'],
    ['expect_audience: { onli: a }', 'routes[0].expect_audience: unknown key "onli": did you mean "only"?'],
    ['expect_audience: 5', 'routes[0].expect_audience: must be an audience, a list of audiences, any, or'],
    ['scope: "a\\"b"', 'routes[0].scope: contains a character'],
    ['scope: "a\\\\b"', 'routes[0].scope: contains a character'],
    ['scope: é', 'routes[0].scope: contains a character'],
  ] as const;
  for (const [line, wrong] of cases) {
    const problems = routeProblems(`${UPSTREAM}${line}\n`);
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.ok(problems[0]?.includes(wrong), problems[0]);
  }
});

test('joins scopes by single spaces, and sends no empty scope', () => {
  assert.equal(targetOf(routeOf(`${UPSTREAM}scope: "  a   b:c/d "\n`)).scope, 'a b:c/d');
  assert.equal(targetOf(routeOf(`${UPSTREAM}scope: ""\n`)).scope, undefined);
  assert.equal(targetOf(routeOf(UPSTREAM)).scope, undefined);
});

test('fills in the defaults of a route', () => {
  const { subjectToken, timeouts, retryBodyLimitBytes, tls, credential, match, unattended } = routeOf(UPSTREAM);
  assert.deepEqual(match, { host: undefined, path: '/', conditions: undefined });
  const type = 'urn:ietf:params:oauth:token-type:access_token';
  assert.deepEqual(subjectToken, {
    header: 'authorization',
    type,
    own: undefined,
    scope: undefined,
    verify: undefined,
  });
  assert.deepEqual(timeouts, { connectMs: 5000, responseHeadersMs: 0, stallMs: 60_000 });
  assert.deepEqual([retryBodyLimitBytes, tls, unattended], [65_536, undefined, undefined]);
  assert.ok(credential.kind === 'exchange');
  const { actorToken, onMissingSubject, target } = credential;
  assert.deepEqual([actorToken, onMissingSubject, target.requestedTokenType], [undefined, 'deny', undefined]);
});

test('replaces a key of defaults as a whole, but each of timeouts separately', () => {
  const defaults = `defaults:
  subject_token: { header: X-Token, type: jwt }
  actor_token: { file: /actor }
  timeouts: { connect: 1s, response_headers: 30s, stall: 5s }
  scope: a
  audience: [shared]
  retry_body_limit: 0
  on_missing_subject: client_credentials
  requested_token_type: jwt
  tls: { ca: { file: /ca } }
`;
  const jwt = 'urn:ietf:params:oauth:token-type:jwt';
  const inherited = routeOf(UPSTREAM, SERVER + defaults);
  assert.deepEqual([inherited.subjectToken.header, inherited.subjectToken.type], ['x-token', jwt]);
  assert.deepEqual(inherited.timeouts, { connectMs: 1000, responseHeadersMs: 30_000, stallMs: 5000 });
  assert.deepEqual([inherited.retryBodyLimitBytes, inherited.tls?.ca], [0, '/ca']);
  assert.ok(inherited.credential.kind === 'exchange');
  assert.equal(inherited.credential.onMissingSubject, 'client_credentials');
  assert.deepEqual(inherited.credential.actorToken, { source: { file: '/actor' }, type: jwt });
  const shared = { resource: [], audience: ['shared'], expectAudience: ['shared'] };
  assert.deepEqual(targetOf(inherited), { ...shared, scope: 'a', requestedTokenType: jwt });

  const own = `${UPSTREAM}subject_token: { type: id_token }
actor_token: { file: own, type: urn:x:y }
timeouts: { response_headers: 0 }
scope: ''
resource: https://r
audience: own
`;
  const overridden = routeOf(own, SERVER + defaults);
  const { header, type } = overridden.subjectToken;
  assert.deepEqual([header, type], ['authorization', 'urn:ietf:params:oauth:token-type:id_token']);
  assert.deepEqual(overridden.timeouts, { connectMs: 1000, responseHeadersMs: 0, stallMs: 5000 });
  const { audience, resource, scope } = targetOf(overridden);
  assert.deepEqual([audience, resource, scope], [['own'], ['https://r'], undefined]);
  assert.ok(overridden.credential.kind === 'exchange');
  assert.deepEqual(overridden.credential.actorToken, { source: { file: 'own' }, type: 'urn:x:y' });
});

test('refuses name, match and upstream in defaults', () => {
  for (const key of ['name', 'match', 'upstream']) {
    const [problem] = problemsOf(`${VALID}defaults: { ${key}: x }\n`);
    assert.match(problem ?? '', new RegExp(`^13:13: defaults: unknown key "${key}"`));
  }
});

test('reads each kind of credential', () => {
  assert.deepEqual(routeOf(`${UPSTREAM}credential: none\n`, '').credential, { kind: 'none' });
  assert.deepEqual(routeOf(`${UPSTREAM}credential: passthrough\n`, '').credential, { kind: 'passthrough' });
  const { credential } = routeOf(`${UPSTREAM}credential: client_credentials\n`);
  assert.ok(credential.kind === 'client_credentials');
  assert.equal(credential.authorizationServer.name, 'main');
  assert.deepEqual(credential.target.resource, ['https://mcp.example.com/MCP']);
});

test('warns of a key without effect on a route, but not in defaults', () => {
  for (const [lines, problem] of [
    [`${UPSTREAM}credential: none\nresource: https://x\n`, 'resource: has no effect with credential "none"'],
    ['upstream: http://x\ncredential: none\ntls: {}\n', 'tls: has no effect with a plain http upstream'],
  ] as const) {
    assert.deepEqual(routeProblems(lines, ''), [`7:5: warning: routes[0].${problem}: remove it`]);
  }
  assert.deepEqual(routeProblems(`${UPSTREAM}credential: none\n`, 'defaults: { resource: "https://x" }\n'), []);
});

test('reports keys that are missing, idle or out of bounds on a route with an authorization server', () => {
  const table = `
resource: []
→ 10:5: routes[0]: sends neither resource nor audience, so the expected audience of an issued token is unknown: set expect_audience to the "aud" that the backend expects, or to any
credential: client_credentials\\nactor_token: { file: /a }
→ 14:5: warning: routes[0].actor_token: has no effect with credential "client_credentials": remove it
subject_token: { scope: openid offline_access }
→ 13:29: warning: routes[0].subject_token.scope: tells clients to request "offline_access": remove it, because clients that want a refresh token add it themselves
retry_body_limit: 17MiB\\ntimeouts: { connect: 25h, stall: 0 }
→ 13:23: routes[0].retry_body_limit: must be at most 16MiB
→ 14:26: routes[0].timeouts.connect: must be at most 24h
→ 14:38: routes[0].timeouts.stall: must be at least 1s`;
  assertProblems(table, (lines) => routeProblems(UPSTREAM + lines));
});

test('warns of client credentials without client authentication', () => {
  const server = 'authorization_servers: { main: { issuer: "https://x", client_auth: { method: none } } }\n';
  for (const key of ['credential', 'on_missing_subject', 'unattended']) {
    assert.equal(
      routeProblems(`${UPSTREAM}${key}: client_credentials\n`, server)[0],
      '4:5: warning: routes[0]: requests a token for cambist itself without client authentication, which most servers refuse: set client_auth',
    );
  }
});

test('warns that unattended mixes two credentials in a session, and refuses it where it cannot work', () => {
  const unattended = (value: string, more = '', top?: string) =>
    routeProblems(`${UPSTREAM}unattended: ${value}\n${more}`, top);
  const own = 'client_credentials';
  for (const value of [own, 'none']) {
    const [warning, ...others] = unattended(value);
    assert.match(
      warning ?? '',
      /^13:5: warning: routes\[0\]\.unattended: a server that binds a session to its credential/,
    );
    assert.deepEqual(others, []);
    assert.equal(routeOf(`${UPSTREAM}unattended: ${value}\n`).unattended, value);
    const both = /^13:17: routes\[0\]\.unattended: conflicts with on_missing_subject: client_credentials/;
    assert.match(unattended(value, `on_missing_subject: ${own}\n`).join(), both);
    assert.match(unattended(value, '', `${SERVER}defaults: { on_missing_subject: ${own} }\n`).join(), /conflicts with/);
    assert.deepEqual(unattended(value, 'subject_token: { file: /run/token }\n'), [
      "13:5: warning: routes[0].unattended: has no effect with a subject token of cambist's own: remove it",
    ]);
    for (const credential of ['none', 'passthrough', own]) {
      assert.deepEqual(unattended(value, `credential: ${credential}\n`, credential === own ? SERVER : '').length, 1);
      assert.equal(routeOf(`${UPSTREAM}unattended: ${value}\ncredential: ${credential}\n`).unattended, undefined);
    }
  }
  const vault = SERVER.replace('    client_auth:', '    grant: token_vault\n    client_auth:');
  assert.match(unattended(own, 'connection: x\n', vault).join(), /a vault has no token for cambist itself: write none/);
  assert.match(unattended('none', 'connection: x\n', vault).join(), /warning: .* binds a session/);
  assert.match(unattended('deny').join(), /must be one of client_credentials, none/);
  assert.deepEqual(unattended('none', 'allowed_origins: [https://app.example.com]\n').length, 1);
});

test('bounds the other values, and fills in their defaults', () => {
  const { cache, limits, log, session, hostHeader } = configOf(VALID);
  assert.deepEqual(cache, { maxEntries: 10_000, maxAgeMs: 300_000, shared: undefined });
  assert.deepEqual(limits, {
    maxInFlight: 10_000,
    maxInFlightPerUpstream: 10_000,
    maxConnections: 20_000,
    maxHeaderSizeBytes: 32_768,
    shutdownGraceMs: 25_000,
  });
  assert.deepEqual([log, session.header, hostHeader], [{ level: 'info', sample: 1 }, 'mcp-session-id', undefined]);
  const set = configOf(`${VALID}
log: { level: debug, sample: 0.25 }
session: { header: X-Session }
host_header: X-Kagent-Host
cache: { max_entries: 1, max_age: 1s }
limits: { max_in_flight: 2, max_in_flight_per_upstream: 1, max_connections: 5, max_header_size: 1024, shutdown_grace: 0s }
`);
  assert.deepEqual(set.cache, { maxEntries: 1, maxAgeMs: 1000, shared: undefined });
  assert.deepEqual(set.limits, {
    maxInFlight: 2,
    maxInFlightPerUpstream: 1,
    maxConnections: 5,
    maxHeaderSizeBytes: 1024,
    shutdownGraceMs: 0,
  });
  assert.deepEqual([set.session.header, set.hostHeader], ['x-session', 'x-kagent-host']);
  assert.deepEqual(set.log, { level: 'debug', sample: 0.25 });
  assert.match(problemsOf(`${VALID}log: { sample: 2 }\n`)[0] ?? '', /^13:\d+: log\.sample: /);
  for (const zero of ['0', '0ms']) {
    assert.deepEqual(problemsOf(`${VALID}cache: { max_age: ${zero} }\n`), [
      '13:19: cache.max_age: must be at least 1s',
    ]);
  }
});

test('one upstream of several gets three quarters of max_in_flight', () => {
  const limitsOf = (more: string) => configOf(`${VALID}${more}`).limits;
  const second = `  - { name: second, match: { path: /second }, upstream: "https://second", credential: none }\n`;
  const limits = 'limits: { max_in_flight: 10 }\n';
  assert.equal(limitsOf(limits).maxInFlightPerUpstream, 10);
  assert.equal(limitsOf(second + limits).maxInFlightPerUpstream, 7);
  assert.equal(limitsOf(`${limits}forward_proxy: { connect: ["a:443"] }\n`).maxInFlightPerUpstream, 7);
  assert.equal(limitsOf(`${second}limits: { max_in_flight: 1 }\n`).maxInFlightPerUpstream, 1);
});

test('limits that do not fit together are told', () => {
  assert.deepEqual(
    problemsOf(`${VALID}limits: { max_in_flight: 5, max_in_flight_per_upstream: 6, max_connections: 4 }\n`),
    [
      '13:57: limits.max_in_flight_per_upstream: must be at most limits.max_in_flight, 5',
      '13:77: warning: limits.max_connections: is below limits.max_in_flight, 5: connections are dropped first',
    ],
  );
});
