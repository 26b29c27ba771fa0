import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { after, test } from 'node:test';
import { routeTo } from '../../harness/app.ts';
import { freePort } from '../../harness/http-server.ts';
import { keepParts } from '../../harness/lifetime.ts';
import { type McpBackend, startMcpBackend } from '../../harness/mcp-fixture/server.ts';
import { startServer } from '../../harness/server-process.ts';
import { installZitadelOidc } from '../installs.ts';
import { basicAuth, requestToken, startAgent, whoami } from './agent.ts';

const AUDIENCES = ['github-mcp', 'docs-mcp'];
/** Must match `zitadel-oidc/main.go`. */
const SECRET = 'throwaway+secret%2Fof cambist';
/** The service user of zitadel/oidc's example. */
const SERVICE_USER = 'sid1:verysecret';

const lifetime = keepParts();
after(lifetime.close);
const program = await installZitadelOidc();
const address = `127.0.0.1:${await freePort()}`;
const issuer = `http://${address}`;
const readyUrl = `${issuer}/.well-known/openid-configuration`;
lifetime.keep(await startServer({ command: program, args: [address], cwd: dirname(program), readyUrl }));
const backends: McpBackend[] = [];
for (const name of AUDIENCES) {
  backends.push(await startMcpBackend(lifetime, { issuer, jwksUri: `${issuer}/keys`, name, resource: name }));
}
const { url, signIn, declareMistakes } = await startAgent({ secret: SECRET }, config, async () => {
  const form = { grant_type: 'client_credentials', scope: 'openid' };
  return (await requestToken(`${issuer}/oauth/token`, form, SERVICE_USER)).accessToken;
});

function config(directory: string) {
  const client = (basic_encoding: string) => ({
    issuer,
    client_id: 'cambist',
    client_auth: { ...basicAuth(directory, 'secret'), basic_encoding },
  });
  const route = (name: string, keys: object) =>
    routeTo(name, backends[0]?.url, { authorization_server: 'main', ...keys });
  return {
    authorization_servers: { main: client('form'), undecoded: client('raw') },
    routes: [
      ...backends.map((backend) => route(backend.name, { upstream: backend.url, audience: backend.name })),
      route('resource', {}),
      route('unknown', { audience: 'nobody-mcp' }),
      route('typed', { audience: 'github-mcp', requested_token_type: 'jwt' }),
      route('undecoded', { authorization_server: 'undecoded', audience: 'github-mcp' }),
    ],
  };
}

test('sends each backend a token only for itself', async () => {
  const token = await signIn();
  for (const audience of AUDIENCES) {
    const { server: name, aud } = await whoami(url(audience), token);
    assert.deepEqual([name, aud], [audience, [audience]]);
  }
});

declareMistakes([
  {
    mistake: 'a resource, which the server does not know',
    route: 'resource',
    code: 'ERR_EXCHANGE_REFUSED',
    finding: 'resource_refused',
    fix: /set resource: \[\]/,
  },
  {
    mistake: 'an unknown audience',
    route: 'unknown',
    code: 'ERR_EXCHANGE_REFUSED',
    finding: 'target_refused',
    fix: /route's audience/,
  },
  {
    mistake: 'a requested token type',
    route: 'typed',
    code: 'ERR_CLIENT_REFUSED',
    finding: 'requested_token_type_refused',
    fix: /leave .* out/,
  },
  {
    mistake: 'a secret without form encoding',
    route: 'undecoded',
    code: 'ERR_CLIENT_REFUSED',
    finding: 'client_refused',
    fix: /change .*basic_encoding/,
  },
]);
