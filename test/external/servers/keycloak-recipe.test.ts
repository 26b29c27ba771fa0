import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import { startCambist } from '../../harness/cambist-process.ts';
import {
  type FakeAuthorizationServer,
  startFakeAuthorizationServer,
  TOKEN_TIMEOUT,
} from '../../harness/fake-authorization-server.ts';
import { echo, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { call } from '../../harness/http-call.ts';
import { keepParts, temporaryFolder } from '../../harness/lifetime.ts';
import { type McpBackend, startMcpBackend } from '../../harness/mcp-fixture/server.ts';
import { fencedBlocks } from '../../harness/pages.ts';
import { BUILT_PROGRAM, runCommand, runProgram, succeeded } from '../../harness/run-command.ts';
import { ADMIN, JAVA_OPTIONS, startKeycloak } from './keycloak.ts';
import { USER } from './keycloak-realms.ts';

const lifetime = keepParts();
after(lifetime.close);
const folder = temporaryFolder(lifetime);
const keycloak = lifetime.keep(await startKeycloak([], { KC_FEATURES: 'identity-assertion-jwt' }));
const backends = new Map<string, McpBackend>();
for (const name of ['github-mcp', 'warehouse-mcp']) {
  const trust = { issuer: keycloak.issuer('agents'), jwksUri: keycloak.jwksUri('agents') };
  backends.set(name, await startMcpBackend(lifetime, { name, resource: name, ...trust }));
}

/** Matches the shell blocks that call Keycloak or cambist, or that make a key. */
const RUNNABLE = /kcadm\.sh|--subject-token-file|add_audience|openssl/;

/** Runs the runnable blocks of a page, one after the other. */
async function follow(page: string, local = atTestServers): Promise<string> {
  const text = await readFile(`config/recipes/${page}`, 'utf8');
  const blocks = fencedBlocks(text, 'sh').filter((block) => RUNNABLE.test(block));
  const script = [`cambist() { node ${BUILT_PROGRAM} "$@"; }`, ...blocks].join('\n');
  const env = {
    PATH: `${keycloak.bin}:${process.env.PATH}`,
    HOME: folder,
    // kcadm.sh reads them. It starts Java for each command.
    KC_OPTS: JAVA_OPTIONS,
    KC_CLI_PASSWORD: ADMIN.password,
    ALICE_PASSWORD: USER.password,
  };
  return succeeded(await runProgram('bash', ['-euo', 'pipefail', '-c', local(script)], { cwd: folder, env }));
}

/** Points a text of the docs to the servers and files of this test. */
function atTestServers(text: string): string {
  const urls = text.replaceAll('https://idp.example.com', keycloak.url).replaceAll('/var/run/secrets/cambist', folder);
  return [...backends].reduce(
    (result, [name, { url }]) => result.replaceAll(`https://${name}.example.com/mcp`, url),
    urls,
  );
}

/** Reads a recipe. Keycloak may be slow on a busy machine. */
async function patientRecipe(name: string): Promise<string> {
  const text = await readFile(`config/${name}`, 'utf8');
  return text.replace(/^( *)client_id:/gm, `$1timeout: ${TOKEN_TIMEOUT}\n$&`);
}

/** Writes a recipe with its changes as the config of the next command. */
async function writeRecipe(name: string, change = (text: string) => text): Promise<void> {
  await writeFile(join(folder, 'cambist.yaml'), atTestServers(change(await patientRecipe(name))));
}

async function doctor(...args: string[]): Promise<string> {
  return succeeded(await runCommand(['doctor', '--config', 'cambist.yaml', ...args], { cwd: folder }));
}

test('the commands of the Keycloak page set up an exchange that doctor accepts', async () => {
  await writeRecipe('keycloak-sidecar.yaml');
  assert.match(await follow('keycloak.md'), /aud: "github-mcp"/);
});

test('the commands of the workloads page set up client credentials and a signed assertion', async () => {
  await follow('workloads.md');
  await writeRecipe('private-key-jwt.yaml', (text) =>
    text
      .replace('https://idp.example.com/oauth2/token', `${keycloak.openid('agents')}/token`)
      .replace('assertion_audience: https://idp.example.com', `assertion_audience: ${keycloak.issuer('agents')}`)
      .replace(/^ *key_id:.*\n/m, '')
      .concat('    audience: github-mcp\n'),
  );
  // The token of the Keycloak page may have expired.
  const { accessToken } = await keycloak.signIn('agents', 'agent', USER);
  await writeFile(join(folder, 'token'), accessToken);
  assert.match(await doctor('--subject-token-file', 'token'), /aud: "github-mcp"/);
  await writeRecipe('client-credentials.yaml', (text) =>
    text.replace('scope: warehouse:read', 'audience: warehouse-mcp'),
  );
  assert.match(await doctor(), /aud: .*"warehouse-mcp"/);
});

/** The company's identity provider: it issues an ID-JAG for the client of the second server. */
async function startCompany(t: TestContext): Promise<FakeAuthorizationServer> {
  const company = await startFakeAuthorizationServer(t);
  company.behaviour = ({ form }) =>
    isJwt(form.get('subject_token'))
      ? {
          kind: 'issue',
          audience: form.get('audience') ?? '',
          type: 'oauth-id-jag+jwt',
          claims: { client_id: 'cambist-of-example', resource: form.get('resource') },
          fields: { token_type: 'N_A', issued_token_type: form.get('requested_token_type') },
        }
      : { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
  return company;
}

/** False for the token with which doctor tries whether a server verifies tokens. */
function isJwt(token: string | null): boolean {
  return token?.split('.').length === 3;
}

test('the commands of the ID-JAG page make Keycloak accept ID-JAGs, each of them once', async (t) => {
  const company = await startCompany(t);
  const backend = await startFakeUpstream(t, echo);
  const local = (text: string) =>
    text
      .replaceAll('https://idp.example.com/jwks', company.jwksUri)
      .replaceAll('https://idp.example.com', company.issuer)
      .replaceAll('https://auth.github-mcp.example.com', keycloak.url)
      .replaceAll('https://github-mcp.example.com/mcp', `${backend.url}/mcp`)
      .replaceAll('/var/run/secrets/cambist', folder);
  const recipe = local(await patientRecipe('id-jag.yaml'))
    .replace(`issuer: ${keycloak.url}\n`, `issuer: ${keycloak.issuer('github')}\n`)
    .concat('\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0\n');
  await writeFile(join(folder, 'cambist.yaml'), recipe);
  await writeFile(join(folder, 'company-secret'), 'throwaway');
  await writeFile(join(folder, 'token'), await company.mint({ subject: 'alice-at-company' }));
  assert.match(await follow('id-jag.md', local), new RegExp(`aud: "${backend.url}/mcp"`));

  const cambist = await startCambist(t, { config: () => parse(recipe) as Record<string, unknown> });
  await cambist.ready();
  company.requests.length = 0;
  const authorization = `Bearer ${await company.mint({ subject: 'alice-at-company' })}`;
  for (const session of ['one', 'two']) {
    const headers = { authorization, 'mcp-session-id': session };
    assert.equal((await call(`${cambist.url}/github`, { headers, body: '{}' })).status, 200);
  }
  assert.equal(company.requests.length, 2, 'Keycloak refuses the cached assertion, and accepts a new one');

  await writeFile(join(folder, 'token'), await company.mint({ subject: 'bob-at-company' }));
  const args = ['doctor', '--config', 'cambist.yaml', '--subject-token-file', 'token', '--json'];
  const { stdout } = await runCommand(args, { cwd: folder });
  assert.match(stdout, /"code": *"assertion_refused"/, 'Keycloak does not know this user');
});
