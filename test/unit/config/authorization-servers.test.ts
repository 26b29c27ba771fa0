import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configOf, problemsOf, ROUTE } from './sample.ts';

/** A config with one authorization server of these lines. */
function withServer(lines: string): string {
  return `version: 1\nauthorization_servers:\n  main:\n${lines.replaceAll(/^(?=.)/gm, '    ')}${ROUTE}`;
}

function serverOf(lines: string) {
  const [server] = configOf(withServer(lines)).authorizationServers;
  assert.ok(server !== undefined);
  return server;
}

function clientAuth(lines: string): string {
  return `issuer: https://idp.example.com\nclient_id: cambist\nclient_auth:\n${lines.replaceAll(/^(?=.)/gm, '  ')}`;
}

test('fills in the defaults of an authorization server', () => {
  assert.deepEqual(serverOf('token_endpoint: https://x/token\nclient_auth: { method: none }\n'), {
    name: 'main',
    issuer: undefined,
    tokenEndpoint: 'https://x/token',
    allowInsecureHttp: false,
    clientId: undefined,
    clientAuth: { method: 'none' },
    grant: 'token_exchange',
    extraParams: [],
    timeoutMs: 5000,
    tls: undefined,
    dpop: false,
  });
});

test('keeps issuer and token endpoint exactly as written', () => {
  const { issuer, tokenEndpoint } = serverOf(
    'issuer: https://IDP.example.com:443/a/\ntoken_endpoint: https://IDP.example.com/t?x=1\nclient_auth: { method: none }\n',
  );
  assert.equal(issuer, 'https://IDP.example.com:443/a/');
  assert.equal(tokenEndpoint, 'https://IDP.example.com/t?x=1');
});

test('reads each method of client authentication', () => {
  const secret = 'client_secret: { env: S }\n';
  const key = 'private_key: { file: /k.pem }\n';
  const cases = [
    [`method: client_secret_basic\n${secret}`, { clientSecret: { env: 'S' }, basicEncoding: 'form' }],
    [
      `method: client_secret_basic\nbasic_encoding: raw\n${secret}`,
      { clientSecret: { env: 'S' }, basicEncoding: 'raw' },
    ],
    [`method: client_secret_post\nclient_secret: { file: /s }\n`, { clientSecret: { file: '/s' } }],
    [
      `method: private_key_jwt\n${key}`,
      {
        privateKey: { file: '/k.pem' },
        alg: undefined,
        keyId: undefined,
        certificate: undefined,
        assertionAudience: undefined,
        assertionLifetimeMs: 60_000,
      },
    ],
    [
      `method: private_key_jwt\n${key}alg: PS256\nkey_id: one\nassertion_audience: https://a\nassertion_lifetime: 10m\n`,
      {
        privateKey: { file: '/k.pem' },
        alg: 'PS256',
        keyId: 'one',
        certificate: undefined,
        assertionAudience: 'https://a',
        assertionLifetimeMs: 600_000,
      },
    ],
    [
      `method: private_key_jwt\n${key}certificate: { file: /c.pem }\n`,
      {
        privateKey: { file: '/k.pem' },
        alg: undefined,
        keyId: undefined,
        certificate: { file: '/c.pem' },
        assertionAudience: undefined,
        assertionLifetimeMs: 60_000,
      },
    ],
    [
      `method: client_secret_jwt\n${secret}`,
      { clientSecret: { env: 'S' }, alg: 'HS256', assertionAudience: undefined, assertionLifetimeMs: 60_000 },
    ],
    [
      `method: client_secret_jwt\n${secret}alg: HS512\nassertion_audience: https://a\n`,
      { clientSecret: { env: 'S' }, alg: 'HS512', assertionAudience: 'https://a', assertionLifetimeMs: 60_000 },
    ],
    [
      'method: client_assertion\nclient_assertion: { file: /a }\n',
      {
        clientAssertion: { file: '/a' },
        clientAssertionType: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      },
    ],
    [
      'method: client_assertion\nclient_assertion: { file: /a }\nclient_assertion_type: urn:x:y\n',
      { clientAssertion: { file: '/a' }, clientAssertionType: 'urn:x:y' },
    ],
  ] as const;
  for (const [lines, expected] of cases) {
    const { method, ...rest } = serverOf(clientAuth(lines)).clientAuth;
    assert.ok(lines.startsWith(`method: ${method}\n`));
    assert.deepEqual(rest, expected);
  }
});

test('refuses a method without its keys, or with keys of another method', () => {
  const cases: [string, string[]][] = [
    [
      'method: client_secret_basic\n',
      ['7:7: {auth}: missing key "client_secret": method "client_secret_basic" needs it'],
    ],
    ['method: private_key_jwt\n', ['7:7: {auth}: missing key "private_key": method "private_key_jwt" needs it']],
    [
      'method: none\nalg: ES256\n',
      [
        '8:7: {auth}.alg: has no meaning for method "none", only for client_secret_jwt, private_key_jwt: remove it, or change the method',
      ],
    ],
    [
      'method: client_secret_post\nclient_secret: { env: S }\nbasic_encoding: raw\n',
      [
        '9:7: {auth}.basic_encoding: has no meaning for method "client_secret_post", only for client_secret_basic: remove it, or change the method',
      ],
    ],
    [
      'method: private_key_jwt\nprivate_key: { file: /k }\nalg: HS256\n',
      [
        '9:12: {auth}.alg: must be an algorithm for a private key: one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519',
      ],
    ],
    [
      'method: private_key_jwt\nprivate_key: { file: /k }\nassertion_lifetime: 11m\n',
      ['9:27: {auth}.assertion_lifetime: must be at most 10m'],
    ],
    [
      'method: private_key_jwt\nprivate_key: { file: /k }\nassertion_lifetime: 0\n',
      ['9:27: {auth}.assertion_lifetime: must be at least 1s'],
    ],
    [
      'method: client_secret_post\nclient_secret: { env: S, file: /s }\n',
      ['8:22: {auth}.client_secret: has both "file" and "env": remove one'],
    ],
    [
      'method: client_secret_post\nclient_secret: {}\n',
      [
        '8:22: {auth}.client_secret: has neither "file" nor "env": write { file: /path/to/it } or { env: NAME_OF_VARIABLE }',
      ],
    ],
    [
      'method: client_secret_post\nclient_secret: { env: not-a-name }\n',
      [
        '8:29: {auth}.client_secret.env: must be the bare name of an environment variable, without "$" or braces, and never the secret itself',
      ],
    ],
    [
      'method: client_secret_post\nclient_secret: hunter2\n',
      [
        '8:22: {auth}.client_secret: must not be in the config itself: write { file: /path/to/it } or { env: NAME_OF_VARIABLE }',
      ],
    ],
  ];
  for (const [lines, problems] of cases) {
    const expected = problems.map((problem) => problem.replace('{auth}', 'authorization_servers.main.client_auth'));
    assert.deepEqual(problemsOf(withServer(clientAuth(lines))), expected, lines);
  }
});

test('requires an endpoint, a client id and client authentication', () => {
  assert.deepEqual(problemsOf(withServer('client_auth: { method: none }\n')), [
    '4:5: authorization_servers.main: missing key "issuer" or "token_endpoint": set one, so that cambist finds the token endpoint',
  ]);
  assert.deepEqual(problemsOf(withServer('issuer: https://x\n')), [
    '4:5: authorization_servers.main: missing key "client_auth": client authentication of cambist',
  ]);
  assert.deepEqual(
    problemsOf(
      withServer('issuer: https://x\nclient_auth: { method: client_secret_post, client_secret: { env: S } }\n'),
    ),
    ['4:5: authorization_servers.main: missing key "client_id": method "client_secret_post" needs it'],
  );
});

test('keeps extra parameters in order and refuses parameters of the protocol', () => {
  const base = 'issuer: https://x\nclient_auth: { method: none }\n';
  assert.deepEqual(serverOf(`${base}extra_params: { connector_id: ldap, options: '{"a":1}' }\n`).extraParams, [
    ['connector_id', 'ldap'],
    ['options', '{"a":1}'],
  ]);
  for (const name of ['grant_type', 'client_secret', 'resource', 'scope', 'assertion', 'password']) {
    assert.deepEqual(problemsOf(withServer(`${base}extra_params: { ${name}: hunter2 }\n`)), [
      `6:21: authorization_servers.main.extra_params: "${name}" is reserved for the protocol: remove it, and use the config key for it`,
    ]);
  }
  assert.deepEqual(problemsOf(withServer(`${base}extra_params: { "": x }\n`)), [
    '6:21: authorization_servers.main.extra_params: empty field name: write the name',
  ]);
  assert.deepEqual(problemsOf(withServer(`${base}extra_params: { flag: true }\n`)), [
    '6:27: authorization_servers.main.extra_params.flag: must be a string: put it in quotes',
  ]);
});

test('requires a certificate and its key together', () => {
  const base = 'issuer: https://x\nclient_auth: { method: none }\n';
  const { tls } = serverOf(`${base}tls: { ca: { file: /ca }, certificate: { file: /c }, private_key: { file: k } }\n`);
  assert.deepEqual(tls, { ca: '/ca', certificate: '/c', privateKey: 'k' });
  assert.deepEqual(serverOf(`${base}tls: {}\n`).tls, { ca: undefined, certificate: undefined, privateKey: undefined });
  for (const [one, other] of [
    ['certificate', 'private_key'],
    ['private_key', 'certificate'],
  ]) {
    assert.deepEqual(problemsOf(withServer(`${base}tls: { ${one}: { file: /x } }\n`)), [
      `6:10: authorization_servers.main.tls: has "${one}" without "${other}": set both, or remove it`,
    ]);
  }
});

test('refuses a timeout of 0 for token requests', () => {
  const base = 'issuer: https://x\nclient_auth: { method: none }\n';
  assert.deepEqual(problemsOf(withServer(`${base}timeout: 0\n`)), [
    '6:14: authorization_servers.main.timeout: must be at least 1ms',
  ]);
});

test('requires a route to name an existing server if there are several', () => {
  const two = `version: 1
authorization_servers:
  one: { issuer: "https://one", client_auth: { method: none } }
  two: { issuer: "https://two", client_auth: { method: none } }
${ROUTE}`;
  assert.deepEqual(problemsOf(two), [
    '6:5: routes[0]: missing key "authorization_server": there are several, so name one of one, two',
  ]);
  assert.deepEqual(problemsOf(`${two}    authorization_server: tow\n`), [
    '9:27: routes[0].authorization_server: unknown authorization server: did you mean "two"?',
  ]);
  assert.deepEqual(problemsOf(`${two}    authorization_server: keycloak\n`), [
    '9:27: routes[0].authorization_server: unknown authorization server: known servers are one, two',
  ]);
  assert.deepEqual(problemsOf(`version: 1\n${ROUTE}    authorization_server: one\n`), [
    '6:27: routes[0].authorization_server: unknown authorization server: define it under authorization_servers',
  ]);
  assert.deepEqual(problemsOf(`version: 1\n${ROUTE}`), [
    '3:5: routes[0]: credential "exchange" needs an authorization server: define one under authorization_servers, or set credential: none',
  ]);
  assert.deepEqual(problemsOf(`${two}defaults: { authorization_server: one }\n`), [
    '4:3: warning: authorization_servers.two: no route uses this authorization server: remove it, or name it in a route',
  ]);
});

test('takes the client certificate from the tls of the server', () => {
  const tls = 'tls: { certificate: { file: /c }, private_key: { file: /k } }\n';
  const server = serverOf(`${clientAuth('method: tls_client_auth\n')}${tls}`);
  assert.deepEqual(server.clientAuth, { method: 'tls_client_auth' });
  assert.equal(server.tls?.certificate, '/c');
  for (const lines of ['', 'tls: { ca: { file: /ca } }\n']) {
    assert.deepEqual(
      problemsOf(withServer(`${clientAuth('method: tls_client_auth\n')}${lines}`)).map((line) =>
        line.replace(/^[\d:]+ /, ''),
      ),
      ['authorization_servers.main: missing key "tls": method "tls_client_auth" needs its certificate and private_key'],
    );
  }
});

test('requires an algorithm that fits the method, and a URN as assertion type', () => {
  const cases: [string, RegExp][] = [
    [
      'method: client_secret_jwt\nclient_secret: { env: S }\nalg: ES256\n',
      /alg: must be an algorithm for a shared secret: one of HS256, HS384, HS512$/,
    ],
    [
      'method: private_key_jwt\nprivate_key: { env: S }\nalg: HS256\n',
      /alg: must be an algorithm for a private key: one of RS256, /,
    ],
    [
      'method: client_assertion\nclient_assertion: { file: /a }\nclient_assertion_type: spiffe\n',
      /client_assertion_type: must be a full URN, as in urn:ietf/,
    ],
    ['method: client_assertion\n', /needs one of "client_assertion" and "from"/],
  ];
  for (const [lines, message] of cases) {
    const [problem, ...more] = problemsOf(withServer(clientAuth(lines)));
    assert.match(problem ?? '', message);
    assert.deepEqual(more, []);
  }
});

test('reads the grant and dpop', () => {
  const lines = 'issuer: https://x\nclient_auth: { method: none }\ngrant: jwt_bearer\ndpop: true\n';
  const [server] = configOf(`${withServer(lines)}    resource: https://r\n`).authorizationServers;
  assert.equal(server?.grant, 'jwt_bearer');
  assert.equal(server?.dpop, true);
});
