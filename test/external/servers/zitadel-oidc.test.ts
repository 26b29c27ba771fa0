import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type CambistProcess, startCambist } from '../../harness/cambist-process.ts';
import { keepParts } from '../../harness/keep-parts.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { type McpBackend, startMcpBackend } from '../../harness/mcp-backend.ts';
import { assertProblem } from '../../harness/problem.ts';
import { post, whoami } from './agent.ts';
import { diagnose } from './diagnose.ts';
import { startZitadelOidc, ZITADEL_SECRET, type ZitadelOidc } from './zitadel-oidc.ts';

const AUDIENCES = ['github-mcp', 'docs-mcp'];

let server: ZitadelOidc;
let cambist: CambistProcess;
const backends: McpBackend[] = [];
const leaks = createLeakWatch();
const { keep, close } = keepParts();

before(async () => {
  server = keep(await startZitadelOidc());
  for (const audience of AUDIENCES) {
    backends.push(keep(await startMcpBackend({ ...server, name: audience, resource: audience })));
  }
  leaks.remember(ZITADEL_SECRET);
  cambist = keep(await startCambist({ files: { secret: ZITADEL_SECRET }, config }));
  await cambist.ready();
});

after(close);

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
      ...backends.map(({ name, url }) => route(name, { upstream: url, audience: name })),
      route('resource', {}),
      route('unknown', { audience: 'nobody-mcp' }),
      route('typed', { audience: 'github-mcp', requested_token_type: 'jwt' }),
      route('undecoded', { authorization_server: 'undecoded', audience: 'github-mcp' }),
    ],
  };
}

async function signIn(): Promise<string> {
  const token = await server.signIn();
  leaks.remember(token);
  return token;
}

test('sends each backend a token only for itself', async () => {
  const token = await signIn();
  for (const audience of AUDIENCES) {
    const { server: name, aud } = await whoami(`${cambist.url}/${audience}`, token);
    assert.deepEqual([name, aud], [audience, [audience]]);
  }
});

const MISTAKES = [
  { route: 'resource', code: 'ERR_EXCHANGE_REFUSED', finding: 'resource_refused', fix: /set resource: \[\]/ },
  { route: 'unknown', code: 'ERR_EXCHANGE_REFUSED', finding: 'target_refused', fix: /route's audience/ },
  { route: 'typed', code: 'ERR_CLIENT_REFUSED', finding: 'requested_token_type_refused', fix: /leave .* out/ },
  {
    route: 'undecoded',
    code: 'ERR_CLIENT_REFUSED',
    finding: 'client_basic_encoding',
    fix: /basic_encoding: form/,
  },
] as const;
for (const { route, code, finding, fix } of MISTAKES) {
  test(`returns ${code} for route ${route}, and doctor finds ${finding}`, async () => {
    const token = await signIn();
    assertProblem(await post(`${cambist.url}/${route}`, token), code);
    const { directory, configFile } = cambist;
    const { code: exitCode, errors, text } = await diagnose({ config: configFile, route, token, directory });
    assert.deepEqual([exitCode, errors.map((error) => error.code)], [1, [finding]]);
    assert.match(errors[0]?.fix ?? '', fix);
    leaks.assertNoLeak({ text, stdout: cambist.stdout(), stderr: cambist.stderr() });
  });
}
