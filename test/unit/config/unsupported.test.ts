import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf, ROUTE, VALID } from './sample.ts';

test('what is not built yet is refused by name', () => {
  const later = 'not supported by this version yet: remove it';
  const server = (lines: string) =>
    `version: 1\nauthorization_servers:\n  main:\n    issuer: https://x\n    client_id: c\n${lines}${ROUTE}`;
  const none = '    client_auth: { method: none }\n';
  const cases: [string, string][] = [
    [
      server(`${none}    grant: jwt_bearer\n`),
      '7:12: authorization_servers.main.grant: "jwt_bearer" is not supported by this version yet: choose another',
    ],
    [server(`${none}    dpop: true\n`), `7:5: authorization_servers.main.dpop: ${later}`],
    [
      server('    client_auth: { method: client_secret_jwt, client_secret: { env: S } }\n'),
      '6:28: authorization_servers.main.client_auth.method: "client_secret_jwt" is not supported by this version yet: choose another',
    ],
    [
      server(
        '    client_auth: { method: client_assertion, client_assertion: { file: /a }, client_assertion_type: urn:x }\n',
      ),
      '6:28: authorization_servers.main.client_auth.method: "client_assertion" is not supported by this version yet: choose another',
    ],
    [
      server('    client_auth: { method: tls_client_auth }\n'),
      '6:28: authorization_servers.main.client_auth.method: "tls_client_auth" is not supported by this version yet: choose another',
    ],
    [`${VALID}    subject_token: { file: /t }\n`, `13:22: routes[0].subject_token.file: ${later}`],
    [
      `${VALID}defaults: { subject_token: { verify: { issuer: "https://x", audience: a, jwks_uri: "https://x/k" } } }\n`,
      `13:30: defaults.subject_token.verify: ${later}`,
    ],
    [`${VALID}    chain: { authorization_server: main, assertion: id_jag }\n`, `13:5: routes[0].chain: ${later}`],
  ];
  for (const [text, problem] of cases) assert.deepEqual(problemsOf(text), [problem], text);
});

test('what turns it off is all right', () => {
  assert.deepEqual(
    problemsOf(VALID.replace('client_id:', 'dpop: false\n    grant: token_exchange\n    client_id:')),
    [],
  );
});

test('it is held to the schema all the same', () => {
  assert.deepEqual(problemsOf(`${VALID}    chain: { assertion: jwt, via: x }\n`), [
    '13:5: routes[0].chain: not supported by this version yet: remove it',
    '13:12: routes[0].chain: missing key "authorization_server": Server of the first leg, which issues the assertion',
    '13:30: routes[0].chain: unknown key "via": known here: authorization_server, assertion',
  ]);
});
