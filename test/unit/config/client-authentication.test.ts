import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf } from './sample.ts';
import { clientAuth, serverOf, withServer } from './server-samples.ts';

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
        from: undefined,
        clientAssertionType: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      },
    ],
    [
      'method: client_assertion\nclient_assertion: { file: /a }\nclient_assertion_type: urn:x:y\n',
      { clientAssertion: { file: '/a' }, from: undefined, clientAssertionType: 'urn:x:y' },
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
