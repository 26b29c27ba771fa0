import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fencedBlocks } from '../../harness/markdown.ts';
import { type McpBackend, startMcpBackend } from '../../harness/mcp-backend.ts';
import { BUILT_PROGRAM, runCommand, runProgram } from '../../harness/run-command.ts';
import { type Keycloak, startKeycloak } from './keycloak.ts';

const ADMIN_PASSWORD = 'throwaway-password-of-admin';
const USER_PASSWORD = 'throwaway-password-of-alice';

let folder: string;
let keycloak: Keycloak;
const backends = new Map<string, McpBackend>();

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cambist-recipe-'));
  keycloak = await startKeycloak([], {
    KC_BOOTSTRAP_ADMIN_USERNAME: 'admin',
    KC_BOOTSTRAP_ADMIN_PASSWORD: ADMIN_PASSWORD,
  });
  for (const name of ['github-mcp', 'warehouse-mcp']) {
    const trust = { issuer: keycloak.issuer('agents'), jwksUri: keycloak.jwksUri('agents') };
    backends.set(name, await startMcpBackend({ name, resource: name, ...trust }));
  }
});

after(async () => {
  for (const backend of backends.values()) await backend.close();
  await keycloak?.close();
  await rm(folder, { recursive: true });
});

/** Runs the shell blocks of a page that call Keycloak or cambist, one after the other. */
async function follow(page: string): Promise<string> {
  const text = await readFile(`config/recipes/${page}`, 'utf8');
  const blocks = fencedBlocks(text, 'sh').filter((block) => /kcadm\.sh|--subject-token-file|add_audience/.test(block));
  const script = [`cambist() { node ${BUILT_PROGRAM} "$@"; }`, ...blocks].join('\n');
  const { code, stdout, stderr } = await runProgram('bash', ['-euo', 'pipefail', '-c', local(script)], {
    cwd: folder,
    env: {
      PATH: `${keycloak.bin}:${process.env.PATH}`,
      HOME: folder,
      KC_CLI_PASSWORD: ADMIN_PASSWORD,
      ALICE_PASSWORD: USER_PASSWORD,
    },
  });
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  return stdout;
}

/** Points a text of the docs to the servers and files of this test. */
function local(text: string): string {
  const urls = text.replaceAll('https://idp.example.com', keycloak.url).replaceAll('/var/run/secrets/cambist', folder);
  return [...backends].reduce(
    (result, [name, { url }]) => result.replaceAll(`https://${name}.example.com/mcp`, url),
    urls,
  );
}

/** Writes a recipe with its changes as the config of the next command. */
async function writeRecipe(name: string, change = (text: string) => text): Promise<void> {
  await writeFile(join(folder, 'cambist.yaml'), local(change(await readFile(`config/${name}`, 'utf8'))));
}

async function doctor(...args: string[]): Promise<string> {
  const { code, stdout } = await runCommand(['doctor', '--config', 'cambist.yaml', ...args], { cwd: folder });
  assert.equal(code, 0, stdout);
  return stdout;
}

test('the commands of the Keycloak page set up an exchange that doctor accepts', async () => {
  await writeRecipe('keycloak-sidecar.yaml');
  assert.match(await follow('keycloak.md'), /aud: "github-mcp"/);
});

test('the commands of the workloads page set up client credentials and a signed assertion', async () => {
  await follow('workloads.md');
  await writeRecipe('private-key-jwt.yaml', (text) =>
    text
      .replace('https://idp.example.com/oauth2/token', `${keycloak.issuer('agents')}/protocol/openid-connect/token`)
      .replace('assertion_audience: https://idp.example.com', `assertion_audience: ${keycloak.issuer('agents')}`)
      .replace(/^ *key_id:.*\n/m, '')
      .concat('    audience: github-mcp\n'),
  );
  assert.match(await doctor('--subject-token-file', 'token'), /aud: "github-mcp"/);
  await writeRecipe('client-credentials.yaml', (text) =>
    text.replace('scope: warehouse:read', 'audience: warehouse-mcp'),
  );
  assert.match(await doctor(), /aud: .*"warehouse-mcp"/);
});
