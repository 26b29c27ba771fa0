import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext } from 'node:test';
import { explain } from '../../../src/commands/explain.ts';

export const SECRET = 'client-secret-that-must-stay-hidden';
export const ACTOR_TOKEN = 'actor-token-that-must-stay-hidden';

export const CONFIG = `
version: 1
host_header: x-kagent-host
authorization_servers:
  keycloak:
    issuer: https://idp.example.com/realms/agents
    client_id: cambist
    client_auth: { method: client_secret_basic, client_secret: { env: EXPLAIN_TEST_SECRET } }
    extra_params: { connector_id: main }
  tokendings:
    token_endpoint: https://tokendings.example.com/token
    client_id: cambist
    client_auth: { method: private_key_jwt, private_key: { env: EXPLAIN_TEST_SECRET } }
defaults:
  authorization_server: keycloak
routes:
  - name: github
    match: { host: github-mcp.tools.svc, path: /mcp }
    upstream: https://github-mcp.example.com/mcp
    scope: repo:read
    audience: github-mcp
    resource: https://github-mcp.example.com/mcp
    actor_token: { file: actor-token, type: jwt }
  - name: tools
    match: { host: '*.tools.svc' }
    upstream: https://tools.example.com
    authorization_server: tokendings
    credential: client_credentials
  - name: docs
    match: { path: /docs }
    upstream: http://docs-mcp:8080/mcp
    credential: none
`;

/** Three routes of one path. */
export const TOOLS = `${CONFIG.slice(0, CONFIG.indexOf('  - name: github'))}  - name: calling
    match: { path: /tools }
    upstream: https://more.example.com
    step_up: ['tools:write', 'tools:admin']
  - name: getting
    match: { path: /tools, methods: [GET, HEAD] }
    upstream: https://more.example.com
  - name: deleting
    match: { path: /tools, mcp_name: 'delete_*' }
    upstream: https://more.example.com
  - name: docs
    match: { path: /docs }
    upstream: http://docs-mcp:8080/mcp
    credential: none
    allowed_origins: ['https://app.example.com']
`;

export let folder = '';
export let file = '';
export let tools = '';

/** Runs `explain` with CONFIG, unless the arguments name another file. */
export async function run(t: TestContext, ...args: string[]): Promise<{ code: number; text: string }> {
  const written: string[] = [];
  const log = t.mock.method(console, 'log', (line: string) => void written.push(line));
  const error = t.mock.method(console, 'error', (line: string) => void written.push(line));
  try {
    return { code: await explain(['--config', file, ...args]), text: written.join('\n') };
  } finally {
    log.mock.restore();
    error.mock.restore();
  }
}

export async function json(t: TestContext, ...args: string[]) {
  const { code, text } = await run(t, '--json', ...args);
  return { code, explanation: JSON.parse(text) };
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cambist-explain-'));
  file = join(folder, 'cambist.yaml');
  await writeFile(file, CONFIG);
  tools = join(folder, 'tools.yaml');
  await writeFile(tools, TOOLS);
  await writeFile(join(folder, 'actor-token'), ACTOR_TOKEN);
  process.env.EXPLAIN_TEST_SECRET = SECRET;
});

after(() => rm(folder, { recursive: true }));
