import type { TestContext } from 'node:test';
import { type FakeSetup, startFakeSetup } from '../../harness/fake-setup.ts';
import type { UpstreamHandler } from '../../harness/fake-upstream.ts';
import type { GatewayConfig } from '../../harness/gateway.ts';

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
    routes: [
      ...config.routes,
      ...routes.map(({ name, keys }) => ({
        name,
        match: { path: `/${name}` },
        upstream: `${upstream}/${name}`,
        ...keys,
      })),
    ],
  };
}

/** Starts cambist with fifty routes and calls some of them. */
export async function startBusyScene(t: TestContext): Promise<FakeSetup> {
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

/** Starts cambist with one route, without any request. */
export function startQuietScene(t: TestContext): Promise<FakeSetup> {
  return startFakeSetup(t);
}

/** Starts cambist with one backend that responds and one that does not, and calls each once. */
export async function startSmallScene(t: TestContext): Promise<FakeSetup> {
  const routes = [{ name: 'away', calls: 1, keys: { upstream: 'http://127.0.0.1:1/mcp', credential: 'none' } }];
  const setup = await startFakeSetup(t, { change: (config, { upstream }) => withRoutes(config, upstream.url, routes) });
  await setup.call({ headers: await setup.bearer(), body: '{}' });
  await setup.call({ path: '/away' });
  return setup;
}

/** Starts cambist with callers of the agent, without any request. */
export function startInboundScene(t: TestContext): Promise<FakeSetup> {
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
