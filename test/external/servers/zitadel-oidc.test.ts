import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { keepParts } from '../../harness/lifetime.ts';
import { type McpBackend, startMcpBackend } from '../../harness/mcp-fixture/server.ts';
import { startAgent, whoami } from './agent.ts';
import { startZitadelOidc, ZITADEL_SECRET } from './zitadel-oidc.ts';

const AUDIENCES = ['github-mcp', 'docs-mcp'];

const lifetime = keepParts();
after(lifetime.close);
const server = lifetime.keep(await startZitadelOidc());
const backends: McpBackend[] = [];
for (const audience of AUDIENCES) {
  backends.push(await startMcpBackend(lifetime, { ...server, name: audience, resource: audience }));
}
const { url, signIn, declareMistakes } = await startAgent({ secret: ZITADEL_SECRET }, config, server.signIn);

function config(directory: string) {
  const client = (encoding: string) => ({
    issuer: server.issuer,
    client_id: 'cambist',
    client_auth: {
      method: 'client_secret_basic',
      client_secret: { file: join(directory, 'secret') },
      basic_encoding: encoding,
    },
  });
  const route = (name: string, more: object) => ({
    name,
    match: { path: `/${name}` },
    upstream: backends[0]?.url,
    authorization_server: 'main',
    ...more,
  });
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
