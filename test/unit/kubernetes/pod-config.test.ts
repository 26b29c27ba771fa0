import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parse } from 'yaml';
import { formatProblem } from '../../../src/config/problem.ts';
import { parseOptions, type RawOptions } from '../../../src/kubernetes/options.ts';
import { createPodConfig } from '../../../src/kubernetes/pod-config.ts';

const SECRET = '/var/run/secrets/cambist/client-secret';

interface Parts {
  listen?: string;
  admin?: string;
  secret?: object;
  more?: Record<string, unknown>;
  route?: Record<string, unknown>;
}

function written({ listen = '127.0.0.1:8180', admin = '0.0.0.0:9180', secret = { file: SECRET }, more, route }: Parts) {
  return JSON.stringify({
    version: 1,
    listen,
    admin,
    authorization_servers: {
      main: {
        issuer: 'https://idp.example.com',
        client_id: 'cambist',
        client_auth: { method: 'client_secret_basic', client_secret: secret },
      },
    },
    limits: { max_in_flight: 1000 },
    routes: [{ name: 'mine', match: { path: '/mine' }, upstream: 'https://mcp.example.com/mcp', ...route }],
    ...more,
  });
}

/** The problems of a config in a pod with these options. */
function problemsOf(parts: Parts, raw: RawOptions = { secret: 'cambist' }): string[] {
  const config = createPodConfig(written(parts), 'cambist.yaml');
  config.check(parseOptions({ image: 'cambist:1', ...config.ports, ...raw }));
  return config.problems().map((problem) => formatProblem(problem).replace(/^cambist\.yaml:\d+:\d+: /, ''));
}

test('accepts a config for a sidecar, and takes the ports from it', () => {
  assert.deepEqual(problemsOf({}), []);
  assert.deepEqual(problemsOf({ listen: '127.0.0.1:8000', admin: '0.0.0.0:9000' }), []);
});

const inbound = (listen: string, agent: string) => ({
  more: {
    inbound: { listen, agent, verify: { issuer: 'https://idp.example.com', audience: 'agent' } },
  },
});

test('takes the ports of the callers and of the agent from the config', () => {
  assert.deepEqual(problemsOf(inbound('0.0.0.0:8080', 'http://127.0.0.1:9000')), []);
  const config = createPodConfig(written(inbound('0.0.0.0:8080', 'http://127.0.0.1:9000')), 'cambist.yaml');
  assert.deepEqual(parseOptions({ image: 'cambist:1', ...config.ports }).inbound, { inbound: 8080, agent: 9000 });
});

const CLIENT_SECRET = 'authorization_servers.main.client_auth.client_secret';
const CASES: [what: string, parts: Parts, options: RawOptions | undefined, problem: RegExp][] = [
  [
    'an admin port on loopback',
    { admin: '127.0.0.1:9180' },
    undefined,
    /^admin: the kubelet and Prometheus cannot connect to 127\.0\.0\.1: write 0\.0\.0\.0:9180$/,
  ],
  [
    'inbound without a port for callers',
    inbound('unix:/run/a', 'http://127.0.0.1:8081'),
    undefined,
    /^inbound: needs --inbound with its port/,
  ],
  [
    'another port for callers',
    inbound('0.0.0.0:8080', 'http://127.0.0.1:9001'),
    { secret: 'cambist', inbound: '9000', 'agent-port': '9001' },
    /^inbound\.listen: has port 8080, but the sidecar takes over port 9000/,
  ],
  [
    'callers on loopback',
    inbound('127.0.0.1:8080', 'http://127.0.0.1:8081'),
    undefined,
    /^inbound\.listen: callers cannot connect to 127\.0\.0\.1: write 0\.0\.0\.0:8080$/,
  ],
  [
    'another port of the agent',
    inbound('0.0.0.0:8080', 'http://127.0.0.1:8081'),
    { secret: 'cambist', inbound: '8080', 'agent-port': '9000' },
    /^inbound\.agent: must be http:\/\/127\.0\.0\.1:9000/,
  ],
  ['no inbound', {}, { secret: 'cambist', inbound: '8080' }, /^the config has no inbound/],
  ['an admin socket', { admin: 'unix:/run/a' }, undefined, /^admin: is a Unix socket, but the probes/],
  ['a socket for the agent', { listen: 'unix:/run/a' }, undefined, /^listen: is a Unix socket/],
  [
    'another port',
    {},
    { secret: 'cambist', port: '9000' },
    /^listen: has port 8180, but the sidecar is injected with port 9000/,
  ],
  ['another admin port', {}, { secret: 'cambist', 'admin-port': '9000' }, /^admin: has port 9180/],
  [
    'a port for other pods',
    { listen: '0.0.0.0:8180' },
    undefined,
    /^warning: listen: other pods can connect here: write 127\.0\.0\.1:8180/,
  ],
  [
    'a secret from a variable',
    { secret: { env: 'CAMBIST_CLIENT_SECRET' } },
    undefined,
    new RegExp(
      `^${CLIENT_SECRET}\\.env: environment variable "CAMBIST_CLIENT_SECRET" is not set in the sidecar: write \\{ file: ${SECRET} \\}`,
    ),
  ],
  [
    'no Secret',
    {},
    {},
    new RegExp(`^${CLIENT_SECRET}\\.file: is in a Secret, but none is mounted: name it with --secret`),
  ],
  ['a file of this machine', { secret: { file: 'client-secret' } }, undefined, /\.file: is not mounted in the sidecar/],
  [
    'a token without an audience',
    { route: { actor_token: { file: '/var/run/secrets/tokens/cambist' } } },
    undefined,
    /^routes\[0\]\.actor_token\.file: is a projected token.*--token-audience/,
  ],
  [
    'more requests than memory',
    { more: { limits: {} } },
    undefined,
    /^warning: limits\.max_in_flight: 10000 requests may need more than the memory limit/,
  ],
  [
    'a long shutdown',
    { more: { limits: { max_in_flight: 1000, shutdown_grace: '60s' } } },
    undefined,
    /^limits\.shutdown_grace: leaves the agent no time/,
  ],
];
for (const [what, parts, options, problem] of CASES) {
  test(`reports what a pod lacks: ${what}`, () => {
    const problems = problemsOf(parts, options);
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', problem);
  });
}

test('accepts a projected token with its audience', () => {
  const route = { actor_token: { file: '/var/run/secrets/tokens/cambist' } };
  assert.deepEqual(problemsOf({ route }, { secret: 'cambist', 'token-audience': 'https://idp.example.com' }), []);
});

test('refuses a config that a ConfigMap cannot hold', () => {
  const config = createPodConfig(`${written({})}${' '.repeat(1_000_000)}`, 'cambist.yaml');
  const [reason] = config.check(parseOptions({ image: 'cambist:1', secret: 'cambist' }));
  assert.match(reason ?? '', /larger than a ConfigMap/);
});

test('the ConfigMap has the config byte for byte, once for each name and namespace', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const config = createPodConfig(text, 'cambist.yaml');
      const note = (namespace: string | undefined) =>
        ({ object: 'pod/p', outcome: 'injected', reasons: [], configMap: { namespace, name: 'cambist' } }) as const;
      const manifests = config.configMaps([note('a'), note('a'), note(undefined)]).split(/^---\n/m);
      assert.ok(manifests.length >= 2);
      const [first = '', last = ''] = [manifests[0], manifests.at(-1)];
      if (manifests.length > 2) return;
      assert.deepEqual(parse(first).metadata, { name: 'cambist', namespace: 'a' });
      assert.deepEqual(parse(last).metadata, { name: 'cambist' });
      for (const manifest of manifests) assert.equal(parse(manifest).data['cambist.yaml'], text);
    }),
  );
});
