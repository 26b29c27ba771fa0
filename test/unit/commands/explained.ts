import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { explain } from '../../../src/commands/explain.ts';
import { callCommand } from '../../harness/call-command.ts';
import { temporaryFolder, writerInto } from '../../harness/lifetime.ts';

export const SECRET = 'client-secret-that-must-stay-hidden';
export const ACTOR_TOKEN = 'actor-token-that-must-stay-hidden';
process.env.EXPLAIN_TEST_SECRET = SECRET;

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

/** Runs `explain` with a config of this text, beside the files that it may name. */
export async function run(t: TestContext, config: string, ...args: string[]) {
  const folder = temporaryFolder(t);
  const write = writerInto(folder);
  write('actor-token', ACTOR_TOKEN);
  write('api-key', SECRET);
  write('shared-key', 'a key that is long enough by any measure');
  write('cambist.yaml', config);
  const { code, stdout, stderr } = await callCommand(explain, ['--config', join(folder, 'cambist.yaml'), ...args]);
  return { code, text: stdout + stderr };
}

export async function json(t: TestContext, config: string, ...args: string[]) {
  const { code, text } = await run(t, config, '--json', ...args);
  return { code, explanation: JSON.parse(text) };
}
