import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parse } from 'yaml';
import { formatProblem } from '../../../src/documents/config-node.ts';
import { getIn } from '../../../src/kubernetes/json.ts';
import { parseOptions, type RawOptions } from '../../../src/kubernetes/options.ts';
import { createPodConfig } from '../../../src/kubernetes/pod-config.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { container, pod, request } from './samples.ts';

const SECRET = '/var/run/secrets/cambist/client-secret';

interface Parts {
  listen?: string | object;
  admin?: string | object;
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
    limits: { max_in_flight: 500 },
    routes: [{ name: 'mine', match: { path: '/mine' }, upstream: 'https://mcp.example.com/mcp', ...route }],
    ...more,
  });
}

/** The problems of a config in a pod with these options. */
function problemsOf(parts: Parts, raw: RawOptions = {}): string[] {
  const config = createPodConfig(written(parts), 'cambist.yaml');
  config.check(parseOptions({ image: 'cambist:1', secret: 'cambist', ...config.ports, ...raw }));
  return config.problems().map((problem) => formatProblem(problem).replace(/^cambist\.yaml:\d+:\d+: /, ''));
}

const inbound = (listen: string | object, agent: string) => ({
  more: {
    inbound: { listen, agent, verify: { issuer: 'https://idp.example.com', audience: 'agent' } },
  },
});

test('takes the ports of the callers and of the agent from the config', () => {
  const config = createPodConfig(written(inbound('0.0.0.0:8080', 'http://127.0.0.1:9000')), 'cambist.yaml');
  assert.deepEqual(parseOptions({ image: 'cambist:1', ...config.ports }).inbound, { inbound: 8080, agent: 9000 });
});

const HOST = { match: { host: 'mcp.example.com' }, upstream: 'https://mcp.example.com' };
const CA = { dir: '/run/cambist/ca' };

/** A config with `intercept`, and a pod whose connections get to cambist in this way. */
function intercepted(way: string | undefined, intercept?: object, route: Record<string, unknown> = HOST) {
  const parts: Parts = { route, ...(intercept && { more: { intercept: { ca: CA, ...intercept } } }) };
  const raw: RawOptions = { 'redirect-image': 'r', ...(way && { intercept: way }) };
  return [parts, raw] as const;
}

test('takes the hosts, the addresses and the ports of an interception from the config', () => {
  const route = { match: { host: 'mcp.tools.svc' }, upstream: 'http://mcp.tools.svc:8080' };
  const [parts] = intercepted('names', { listen: ['127.0.0.1:8080', '[::1]:8080'] }, route);
  const config = createPodConfig(written(parts), 'cambist.yaml');
  const injectAs = (flags: RawOptions) =>
    injectPod(pod(), request({ flags: { image: 'i', secret: 's', ...flags }, configOf: () => config })).template;
  const named = injectAs({ intercept: 'names', 'intercept-hosts': 'other.test' });
  assert.deepEqual(getIn(named, ['spec', 'hostAliases']), [
    { ip: '127.0.0.1', hostnames: ['mcp.tools.svc', 'other.test'] },
    { ip: '::1', hostnames: ['mcp.tools.svc', 'other.test'] },
  ]);
  assert.equal(getIn(named, ['spec', 'securityContext']), undefined, 'the ports need no sysctl');
  const [moved] = intercepted('packets', { listen: ['127.0.0.1:15443', '127.0.0.1:15080'] }, route);
  const other = createPodConfig(written(moved), 'cambist.yaml');
  const flags = { image: 'i', secret: 's', intercept: 'packets', 'redirect-image': 'r' };
  const redirected = injectPod(pod(), request({ flags, configOf: () => other })).template;
  assert.deepEqual(container(redirected, 'cambist-redirect')?.args, [
    ...['--uid', '61532', '--redirect', '443:15443', '--redirect', '80:15080', '--redirect', '8080:15080'],
  ]);
});

const SERVER_TLS = { certificate: { file: `${SECRET}.crt` }, private_key: { file: `${SECRET}.key` } };

const AGENT = 'http://127.0.0.1:8081';
const TEAM = { name: 'billing', folder: '/t', paths: ['/billing'], upstreams: ['https://b.example'] };
const ACTOR = { route: { actor_token: { file: '/var/run/secrets/tokens/cambist' } } };

const ACCEPTED: Readonly<Record<string, readonly [Parts, RawOptions?]>> = {
  'for a sidecar': [{}],
  'with other ports': [{ listen: '127.0.0.1:8000', admin: '0.0.0.0:9000' }],
  'with IPv6 addresses': [{ listen: '[::1]:8000', admin: '[::]:9000' }],
  'with inbound': [inbound('0.0.0.0:8080', 'http://127.0.0.1:9000')],
  'with TLS for the callers of the agent': [inbound({ address: '0.0.0.0:8080', tls: SERVER_TLS }, AGENT)],
  'for an interception by proxy': intercepted('proxy', {}),
  'with the trust folder': intercepted('proxy', { trust_dir: '/run/cambist/trust' }),
  'that listens for names': intercepted('names', { listen: ['127.0.0.1:443', '127.0.0.1:80', '[::1]:443'] }),
  'that listens for packets': intercepted('packets', { listen: ['127.0.0.1:15443', '127.0.0.1:15080'] }),
  'with a projected token and its audience': [ACTOR, { secret: 's', 'token-audience': 'https://idp.example.com' }],
};
for (const [which, given] of Object.entries(ACCEPTED)) {
  test(`accepts a config ${which}`, () => assert.deepEqual(problemsOf(...given), []));
}

const CASES: readonly (readonly [given: readonly [Parts, RawOptions?], problem: RegExp])[] = [
  [
    [{ admin: '127.0.0.1:9180' }],
    /^admin: the kubelet and Prometheus cannot connect to 127\.0\.0\.1: write 0\.0\.0\.0:9180$/,
  ],
  [[{ admin: 'unix:/run/a' }], /^admin: is a Unix socket, but the probes/],
  [
    [{ admin: { address: '0.0.0.0:9180', tls: SERVER_TLS } }],
    /^admin: has TLS, but the probes of the sidecar use plain http: remove tls$/,
  ],
  [
    [{ listen: { address: '127.0.0.1:8180', tls: SERVER_TLS } }],
    /^listen: has TLS, but the agent connects to http:\/\/127\.0\.0\.1:8180, within the pod: remove tls$/,
  ],
  [[{}, { 'admin-port': '9000' }], /^admin: has port 9180/],
  [[{ listen: 'unix:/run/a' }], /^listen: is a Unix socket/],
  [[{}, { port: '9000' }], /^listen: has port 8180, but the sidecar is injected with port 9000/],
  [[{ listen: '0.0.0.0:8180' }], /^warning: listen: other pods can connect here: write 127\.0\.0\.1:8180/],
  [[inbound('unix:/run/a', AGENT)], /^inbound: needs --inbound with its port/],
  [
    [inbound('0.0.0.0:8080', 'http://127.0.0.1:9001'), { inbound: '9000', 'agent-port': '9001' }],
    /^inbound\.listen: has port 8080, but the sidecar takes over port 9000/,
  ],
  [
    [inbound('127.0.0.1:8080', AGENT)],
    /^inbound\.listen: callers cannot connect to 127\.0\.0\.1: write 0\.0\.0\.0:8080$/,
  ],
  [
    [inbound('0.0.0.0:8080', AGENT), { inbound: '8080', 'agent-port': '9000' }],
    /^inbound\.agent: must be http:\/\/127\.0\.0\.1:9000/,
  ],
  [[{}, { inbound: '8080' }], /^the config has no inbound/],
  [
    intercepted('proxy'),
    /^the config has no intercept, but .* --intercept proxy: add intercept: \{ ca: \{ dir: \/run\/cambist\/ca \} \}$/,
  ],
  [intercepted('names'), /--intercept names: add intercept: .*listen: \['127\.0\.0\.1:443', '127\.0\.0\.1:80'\] \}$/],
  [intercepted('packets'), /--intercept packets: .*listen: \['127\.0\.0\.1:15443', '127\.0\.0\.1:15080'\] \}$/],
  [intercepted(undefined, {}), /^intercept: needs --intercept with the way of the agent/],
  [intercepted('proxy', { trust_dir: '/tmp/trust' }), /^intercept\.trust_dir: must be \/run\/cambist\/trust/],
  [
    intercepted('proxy', { ca: { dir: '/tmp/ca' } }),
    /^intercept\.ca\.dir: is not a volume of the sidecar: write \/run\/cambist\/ca$/,
  ],
  [
    intercepted('proxy', { ca: 'ephemeral' }),
    /^warning: intercept: a restart of cambist's container replaces the authority.*write ca: \{ dir: \/run\/cambist\/ca \}$/,
  ],
  [
    intercepted('proxy', { ca: { certificate: { file: '/c' }, private_key: { file: '/var/run/secrets/cambist/k' } } }),
    /^intercept\.ca\.certificate\.file: is not mounted in the sidecar/,
  ],
  [intercepted('names', {}), /^intercept: names lead to 127\.0\.0\.1: add listen:/],
  [
    intercepted('names', { listen: ['127.0.0.1:80'] }),
    /^warning: intercept\.listen: calls to https URLs without a port fail: add 127\.0\.0\.1:443$/,
  ],
  [
    intercepted('names', { listen: ['127.0.0.1:443'] }, { ...HOST, match: { host: '*.example.com' } }),
    /^routes\[0\]\.match\.host: is a wildcard, and hostAliases takes whole names only: name each host, or use --intercept proxy$/,
  ],
  [
    intercepted('packets', { listen: ['127.0.0.1:15443'] }),
    /^intercept: packets are redirected to other ports: add listen: \['127\.0\.0\.1:15443', '127\.0\.0\.1:15080'\]$/,
  ],
  [
    intercepted('names', { listen: ['0.0.0.0:443'] }),
    /^warning: intercept\.listen\[0\]: other pods can connect here: write 127\.0\.0\.1:443$/,
  ],
  [
    [{ secret: { env: 'CAMBIST_CLIENT_SECRET' } }],
    new RegExp(
      `client_secret\\.env: environment variable "CAMBIST_CLIENT_SECRET" is not set in the sidecar: write \\{ file: ${SECRET} \\}`,
    ),
  ],
  [[{}, { secret: 'none' }], /client_secret\.file: is in a Secret, but none is mounted: name it with --secret/],
  [[{ secret: { file: 'client-secret' } }], /client_secret\.file: is not mounted in the sidecar/],
  [[ACTOR], /^routes\[0\]\.actor_token\.file: is a projected token.*--token-audience/],
  [
    [{}, { 'memory-limit': '63Mi' }],
    /^warning: the memory limit of 63Mi is too small for cambist: set --memory-limit to at least 64Mi$/,
  ],
  [[{ more: { limits: {} } }], /^warning: limits\.max_in_flight: 10000 requests may need more than the memory limit/],
  [
    [{ more: { limits: { max_in_flight: 500, shutdown_grace: '60s' } } }],
    /^limits\.shutdown_grace: leaves the agent no time/,
  ],
  [[{ more: { routes_from: [TEAM] } }], /^routes_from\[0\]: is for a gateway: the sidecar mounts no folder/],
];
for (const [given, expected] of CASES) {
  test(`reports what a pod lacks: ${expected.source}`, () => {
    const [problem, ...more] = problemsOf(...given);
    assert.match(problem ?? '', expected);
    assert.deepEqual(more, []);
  });
}

test('takes certificates from the ConfigMap, and no secrets', () => {
  for (const file of ['/etc/cambist/ca.pem', './ca.pem', 'ca.pem']) {
    assert.deepEqual(problemsOf({ route: { tls: { ca: { file } } } }), [
      'warning: routes[0].tls.ca.file: is not in the ConfigMap yet: add it there as the key "ca.pem"',
    ]);
  }
  const below = problemsOf({ route: { tls: { ca: { file: '/etc/cambist/folder/ca.pem' } } } });
  assert.match(below.join('\n'), /ca\.file: is not mounted/);
  const key = { certificate: { file: '/etc/cambist/tls.crt' }, private_key: { file: '/etc/cambist/tls.key' } };
  assert.match(problemsOf({ route: { tls: key } }).join('\n'), /private_key\.file: is not mounted/);
});

test('the memory limit of the pod bounds the requests in flight', () => {
  const problems = (max_in_flight: number, limit: string) =>
    problemsOf({ more: { limits: { max_in_flight } } }, { 'memory-limit': limit });
  assert.deepEqual([problems(10, '64Mi'), problems(640, '256Mi'), problems(10_000, 'none')], [[], [], []]);
  assert.deepEqual(problems(129, '128Mi'), [
    'warning: limits.max_in_flight: 129 requests may need more than the memory limit: set at most 128, or raise --memory-limit',
  ]);
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
      const annotations = { 'cambist.dev/printed-by': 'inject' };
      assert.deepEqual(parse(first).metadata, { name: 'cambist', namespace: 'a', annotations });
      assert.deepEqual(parse(last).metadata, { name: 'cambist', annotations });
      for (const manifest of manifests) assert.equal(parse(manifest).data['cambist.yaml'], text);
    }),
  );
});
