import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf, routeOf, routeProblems, SERVER } from './sample.ts';

const UPSTREAM = 'upstream: https://H.example.com:443/mcp/\n';
const URI = 'https://h.example.com/mcp';
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:';

/** Two servers: `main`, and `idp` with these lines. */
const two = (lines = 'issuer: https://login.example.com\n', main = '') =>
  `${SERVER}${main.replaceAll(/^(?=.)/gm, '    ')}  idp:\n${`${lines}client_id: at-idp\nclient_auth: { method: none }\n`.replaceAll(/^(?=.)/gm, '    ')}`;
const bearer = SERVER.replace('    client_id', '    grant: jwt_bearer\n    client_id');

function exchangeOf(lines: string, top: string) {
  const { credential } = routeOf(lines, top);
  assert.ok(credential.kind === 'exchange');
  return credential;
}

/** Without the places. */
const messages = (problems: string[]): string[] => problems.map((problem) => problem.replace(/^\d+:\d+: /, ''));

test('with jwt_bearer a resource is sent only where the file names one', () => {
  const given = exchangeOf(`${UPSTREAM}resource: https://r\n`, bearer).target;
  assert.deepEqual(given.resource, ['https://r']);
  const none = exchangeOf(`${UPSTREAM}scope: api://b/.default\nexpect_audience: api://b\n`, bearer).target;
  assert.deepEqual(none.resource, []);
  assert.deepEqual(none.expectAudience, ['api://b']);
  assert.deepEqual(messages(routeProblems(UPSTREAM, bearer)), [
    'routes[0]: sends neither resource nor audience, so nothing tells whom an issued token must be for: set expect_audience to what the backend expects in "aud", or to any',
  ]);
});

test('a token of our own has no resource of its own making either, where the server takes assertions', () => {
  const { credential } = routeOf(`${UPSTREAM}credential: client_credentials\nexpect_audience: any\n`, bearer);
  assert.ok(credential.kind === 'client_credentials');
  assert.deepEqual(credential.target.resource, []);
});

test('what jwt_bearer does not send is a warning on the route, and none in the defaults', () => {
  const idle = 'requested_token_type: jwt\nactor_token: { env: A }\n'.replace('{ env: A }', '{ file: /dev/null }');
  assert.deepEqual(messages(routeProblems(`${UPSTREAM}resource: https://r\n${idle}`, bearer)), [
    'warning: routes[0].requested_token_type: is not sent with grant "jwt_bearer": remove it',
    'warning: routes[0].actor_token: is not sent with grant "jwt_bearer": remove it',
  ]);
  const defaults = `${bearer}defaults: { requested_token_type: jwt }\n`;
  assert.deepEqual(routeProblems(`${UPSTREAM}resource: https://r\n`, defaults), []);
});

const MAIN = 'authorization_server: main\n';
const chain = (assertion?: string) =>
  `${UPSTREAM}${MAIN}chain: { authorization_server: idp${assertion === undefined ? '' : `, assertion: ${assertion}`} }\n`;

test('a chain goes by an ID-JAG for an ID token, unless the file says otherwise', () => {
  const route = routeOf(chain(), two());
  assert.equal(route.subjectToken.type, `${TOKEN_TYPE}id_token`);
  const { chain: first, target, authorizationServer } = exchangeOf(chain(), two());
  assert.equal(first?.authorizationServer.name, 'idp');
  assert.equal(authorizationServer.name, 'main');
  assert.equal(first?.assertion, 'id_jag');
  assert.equal(first?.audience, authorizationServer.issuer);
  assert.deepEqual(first?.expectAudience, [authorizationServer.issuer]);
  assert.deepEqual(target.resource, [URI]);
  const written = routeOf(`${chain()}subject_token: { type: access_token }\n`, two());
  assert.equal(written.subjectToken.type, `${TOKEN_TYPE}access_token`);
});

test('a chain by a JWT takes an access token, and an assertion for the token endpoint too', () => {
  const top = two(undefined, 'token_endpoint: https://idp.example.com/t\n');
  assert.equal(routeOf(chain('jwt'), top).subjectToken.type, `${TOKEN_TYPE}access_token`);
  assert.deepEqual(exchangeOf(chain('jwt'), top).chain?.expectAudience, [
    'https://idp.example.com/realms/agents',
    'https://idp.example.com/t',
  ]);
  assert.deepEqual(exchangeOf(chain('jwt'), two()).chain?.expectAudience, ['https://idp.example.com/realms/agents']);
});

test('a chain has a resource of its own making even where an audience is inherited', () => {
  const top = `${two()}defaults: { audience: shared, requested_token_type: jwt }\n`;
  const { target } = exchangeOf(chain(), top);
  assert.deepEqual(target, {
    resource: [URI],
    audience: [],
    scope: undefined,
    requestedTokenType: undefined,
    expectAudience: [URI],
  });
});

test('what is wrong with a chain is said', () => {
  const cases: [string, string, string[]][] = [
    [
      `${UPSTREAM}${MAIN}chain: { authorization_server: main }\n`,
      two(),
      [
        'routes[0].chain.authorization_server: is the server of the route as well: name the one that issues the assertion',
      ],
    ],
    [
      `${UPSTREAM}${MAIN}chain: { authorization_server: ipd }\n`,
      two(),
      ['routes[0].chain.authorization_server: names no entry of authorization_servers: did you mean "idp"?'],
    ],
    [
      chain(),
      two().replace('issuer: https://idp.example.com/realms/agents', 'token_endpoint: https://idp.example.com/t'),
      ['routes[0].chain: needs the issuer of authorization server "main", whom the assertion is for: set it there'],
    ],
    [
      `${chain()}audience: a\nrequested_token_type: jwt\n`,
      two(),
      [
        'warning: routes[0].audience: is not sent in a chain: remove it',
        'warning: routes[0].requested_token_type: is not sent in a chain: remove it',
      ],
    ],
    [
      `${UPSTREAM}credential: none\nchain: { authorization_server: main }\n`,
      SERVER,
      ['warning: routes[0].chain: has no effect with credential "none": remove it'],
    ],
    [
      `${UPSTREAM}${MAIN}chain: { assertion: jwt }\n`,
      two(),
      ['routes[0].chain: missing key "authorization_server": Server of the first leg, which issues the assertion'],
    ],
  ];
  for (const [lines, top, expected] of cases) {
    const problems = messages(routeProblems(lines, top)).filter((line) => !line.includes('no route uses'));
    assert.deepEqual(problems.sort(), expected.sort(), lines);
  }
});

test('the server of a first leg is in use', () => {
  assert.deepEqual(routeProblems(chain(), two()), []);
});

test('a subject token from a file is cambist’s own, and stands in no header', () => {
  const { subjectToken } = routeOf(`${UPSTREAM}subject_token: { file: token, type: jwt }\n`);
  assert.deepEqual(subjectToken, {
    header: 'authorization',
    type: `${TOKEN_TYPE}jwt`,
    file: { file: 'token' },
    verify: undefined,
  });
  assert.deepEqual(messages(routeProblems(`${UPSTREAM}subject_token: { file: token, header: x-token }\n`)), [
    'routes[0].subject_token: has both "header" and "file": a token is the caller\'s or our own, so remove one',
  ]);
});

test('what a subject token is held to: audience and keys may be left out', () => {
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

test('in a chain a subject token is for our client at the first server', () => {
  const { subjectToken } = routeOf(`${chain()}subject_token: { verify: { issuer: "https://i" } }\n`, two());
  assert.deepEqual(subjectToken.verify?.audience, ['at-idp']);
});

test('what is wrong with the check of a subject token is said', () => {
  const noClient = 'authorization_servers:\n  main:\n    issuer: https://x\n    client_auth: { method: none }\n';
  const cases: [string, string, RegExp][] = [
    ['{ issuer: "http://idp.example.com" }', SERVER, /verify\.issuer: plain http to a host/],
    ['{ issuer: i, jwks_uri: "ftp://x" }', SERVER, /verify\.jwks_uri: must begin with https/],
    ['{ issuer: i }', SERVER, /verify\.issuer: must be an absolute URL/],
    ['{ audience: a }', SERVER, /verify: missing key "issuer"/],
    [
      '{ issuer: "https://i" }',
      noClient,
      /routes\[0\]: verifies subject tokens, and nothing tells whom they must be for: set subject_token\.verify\.audience/,
    ],
    ['{ issuer: "https://i", audience: [] }', SERVER, /verify\.audience: must not be empty/],
  ];
  for (const [verify, top, message] of cases) {
    const problems = routeProblems(`${UPSTREAM}subject_token: { verify: ${verify} }\n`, top);
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', message);
  }
  assert.deepEqual(
    routeProblems(
      `${UPSTREAM}allow_insecure_http: true\nsubject_token: { verify: { issuer: "http://idp.example.com" } }\n`,
    ),
    [],
  );
});

test('a check, or a file, where no token is exchanged is a warning', () => {
  const lines = `${UPSTREAM}credential: passthrough\nsubject_token: { verify: { issuer: "https://i" } }\n`;
  assert.ok(
    messages(routeProblems(lines)).includes(
      'warning: routes[0].subject_token.verify: has no effect with credential "passthrough": remove it',
    ),
  );
  const file = `${UPSTREAM}credential: none\nsubject_token: { file: /t }\n`;
  assert.ok(
    messages(
      problemsOf(`version: 1\nroutes:\n  - name: a\n    match: { path: / }\n${file.replaceAll(/^(?=.)/gm, '    ')}`),
    ).includes('warning: routes[0].subject_token.file: has no effect with credential "none": remove it'),
  );
});
