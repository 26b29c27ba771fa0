import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertProblems, indent, messagesOf, routeOf, routeProblems, SERVER, withRoute } from './sample.ts';

const UPSTREAM = 'upstream: https://H.example.com:443/mcp/\n';
const URI = 'https://h.example.com/mcp';
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:';

/** Two servers: `main`, and `idp` with these lines. */
const two = (lines = 'issuer: https://login.example.com\n', main = '') =>
  `${SERVER}${indent(main)}  idp:\n${indent(`${lines}client_id: at-idp\nclient_auth: { method: none }\n`)}`;
const bearer = SERVER.replace('    client_id', '    grant: jwt_bearer\n    client_id');

function exchangeOf(lines: string, top: string) {
  const { credential } = routeOf(lines, top);
  assert.ok(credential.kind === 'exchange');
  return credential;
}

const messages = (lines: string, top?: string) => messagesOf(withRoute(lines, top));

test('sends a resource with jwt_bearer only if the file sets one', () => {
  const given = exchangeOf(`${UPSTREAM}resource: https://r\n`, bearer).target;
  assert.deepEqual(given.resource, ['https://r']);
  const none = exchangeOf(`${UPSTREAM}scope: api://b/.default\nexpect_audience: api://b\n`, bearer).target;
  assert.deepEqual([none.resource, none.expectAudience], [[], ['api://b']]);
  assert.deepEqual(messages(UPSTREAM, bearer), [
    'routes[0]: sends neither resource nor audience, so the expected audience of an issued token is unknown: set expect_audience to the "aud" that the backend expects, or to any',
  ]);
  const { credential } = routeOf(`${UPSTREAM}credential: client_credentials\nexpect_audience: any\n`, bearer);
  assert.ok(credential.kind === 'client_credentials');
  assert.deepEqual(credential.target.resource, []);
});

test('warns of keys that jwt_bearer does not send on a route, but not in defaults', () => {
  const idle = 'requested_token_type: jwt\nactor_token: { file: /dev/null }\n';
  assert.deepEqual(messages(`${UPSTREAM}resource: https://r\n${idle}`, bearer), [
    'warning: routes[0].requested_token_type: is not sent with grant "jwt_bearer": remove it',
    'warning: routes[0].actor_token: is not sent with grant "jwt_bearer": remove it',
  ]);
  const defaults = `${bearer}defaults: { requested_token_type: jwt }\n`;
  assert.deepEqual(routeProblems(`${UPSTREAM}resource: https://r\n`, defaults), []);
});

const MAIN = 'authorization_server: main\n';
const chain = (assertion?: string) =>
  `${UPSTREAM}${MAIN}chain: { authorization_server: idp${assertion === undefined ? '' : `, assertion: ${assertion}`} }\n`;

test('uses an ID-JAG for an ID token in a chain by default', () => {
  assert.equal(routeOf(chain(), two()).subjectToken.type, `${TOKEN_TYPE}id_token`);
  const { chain: first, target, authorizationServer } = exchangeOf(chain(), two());
  const { issuer } = authorizationServer;
  assert.deepEqual([first?.authorizationServer.name, authorizationServer.name], ['idp', 'main']);
  assert.deepEqual([first?.assertion, first?.audience, first?.expectAudience], ['id_jag', issuer, [issuer]]);
  assert.deepEqual(target.resource, [URI]);
  const written = routeOf(`${chain()}subject_token: { type: access_token }\n`, two());
  assert.equal(written.subjectToken.type, `${TOKEN_TYPE}access_token`);
  assert.deepEqual(routeProblems(chain(), two()), [], 'both servers are used');
});

test('exchanges an access token in a chain by JWT, and accepts the token endpoint as audience', () => {
  const issuer = 'https://idp.example.com/realms/agents';
  const top = two(undefined, 'token_endpoint: https://idp.example.com/t\n');
  assert.equal(routeOf(chain('jwt'), top).subjectToken.type, `${TOKEN_TYPE}access_token`);
  assert.deepEqual(exchangeOf(chain('jwt'), top).chain?.expectAudience, [issuer, 'https://idp.example.com/t']);
  assert.deepEqual(exchangeOf(chain('jwt'), two()).chain?.expectAudience, [issuer]);
});

test('sends the default resource in a chain even if defaults set an audience', () => {
  const top = `${two()}defaults: { audience: shared, requested_token_type: jwt }\n`;
  const { target } = exchangeOf(chain(), top);
  const { resource, audience, scope, requestedTokenType } = target;
  assert.deepEqual([resource, audience, scope, requestedTokenType], [[URI], [], undefined, undefined]);
  assert.deepEqual(target.expectAudience, [URI]);
});

test('reports errors of a chain', () => {
  const problemsOn = (lines: string, top = two()) =>
    messages(`${UPSTREAM}${MAIN}${lines}`, top)
      .filter((line) => !line.includes('no route uses'))
      .map((line) => line.replace('routes[0].', ''));
  const table = `
chain: { authorization_server: main }
→ chain.authorization_server: is also the authorization server of the route: name the server that issues the assertion
chain: { authorization_server: ipd }
→ chain.authorization_server: unknown authorization server: did you mean "idp"?
chain: { assertion: jwt }
→ chain: missing key "authorization_server": add it (server of the first leg, which issues the assertion)
chain: { authorization_server: idp }\\naudience: a\\nrequested_token_type: jwt
→ warning: audience: is not sent in a chain: remove it
→ warning: requested_token_type: is not sent in a chain: remove it
credential: none\\nchain: { authorization_server: idp }
→ warning: authorization_server: has no effect with credential "none": remove it
→ warning: chain: has no effect with credential "none": remove it`;
  assertProblems(table, problemsOn);
  const withoutIssuer = two().replace('issuer: https://idp.example.com/realms/agents', 'token_endpoint: https://i/t');
  assert.deepEqual(problemsOn('chain: { authorization_server: idp }\n', withoutIssuer), [
    'chain: authorization server "main" has no issuer, but the assertion needs one as its audience: set it there',
  ]);
});

test('reads a subject token from a file instead of a header', () => {
  const { subjectToken } = routeOf(`${UPSTREAM}subject_token: { file: token, type: jwt }\n`);
  assert.deepEqual(subjectToken, {
    header: 'authorization',
    type: `${TOKEN_TYPE}jwt`,
    own: { file: 'token' },
    scope: undefined,
    verify: undefined,
  });
  assert.deepEqual(messages(`${UPSTREAM}subject_token: { file: token, header: x-token }\n`), [
    'routes[0].subject_token: has both "header" and "file": keep "header" for the caller\'s token, or "file" for cambist\'s own',
  ]);
});

const SVID = 'from: spiffe, audience: https://idp.example.com';

test('reads a subject token and an actor token from the SPIFFE agent', () => {
  const keys = `${UPSTREAM}subject_token: { ${SVID} }\nactor_token: { ${SVID} }\n`;
  const own = { spiffe: 'unix:///agent.sock', audience: 'https://idp.example.com' };
  const { subjectToken, credential } = routeOf(keys, `${SERVER}spiffe: { socket: unix:///agent.sock }\n`);
  assert.deepEqual([subjectToken.own, subjectToken.type], [own, `${TOKEN_TYPE}jwt`]);
  assert.deepEqual(credential.kind === 'exchange' && credential.actorToken, { source: own, type: `${TOKEN_TYPE}jwt` });
  const problemsWith = (lines: string) => messages(UPSTREAM + lines).join();
  for (const key of ['subject_token', 'actor_token']) {
    const needed = `routes[0].${key}.from: needs an SVID of cambist: set spiffe.socket`;
    assert.equal(problemsWith(`${key}: { ${SVID} }\n`), needed);
    for (const [keys, problem] of [
      ['from: spiffe', /missing key "audience": a JWT-SVID is for the server that receives it/],
      [`file: a, ${SVID}`, /has both "file" and "from": remove one/],
      ['file: a, audience: b', /audience: has no meaning without from: spiffe/],
    ] as const) {
      assert.match(problemsWith(`${key}: { ${keys} }\n`), problem);
    }
  }
  assert.match(problemsWith(`subject_token: { header: x-token, ${SVID} }\n`), /has both "header" and "from"/);
});

test('reads verify, with defaults for audience and keys', () => {
  const verifyOf = (verify: string, top = SERVER) =>
    routeOf(`${UPSTREAM}subject_token: { verify: ${verify} }\n`, top).subjectToken.verify;
  assert.deepEqual(verifyOf('{ issuer: "https://i", audience: [a, b], jwks_uri: "https://i/k" }'), {
    issuer: 'https://i',
    audience: ['a', 'b'],
    jwksUri: 'https://i/k',
    ca: undefined,
    allowInsecureHttp: false,
  });
  assert.deepEqual(verifyOf('{ issuer: "https://i" }')?.audience, ['cambist']);
  assert.equal(verifyOf('{ issuer: "https://i", audience: any }')?.audience, 'any');
  const ca = verifyOf(
    '{ issuer: "https://idp.example.com/realms/agents" }',
    SERVER.replace('    client_id', '    tls: { ca: { file: /ca } }\n    client_id'),
  );
  assert.equal(ca?.ca, '/ca');
});

test('expects the client of the first server as audience in a chain', () => {
  const { subjectToken } = routeOf(`${chain()}subject_token: { verify: { issuer: "https://i" } }\n`, two());
  assert.deepEqual(subjectToken.verify?.audience, ['at-idp']);
});

test('reports errors of verify', () => {
  const noClient = 'authorization_servers:\n  main:\n    issuer: https://x\n    client_auth: { method: none }\n';
  for (const [verify, message, top] of [
    ['issuer: "http://idp.example.com"', /verify\.issuer: must be https, because plain http/],
    ['issuer: i, jwks_uri: "ftp://x"', /verify\.jwks_uri: must start with https/],
    ['issuer: i', /verify\.issuer: must be an absolute URL/],
    ['audience: a', /verify: missing key "issuer"/],
    ['issuer: "https://i", audience: []', /verify\.audience: must name at least one audience/],
    [
      'issuer: "https://i"',
      /routes\[0\]: verifies subject tokens without an expected audience: set subject_token\.verify\.audience/,
      noClient,
    ],
  ] as const) {
    const problems = routeProblems(`${UPSTREAM}subject_token: { verify: { ${verify} } }\n`, top);
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', message);
  }
  const plain = 'subject_token: { verify: { issuer: "http://idp.example.com" } }\n';
  assert.deepEqual(routeProblems(`${UPSTREAM}allow_insecure_http: true\n${plain}`), []);
});

const LINES = 'upstream: https://mcp.example.com/mcp\ncredential: secret\nsecret: { file: /run/key }\n';

/** The only problem of a route, without its position. */
function problemOf(lines: string, top = ''): string {
  const [problem = '', ...more] = messages(lines, top).filter((text) => !text.includes('cannot be read here'));
  assert.deepEqual(more, []);
  return problem;
}

test('reads a secret and where it goes', () => {
  const { credential, send } = routeOf(LINES, '');
  assert.deepEqual(credential, { kind: 'secret', source: { file: '/run/key' } });
  assert.equal(send, undefined);
  for (const [written, header, scheme] of [
    ['{ header: X-API-Key }', 'X-API-Key', ''],
    ['{ header: x-api-key, scheme: Key }', 'x-api-key', 'Key'],
    ['{ scheme: token }', 'Authorization', 'token'],
    ['{ header: authorization }', 'authorization', 'Bearer'],
    ['{ scheme: "" }', 'Authorization', ''],
  ] as const) {
    assert.deepEqual(routeOf(`${LINES}send: ${written}\n`, '').send, { header, scheme });
  }
});

test('refuses headers that HTTP, MCP or cambist needs', () => {
  for (const [headers, problem] of [
    [
      ['Host', 'Content-Length', 'Transfer-Encoding', 'Connection', 'TE', 'Proxy-Authorization'],
      /is reserved for HTTP/,
    ],
    [['Mcp-Session-Id', 'MCP-Protocol-Version', 'mcp_name'], /belong to MCP: use another header/],
    [['X-Request-Id', 'DPoP', 'Accept', 'traceparent', 'baggage'], /has another purpose: use another header/],
    [['"a b"'], /must be the name of a header/],
  ] as const) {
    for (const header of headers) assert.match(problemOf(`${LINES}send: { header: ${header} }\n`), problem);
  }
  assert.match(problemOf(`${LINES}send: { scheme: "a b" }\n`), /must be one word/);
  const session = 'session: { header: X-Session }\n';
  assert.match(problemOf(`${LINES}send: { header: x-session }\n`, session), /send: is also the session header/);
});

test('refuses a secret in the config itself, and a missing one', () => {
  const inline = problemOf('upstream: https://mcp.example.com/mcp\ncredential: secret\nsecret: abc-123\n');
  assert.match(inline, /secret: must not be in the config itself: write \{ file: \/path\/to\/it \}/);
  assert.ok(!inline.includes('abc-123'));
  assert.match(problemOf('upstream: https://mcp.example.com/mcp\ncredential: secret\n'), /missing key "secret"/);
});

test('warns of keys without effect for the credential', () => {
  for (const line of ['scope: read', 'resource: https://a', 'step_up: [x]', 'on_missing_subject: deny']) {
    assert.match(problemOf(`${LINES}${line}\n`), /has no effect with credential "secret": remove it/);
  }
  const none = 'upstream: https://mcp.example.com/mcp\ncredential: none\n';
  for (const line of ['secret: { file: /run/key }', 'send: { header: X-Key }', 'subject_token: { file: /t }']) {
    const warning = /^warning: routes\[0\]\.(secret|send|subject_token\.file): has no effect with credential "none": /;
    assert.match(problemOf(`${none}${line}\n`), warning);
  }
  const verified = none.replace('none', 'passthrough\nsubject_token: { verify: { issuer: "https://i" } }');
  assert.match(problemOf(verified), /subject_token\.verify: has no effect with credential "passthrough": remove it/);
});

test('verifies callers only with an audience, because the route has no authorization server', () => {
  const verify = (more: string) => `${LINES}subject_token: { verify: { issuer: "https://idp.example.com"${more} } }\n`;
  assert.match(problemOf(verify('')), /set subject_token\.verify\.audience to a value or to any/);
  assert.deepEqual(routeOf(verify(', audience: cambist'), '').subjectToken.verify?.audience, ['cambist']);
});

test('warns of a secret that other machines can use', () => {
  const warning = /routes\[0\]\.credential: every client that reaches cambist can use the secret/;
  for (const listen of ['0.0.0.0:8180', '"[::]:8180"', '127.example.com:8180']) {
    assert.match(problemOf(LINES, `listen: ${listen}\n`), warning);
  }
  const hosts = LINES.replace('upstream', 'match: { host: mcp.example.com }\nupstream');
  const intercepted = (address: string) =>
    messagesOf(`version: 1\nintercept: { listen: ["${address}"] }\nroutes:\n  - name: only\n${indent(hosts)}`);
  assert.match(intercepted('0.0.0.0:443').join(), warning);
  assert.ok(!intercepted('127.0.0.1:443').some((text) => warning.test(text)));
  for (const listen of ['127.0.0.1:8180', 'localhost:8180', '"[::1]:8180"', 'unix:/run/cambist.sock']) {
    assert.equal(problemOf(LINES, `listen: ${listen}\n`), '');
  }
  const verify = 'subject_token: { verify: { issuer: "https://idp.example.com", audience: a } }\n';
  assert.equal(problemOf(`${LINES}${verify}`, 'listen: 0.0.0.0:8180\n'), '');
});

test('refuses send for tokens that are bound to a key', () => {
  const top = SERVER.replace('client_auth:', 'dpop: true\n    client_auth:');
  const lines = 'upstream: https://mcp.example.com/mcp\nsend: { header: X-Token }\n';
  assert.match(problemOf(lines, top), /send: has no effect on tokens that are bound to a key/);
});

const VAULT = `authorization_servers:
  auth0:
    issuer: https://example.eu.auth0.com/
    client_id: cambist
    grant: token_vault
    client_auth: { method: none }
`;
const BY_CONNECTION = 'upstream: https://mcp.example.com/mcp\nconnection: github\n';

test('names the backend of a vault by its connection alone', () => {
  const { credential } = routeOf(BY_CONNECTION, VAULT);
  assert.ok(credential.kind === 'exchange');
  assert.deepEqual(credential.target, {
    resource: [],
    audience: [],
    scope: undefined,
    requestedTokenType: 'http://auth0.com/oauth/token-type/federated-connection-access-token',
    connection: 'github',
    expectAudience: 'any',
  });
});

test('requires a connection for a vault, and warns of keys that a vault does not get', () => {
  assert.match(routeProblems('upstream: https://mcp.example.com/mcp\n', VAULT).join(), /missing key "connection"/);
  for (const line of ['scope: read', 'audience: a', 'requested_token_type: jwt']) {
    assert.match(
      routeProblems(`${BY_CONNECTION}${line}\n`, VAULT).join(),
      /is not sent with grant "token_vault": remove it/,
    );
  }
});
