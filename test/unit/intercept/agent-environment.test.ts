import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../../src/config/load.ts';
import { agentEnvironment } from '../../../src/intercept/agent-environment.ts';

const { config } = parseConfig(
  `version: 1
authorization_servers:
  main:
    token_endpoint: https://idp.example.com/token
    client_id: cambist
    client_auth: { method: client_secret_post, client_secret: { env: CAMBIST_SECRET } }
routes:
  - { name: mcp, match: { host: mcp.example.com }, upstream: "https://mcp.example.com" }
`,
  'cambist.yaml',
);
assert.ok(config);
const environmentOf = (own: Readonly<Record<string, string>>) =>
  agentEnvironment(own, config, '/trust', 'http://127.0.0.1:1');

test('a variable of a single client gets the bundle if it is set, and is not set otherwise', () => {
  const { PIP_CERT, npm_config_cafile, HTTPLIB2_CA_CERTS, HOME } = environmentOf({
    PIP_CERT: '/own.pem',
    npm_config_cafile: '/own.pem',
    HOME: '/root',
  });
  assert.deepEqual(
    [PIP_CERT, npm_config_cafile, HTTPLIB2_CA_CERTS],
    ['/trust/bundle.pem', '/trust/bundle.pem', undefined],
  );
  assert.equal(HOME, '/root');
});

test('options of Java stay, and secrets of cambist are removed', () => {
  const environment = environmentOf({ JAVA_TOOL_OPTIONS: '-Xmx1g', CAMBIST_SECRET: 'x' });
  assert.match(environment.JAVA_TOOL_OPTIONS ?? '', /^-Xmx1g -Djavax\.net\.ssl\.trustStore=\/trust\/truststore\.p12 /);
  assert.equal('CAMBIST_SECRET' in environment, false);
});
