import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { explain } from '../../../src/commands/explain.ts';

/** A call as a kagent agent sends it, with `proxy.url` set. */
interface Call {
  readonly method?: string;
  /** The host of the tool's own URL, which kagent puts into `x-kagent-host`. */
  readonly host: string;
  readonly path: string;
  readonly mcpMethod?: string;
}

/** Output of `cambist explain` for a call under config/kagent.yaml. */
async function explained(t: TestContext, { method = 'POST', host, path, mcpMethod }: Call) {
  const written: string[] = [];
  const log = t.mock.method(console, 'log', (line: string) => void written.push(line));
  const headers = [`x-kagent-host: ${host}`, ...(mcpMethod === undefined ? [] : [`mcp-method: ${mcpMethod}`])];
  try {
    await explain([
      ...['--config', 'config/kagent.yaml', '--json', '--request', method],
      ...headers.flatMap((header) => ['--header', header]),
      `http://127.0.0.1:8180${path}`,
    ]);
  } finally {
    log.mock.restore();
  }
  const { route, upstream, credential, on_missing_subject } = JSON.parse(written.join('\n'));
  return { route, upstream, credential, on_missing_subject };
}

const GITHUB = { upstream: 'http://github-mcp.tools.svc:8080/mcp', credential: 'exchange' };
const NO_ROUTE = { route: undefined, upstream: undefined, credential: undefined, on_missing_subject: undefined };

for (const mcpMethod of ['initialize', 'notifications/initialized', 'tools/list']) {
  test(`sends ${mcpMethod} without a caller as cambist itself`, async (t) => {
    assert.deepEqual(await explained(t, { host: 'github-mcp.tools', path: '/mcp', mcpMethod }), {
      ...GITHUB,
      route: 'github-list',
      on_missing_subject: 'client_credentials',
    });
  });
}

for (const mcpMethod of ['tools/call', 'prompts/get', 'resources/read', 'tasks/result', 'completion/complete']) {
  test(`refuses ${mcpMethod} without a caller`, async (t) => {
    assert.deepEqual(await explained(t, { host: 'github-mcp.tools', path: '/mcp', mcpMethod }), {
      ...GITHUB,
      route: 'github',
      on_missing_subject: 'deny',
    });
  });
}

test('refuses a stream without a caller', async (t) => {
  const { route, on_missing_subject } = await explained(t, { method: 'GET', host: 'github-mcp.tools', path: '/mcp' });
  assert.deepEqual({ route, on_missing_subject }, { route: 'github', on_missing_subject: 'deny' });
});

test("sends calls of kagent's own tools to their server, without a token", async (t) => {
  assert.deepEqual(await explained(t, { host: 'kagent-tools.kagent', path: '/mcp', mcpMethod: 'tools/call' }), {
    route: 'kagent-tools',
    upstream: 'http://kagent-tools.kagent.svc:8084/mcp',
    credential: 'none',
    on_missing_subject: undefined,
  });
});

for (const path of ['/', '/.well-known/agent-card.json']) {
  test(`sends ${path} of a Deployment sub-agent to that agent`, async (t) => {
    assert.deepEqual(await explained(t, { host: 'researcher.kagent', path }), {
      route: 'researcher',
      upstream: `http://researcher.kagent.svc:8080${path}`,
      credential: 'passthrough',
      on_missing_subject: undefined,
    });
  });
}

test('sends calls of a sandbox sub-agent to the controller, under its own path', async (t) => {
  assert.deepEqual(
    await explained(t, { host: 'kagent-controller.kagent', path: '/api/a2a-sandboxes/kagent/planner' }),
    {
      route: 'sandbox-agents',
      upstream: 'http://kagent-controller.kagent.svc:8083/api/a2a-sandboxes/kagent/planner',
      credential: 'passthrough',
      on_missing_subject: undefined,
    },
  );
});

for (const [host, path] of [
  ['kagent-controller.kagent', '/mcp'],
  ['kagent-controller.kagent', '/api/agents'],
  ['kagent-controller.kagent', '/'],
  ['another.kagent', '/mcp'],
  ['kagent-tools.kagent', '/'],
] as const) {
  test(`refuses ${path} of ${host}`, async (t) => {
    assert.deepEqual(await explained(t, { host, path, mcpMethod: 'tools/call' }), NO_ROUTE);
  });
}
