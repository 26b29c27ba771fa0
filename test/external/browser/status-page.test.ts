import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { routeTo } from '../../harness/app.ts';
import { type FakeSetup, startFakeSetup } from '../../harness/fake-setup.ts';
import type { UpstreamHandler } from '../../harness/fake-upstream.ts';
import type { GatewayConfig } from '../../harness/gateway.ts';
import { type OpenPage, OVERFLOWING, openPage, type PageOptions, TEXTS_AND_BACKGROUNDS } from './browser.ts';

interface SceneRoute {
  readonly name: string;
  readonly calls: number;
  readonly keys?: Readonly<Record<string, unknown>>;
}

const LONG_PATH = `/tenants/northern-europe/environments/production/model-context-protocol/${'long-segment-'.repeat(6)}end`;

/** Routes whose backends behave differently, before many healthy and unused ones. */
const SPECIAL: readonly SceneRoute[] = [
  { name: 'github', calls: 40 },
  { name: 'wrong-path', calls: 8 },
  { name: 'stopped', calls: 6, keys: { upstream: 'http://127.0.0.1:1/mcp', credential: 'none' } },
  { name: 'flaky', calls: 20 },
  { name: 'broken', calls: 10 },
  { name: 'callers-without-token', calls: 5 },
  {
    name: 'a-route-whose-name-is-as-long-as-names-may-well-be-in-the-field',
    calls: 3,
    keys: {
      upstream: `https://mcp.tools.northern-europe.production.example.com${LONG_PATH}`,
      match: {
        host: '*.a-long-subdomain.of-a-long-domain.tools.svc.cluster.local',
        path: LONG_PATH,
        methods: ['POST'],
        mcp_method: ['tools/call', 'resources/read'],
        mcp_name: ['delete_*', 'write_repository'],
      },
    },
  },
  { name: 'legacy', calls: 4, keys: { credential: 'passthrough' } },
];

const ALL = 50;

const statuses: Readonly<Record<string, (count: number) => number>> = {
  'wrong-path': () => 404,
  flaky: (count) => (count % 5 === 0 ? 503 : 200),
  broken: () => 500,
};

const counts = new Map<string, number>();

const backend: UpstreamHandler = async (request, response) => {
  const name = request.url.split('/')[1] ?? '';
  const count = (counts.get(name) ?? 0) + 1;
  counts.set(name, count);
  await new Promise((resolve) => setTimeout(resolve, count % 7));
  response.writeHead(statuses[name]?.(count) ?? 200, { 'content-type': 'application/json' });
  response.end('{}');
};

function withRoutes(config: GatewayConfig, upstream: string, routes: readonly SceneRoute[]): GatewayConfig {
  return {
    ...config,
    routes: [...config.routes, ...routes.map(({ name, keys }) => routeTo(name, `${upstream}/${name}`, keys))],
  };
}

/** Starts cambist with fifty routes and calls some of them. */
async function startBusyScene(t: TestContext): Promise<FakeSetup> {
  const healthy = Array.from({ length: ALL - SPECIAL.length - 1 }, (_, i) => ({
    name: `backend-${i + 1}`,
    calls: i < 20 ? i : 0,
  }));
  const routes = [...SPECIAL, ...healthy];
  const setup = await startFakeSetup(t, {
    change: (config, { upstream }) => withRoutes(config, upstream.url, routes),
    prepare: ({ upstream }) => {
      upstream.handler = backend;
    },
  });
  const bearer = await setup.bearer();
  for (const { name, calls } of routes) {
    const headers = name === 'callers-without-token' ? {} : bearer;
    for (let i = 0; i < calls; i += 1) await setup.call({ path: `/${name}`, headers, body: '{}' });
  }
  await setup.call({ path: '/nowhere', headers: bearer });
  return setup;
}

/** Starts cambist with one backend that responds and one that does not, and calls each once. */
async function startSmallScene(t: TestContext): Promise<FakeSetup> {
  const routes = [{ name: 'away', calls: 1, keys: { upstream: 'http://127.0.0.1:1/mcp', credential: 'none' } }];
  const setup = await startFakeSetup(t, { change: (config, { upstream }) => withRoutes(config, upstream.url, routes) });
  await setup.call({ headers: await setup.bearer(), body: '{}' });
  await setup.call({ path: '/away' });
  return setup;
}

/** Starts cambist with callers of the agent, without any request. */
function startInboundScene(t: TestContext): Promise<FakeSetup> {
  return startFakeSetup(t, {
    change: (config, { authorizationServer: { issuer } }) => ({
      ...config,
      inbound: {
        listen: '127.0.0.1:0',
        agent: 'http://an-agent-with-a-long-name.northern-europe.svc.cluster.local:8081',
        verify: { issuer, audience: 'cambist' },
      },
    }),
  });
}

/** Opens the status page, and waits until it updates itself. */
async function openLive(t: TestContext, { cambist }: FakeSetup, options: PageOptions = {}): Promise<OpenPage> {
  const open = await openPage(t, `${cambist.adminUrl}/`, options);
  await open.page.getByText(/^live, /).waitFor();
  return open;
}

/** The path of the number of requests of a route. */
const requestsOf = (route: string) => `//tr[th="${route}"]/td[@class="figure"][1]`;

test('updates figures without replacing the elements', async (t) => {
  const setup = await startSmallScene(t);
  const { page, complaints } = await openLive(t, setup);
  const requests = page.locator(requestsOf('tools'));
  assert.equal(await requests.textContent(), '1');
  await page.evaluate("globalThis.seen = document.querySelector('tbody tr')");
  await setup.call({ headers: await setup.bearer(), body: '{}' });
  await page.locator(`${requestsOf('tools')}[normalize-space()="2"]`).waitFor();
  assert.equal(await page.evaluate('globalThis.seen.isConnected'), true);
  await page.locator('//tr[th="tools"]/td[1] >> text=ok').waitFor();
  await page.locator('#tiles svg path.passed').first().waitFor({ state: 'attached' });
  assert.deepEqual(complaints, []);
});

test('shows a problem and its recovery without a reload', async (t) => {
  const setup = await startSmallScene(t);
  const { page, complaints } = await openLive(t, setup);
  assert.equal(await page.getByText('Needs attention').count(), 0);
  // Only failures for a caller that the authorization server accepted before count as an outage.
  const accepted = await setup.bearer();
  await setup.call({ headers: accepted, body: '{}' });
  setup.authorizationServer.behaviour = { kind: 'response', status: 500 };
  for (let i = 0; i < 4; i += 1) {
    await setup.call({ headers: { ...accepted, 'mcp-session-id': `s-${i}` }, body: '{}' });
  }
  await page.getByText('Authorization server local is down.').waitFor();
  assert.match((await page.locator('#summary').textContent()) ?? '', /◆ ready, but /);
  const failures = page.locator('//section[h2="Recent failures and refusals"]//tbody/tr');
  assert.match(
    (await failures.first().textContent()) ?? '',
    /tools\s*▲ 503 ERR_STS_UNAVAILABLE[\s\S]+The token endpoint returned 500[\s\S]+\./,
  );
  setup.authorizationServer.behaviour = { kind: 'issue' };
  const untilMs = performance.now() + 60_000;
  while ((await setup.call({ headers: { ...accepted, 'mcp-session-id': 's-0' }, body: '{}' })).status !== 200) {
    assert.ok(performance.now() < untilMs);
  }
  await page.getByText('Authorization server local is down.').waitFor({ state: 'detached' });
  assert.deepEqual(complaints, []);
});

test('keeps focus and opened details while it updates', async (t) => {
  const setup = await startSmallScene(t);
  const { page, complaints } = await openLive(t, setup);
  await page.locator('summary').press('Enter');
  await page.locator('pre').focus();
  await setup.call({ headers: await setup.bearer(), body: '{}' });
  await page.locator(`${requestsOf('tools')}[normalize-space()="2"]`).waitFor();
  assert.equal(await page.evaluate('document.activeElement.tagName'), 'PRE');
  assert.match((await page.locator('pre').textContent()) ?? '', /^version: 1\n[\s\S]+name: tools/);
  assert.deepEqual(complaints, []);
});

test('changes the log level by keyboard', async (t) => {
  const setup = await startSmallScene(t);
  const { page, complaints } = await openLive(t, setup);
  await page.getByLabel('Log level').focus();
  await page.keyboard.press('ArrowDown');
  await page.getByText('until the next restart; configured: info').waitFor();
  const shown = (await (await fetch(`${setup.cambist.adminUrl}/log-level`)).json()) as { level: string };
  assert.equal(shown.level, 'debug');
  await setup.cambist.waitForLog(({ msg, to }) => msg === 'log level changed on the admin port' && to === 'debug');
  assert.deepEqual(complaints, []);
});

test('reports that cambist does not respond', async (t) => {
  const setup = await startSmallScene(t);
  const { page } = await openLive(t, setup);
  setup.cambist.signal('SIGKILL');
  await page.getByText(/^no response from cambist since /).waitFor();
});

/** Saves a picture for a person to look at, if the variable names a folder. */
async function takePicture(page: OpenPage['page'], name: string): Promise<void> {
  const folder = process.env.CAMBIST_SCREENSHOTS;
  if (folder !== undefined) await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}

async function assertReadable({ page, complaints }: OpenPage): Promise<void> {
  const overflowing = await page.evaluate<string[]>(OVERFLOWING);
  assert.deepEqual(overflowing, [], `at ${page.viewportSize()?.width} pixels`);
  const pairs = await page.evaluate<[element: string, text: string, background: string][]>(TEXTS_AND_BACKGROUNDS);
  assert.ok(pairs.length > 40);
  for (const [element, text, background] of pairs) {
    assert.ok(contrast(text, background) >= 4.5, `${element} ${text} on ${background}`);
  }
  assert.deepEqual(complaints, []);
}

for (const [scene, start] of [
  ['busy', startBusyScene],
  ['quiet', startFakeSetup],
  ['inbound', startInboundScene],
] as const) {
  test(`has no overflow and sufficient contrast at every width, light and dark: ${scene}`, async (t) => {
    const setup = await start(t);
    for (const colorScheme of ['light', 'dark'] as const) {
      const open = await openLive(t, setup, { colorScheme });
      const { page } = open;
      for (const width of [320, 390, 820, 1000, 1100, 1200, 2200]) {
        await page.setViewportSize({ width, height: 900 });
        await assertReadable(open);
        if (width === 390 || width === 1200) await takePicture(page, `${scene}-${width}-${colorScheme}`);
      }
    }
  });
}

/** @see WCAG 2.2, contrast ratio */
function contrast(one: string, other: string): number {
  const [dark = 0, light = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = (colour.match(/[\d.]+/g) ?? []).map((part) => {
    const share = Number(part) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
