import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configOf, problemsOf } from './sample.ts';
import { clientAuth, serverOf, withServer } from './server-samples.ts';

const SECRET = 'client_secret: { env: S }\n';
const KEY = 'private_key: { file: /k }\n';
const FILE = 'client_assertion: { file: /a }\n';

/** The result for a method if the file has nothing but the named keys. */
const PLAIN_KEY = { privateKey: { file: '/k' }, alg: undefined, keyId: undefined, certificate: undefined };
const PLAIN_ASSERTION = { assertionAudience: undefined, assertionLifetimeMs: 60_000 };
const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

test('reads each method of client authentication', () => {
  const own = { alg: 'PS256', keyId: 'one', assertionAudience: 'https://a', assertionLifetimeMs: 600_000 };
  const cases = [
    [`client_secret_basic\n${SECRET}`, { clientSecret: { env: 'S' }, basicEncoding: 'form' }],
    [`client_secret_basic\nbasic_encoding: raw\n${SECRET}`, { clientSecret: { env: 'S' }, basicEncoding: 'raw' }],
    ['client_secret_post\nclient_secret: { file: /s }\n', { clientSecret: { file: '/s' } }],
    [`private_key_jwt\n${KEY}`, { ...PLAIN_KEY, ...PLAIN_ASSERTION }],
    [
      `private_key_jwt\n${KEY}alg: PS256\nkey_id: one\nassertion_audience: https://a\nassertion_lifetime: 10m\n`,
      { ...PLAIN_KEY, ...own },
    ],
    [
      `private_key_jwt\n${KEY}certificate: { file: /c.pem }\n`,
      { ...PLAIN_KEY, ...PLAIN_ASSERTION, certificate: { file: '/c.pem' } },
    ],
    [`client_secret_jwt\n${SECRET}`, { clientSecret: { env: 'S' }, alg: 'HS256', ...PLAIN_ASSERTION }],
    [
      `client_secret_jwt\n${SECRET}alg: HS512\nassertion_audience: https://a\n`,
      { clientSecret: { env: 'S' }, alg: 'HS512', ...PLAIN_ASSERTION, assertionAudience: 'https://a' },
    ],
    [
      `client_assertion\n${FILE}`,
      { clientAssertion: { file: '/a' }, from: undefined, clientAssertionType: ASSERTION_TYPE },
    ],
    [
      `client_assertion\n${FILE}client_assertion_type: urn:x:y\n`,
      { clientAssertion: { file: '/a' }, from: undefined, clientAssertionType: 'urn:x:y' },
    ],
  ] as const;
  for (const [lines, expected] of cases) {
    const { method, ...rest } = serverOf(clientAuth(`method: ${lines}`)).clientAuth;
    assert.ok(lines.startsWith(`${method}\n`));
    assert.deepEqual(rest, expected);
  }
});

test('refuses a method without its keys, with keys of another method, or with invalid values', () => {
  const cases: [lines: string, place: string, problem: string | RegExp][] = [
    ['client_secret_basic\n', '7:7', ': missing key "client_secret": method "client_secret_basic" needs it'],
    ['private_key_jwt\n', '7:7', ': missing key "private_key": method "private_key_jwt" needs it'],
    [
      'none\nalg: ES256\n',
      '8:7',
      '.alg: has no meaning for method "none", only for client_secret_jwt, private_key_jwt: remove it, or change the method',
    ],
    [
      `client_secret_post\n${SECRET}basic_encoding: raw\n`,
      '9:7',
      '.basic_encoding: has no meaning for method "client_secret_post", only for client_secret_basic: remove it, or change the method',
    ],
    [
      `private_key_jwt\n${KEY}alg: HS256\n`,
      '9:12',
      '.alg: must be an algorithm for a private key: one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519',
    ],
    [`private_key_jwt\n${KEY}assertion_lifetime: 11m\n`, '9:27', '.assertion_lifetime: must be at most 10m'],
    [`private_key_jwt\n${KEY}assertion_lifetime: 0\n`, '9:27', '.assertion_lifetime: must be at least 1s'],
    [
      'client_secret_post\nclient_secret: { env: S, file: /s }\n',
      '8:22',
      '.client_secret: has both "file" and "env": remove one',
    ],
    [
      'client_secret_post\nclient_secret: {}\n',
      '8:22',
      '.client_secret: has neither "file" nor "env": write { file: /path/to/it } or { env: NAME_OF_VARIABLE }',
    ],
    [
      'client_secret_post\nclient_secret: { env: not-a-name }\n',
      '8:29',
      '.client_secret.env: must be the bare name of an environment variable, without "$" or braces, and never the secret itself',
    ],
    [
      'client_secret_post\nclient_secret: hunter2\n',
      '8:22',
      '.client_secret: must not be in the config itself: write { file: /path/to/it } or { env: NAME_OF_VARIABLE }',
    ],
    [
      `client_secret_jwt\n${SECRET}alg: ES256\n`,
      '9:12',
      '.alg: must be an algorithm for a shared secret: one of HS256, HS384, HS512',
    ],
    [`client_assertion\n${FILE}client_assertion_type: spiffe\n`, '9:30', /type: must be a full URN, as in urn:ietf/],
    [
      `client_assertion\n${FILE}assertion_audience: https://a\n`,
      '9:7',
      /has no meaning without from: { spiffe: true }/,
    ],
    ['client_assertion\nfrom: { spiffe: true }\n', '8:23', /needs an SVID of cambist: set spiffe.socket/],
    ['client_assertion\nfrom: {}\n', '8:13', /needs either "authorization_server" or "spiffe"/],
    ['client_assertion\n', '7:7', /needs one of "client_assertion" and "from"/],
  ];
  for (const [lines, place, expected] of cases) {
    const [problem = '', ...more] = problemsOf(withServer(clientAuth(`method: ${lines}`)));
    const at = `${place}: authorization_servers.main.client_auth`;
    if (typeof expected === 'string') assert.equal(problem, at + expected);
    else assert.match(problem.slice(at.length), expected);
    assert.deepEqual([problem.slice(0, at.length), more], [at, []]);
  }
});

test('takes an SVID of cambist as client assertion, or as client certificate', () => {
  const top = 'spiffe: { socket: unix:///agent.sock }\n';
  const main = (lines: string, more = '') =>
    configOf(top + withServer(clientAuth(lines) + more)).authorizationServers[0];
  const svid = 'method: client_assertion\nfrom: { spiffe: true }\n';
  const { issuer: audience } = main(svid) ?? {};
  const expected = {
    method: 'client_assertion',
    clientAssertion: { spiffe: 'unix:///agent.sock', audience },
    from: undefined,
    clientAssertionType: 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe',
  };
  assert.deepEqual(main(svid)?.clientAuth, expected);
  const bearer = main(`${svid}client_assertion_type: ${ASSERTION_TYPE}\nassertion_audience: other\n`);
  assert.deepEqual(bearer?.clientAuth, {
    ...expected,
    clientAssertion: { ...expected.clientAssertion, audience: 'other' },
    clientAssertionType: ASSERTION_TYPE,
  });
  const mutual = 'method: tls_client_auth\nfrom: { spiffe: true }\n';
  const { clientAuth: auth, tls } = main(mutual, 'tls: { ca: { file: /ca } }\n') ?? {};
  assert.deepEqual(auth, { method: 'tls_client_auth' });
  assert.deepEqual(tls, { ca: '/ca', certificate: undefined, privateKey: undefined, spiffe: true });
  const files = 'tls: { certificate: { file: /c }, private_key: { file: /k } }\n';
  assert.match(problemsOf(top + withServer(clientAuth(mutual) + files)).join(), /needs one certificate/);
  const both = mutual.replace('true', 'true, authorization_server: main');
  assert.match(
    problemsOf(top + withServer(clientAuth(both))).join(),
    /needs either "authorization_server" or "spiffe"/,
  );
});
