import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { getIn, type JsonObject } from '../../../src/kubernetes/json.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { fencedBlocks } from '../../harness/pages.ts';
import { readManifest } from '../../integration/deploy/manifests.ts';
import {
  byName,
  CHART,
  configOf,
  helm,
  kustomize,
  nameOf,
  only,
  podSpec,
  type Rendered,
  renderChart,
  rendered,
  withValues,
} from './render.ts';
import { GATEWAY_CONFIG, VALUES } from './values.ts';

for (const [what, values] of Object.entries(VALUES)) {
  test(`${what}: helm lint accepts the chart, and every manifest is in the release's namespace, and no Secret`, async () => {
    const { code, stdout } = await withValues(values, 'lint', '--strict', CHART);
    assert.equal(code, 0, stdout);
    assert.doesNotMatch(stdout, /WARNING|ERROR/);
    for (const manifest of (await renderChart(values, { namespace: 'elsewhere' })).manifests) {
      const clusterWide = manifest.kind === 'MutatingWebhookConfiguration';
      assert.equal(getIn(manifest, ['metadata', 'namespace']), clusterWide ? undefined : 'elsewhere');
      assert.notEqual(manifest.kind, 'Secret');
    }
  });
}

const gateway = (more: object) => ({ ...VALUES.gateway, gateway: { ...VALUES.gateway.gateway, ...more } });
const webhook = (more: object) => ({ ...VALUES.gateway, webhook: { enabled: true, certManager: true, ...more } });
const config = (more: object) => gateway({ config: { ...GATEWAY_CONFIG, ...more } });

const TEAM = { billing: { configMap: 'cambist-team-billing' } };
const entry = (folder: string) => ({
  ...GATEWAY_CONFIG,
  routes_from: [{ name: 'billing', folder, paths: ['/billing'], upstreams: ['https://mcp.example.com'] }],
});

const AGENT = { billing: { service_account: 'team-a/billing' } };

/** Values that the schema refuses, and what helm says of each. */
const INVALID = {
  gateway: {
    enabled: true,
    networkpolicy: {},
    replicas: 'two',
    networkPolicy: { clients: [] },
    files: { 'cambist.yaml': '' },
    teams: { Billing: TEAM.billing, billing: {} },
    agents: { known: { billing: { serviceaccount: 'a/b' } } },
    config: { authorization_servers: {}, listen: '127.0.0.1:8180', admin: '0.0.0.0:9090', cahce: {} },
  },
  webhook: { enabled: true, replicas: 1, injection: { 'memory-limit': '256MB', intercept: 'tls', imag: 'x' } },
  valkey: { enabled: true, maxMemory: '1Gi' },
};
const REFUSED: readonly RegExp[] = [
  /'\/image\/repository': minLength/,
  /'\/gateway': additional properties 'networkpolicy'/,
  /'\/gateway\/replicas': got string, want integer/,
  /'\/gateway\/networkPolicy\/clients': minItems/,
  /'\/gateway\/files\/cambist\.yaml': false schema/,
  /'\/gateway\/teams': additional properties 'Billing'/,
  /'\/gateway\/teams\/billing': missing property 'configMap'/,
  /'\/gateway\/agents\/known\/billing'/,
  /'\/gateway\/config\/listen': value must be one of/,
  /'\/gateway\/config\/admin': value must be one of/,
  /'\/gateway\/config': additional properties 'cahce'/,
  /'\/gateway\/config': missing property 'routes'/,
  /'\/webhook\/caBundle': minLength/,
  /'\/webhook\/replicas': minimum: got 1, want 2/,
  /injection\/memory-limit': '256MB' does not match pattern/,
  /injection\/intercept': value must be one/,
  /injection': additional properties 'imag'/,
  /'\/valkey\/maxMemory'/,
];

test('helm names the place of each value that the schema refuses', async () => {
  const { code, stdout, stderr } = await withValues(INVALID, 'template', 'cambist', CHART);
  assert.deepEqual([code, stdout], [1, '']);
  for (const said of REFUSED) assert.match(stderr, said);
});

const MISTAKES: readonly [what: string, values: object, said: RegExp][] = [
  ['nothing enabled', { image: VALUES.gateway.image }, /nothing to install: set webhook\.enabled, gateway\.enabled/],
  ['no list of clients', gateway({ networkPolicy: { clients: null } }), /networkPolicy': missing property 'clients'/],
  [
    'no certificate of the gateway',
    gateway({ tls: { admin: true } }),
    /set gateway\.tls\.secret or gateway\.tls\.issuerRef/,
  ],
  [
    'a team without an entry',
    gateway({ teams: TEAM }),
    /gateway\.teams\.billing has no entry: add one .* with name: billing/,
  ],
  [
    'a team with another folder',
    gateway({ teams: TEAM, config: entry('/etc/cambist/teams/other') }),
    /gateway\.teams\.billing has no entry: add one .* folder: \/etc\/cambist\/teams\/billing/,
  ],
  [
    'an entry without a ConfigMap',
    gateway({ config: entry('/etc/cambist/teams/billing') }),
    /nothing is mounted at the folder of routes_from "billing": .* in gateway\.teams\.billing/,
  ],
  [
    'no SVID for the listener',
    gateway({ spiffe: { listener: true } }),
    /set gateway\.spiffe\.socket, and remove gateway\.tls/,
  ],
  [
    'agents in two places',
    gateway({ agents: { known: AGENT }, config: { ...GATEWAY_CONFIG, agents: { certificate: true, known: AGENT } } }),
    /in gateway\.agents\.known and in gateway\.config\.agents/,
  ],
  [
    'a store without a gateway',
    { ...webhook({}), gateway: { enabled: false }, valkey: { enabled: true } },
    /valkey\.enabled has no effect without the gateway/,
  ],
  [
    'a store that no replica uses',
    { ...VALUES.gateway, valkey: { enabled: true } },
    /set gateway\.config\.cache\.shared .*, or remove valkey\.enabled/,
  ],
  [
    'a pod that is killed before it has drained',
    config({ limits: { shutdown_grace: '2m' } }),
    /terminationGracePeriodSeconds is too short for limits\.shutdown_grace, 2m, .*: set it above 125/,
  ],
  [
    'less time than the default of shutdown_grace',
    gateway({ terminationGracePeriodSeconds: 30 }),
    /too short for limits\.shutdown_grace, 25s, .*: set it above 30/,
  ],
];
for (const [what, values, said] of MISTAKES) {
  test(`helm refuses values with ${what}, and names the place`, async () => {
    const { code, stdout, stderr } = await withValues(values, 'template', 'cambist', CHART);
    assert.equal(code, 1);
    assert.match(stderr, said);
    assert.equal(stdout, '');
  });
}

test('the packaged chart has the version of the package, and renders the same', async (t) => {
  const folder = temporaryFolder(t);
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  const { code, stderr } = await helm('package', CHART, '--destination', folder);
  assert.equal(code, 0, stderr);
  const chart = join(folder, `cambist-${version}.tgz`);
  const packaged = await renderChart(VALUES.everything, { chart });
  assert.deepEqual(packaged.manifests, (await renderChart(VALUES.everything)).manifests);
});

test('releases with other names get objects with valid names of their own', async () => {
  for (const [release, name] of [
    ['mcp', 'mcp-cambist-gateway'],
    ['cambist-eu', 'cambist-eu-gateway'],
  ] as const) {
    assert.equal(nameOf(only(await renderChart(VALUES.gateway, { release }), 'Deployment')), name);
  }
  const long = await renderChart(VALUES.gateway, { release: 'a'.repeat(53) });
  for (const manifest of long.manifests) assert.ok(nameOf(manifest).length <= 63);
});

test('the alerts are those of deploy/prometheusrule.yaml, with the labels of the values', async () => {
  const rule = only(await renderChart(VALUES.everything), 'PrometheusRule');
  assert.deepEqual(rule.spec, (readManifest('prometheusrule.yaml') as unknown as JsonObject).spec);
  assert.equal(getIn(rule, ['metadata', 'labels', 'release']), 'prometheus');
});

test('the config is rendered unchanged, with large numbers and the default ports', async () => {
  const everything = await renderChart(VALUES.everything);
  const { listen: everyAddress, admin: probed, ...config } = VALUES.everything.gateway.config;
  const tls = (name: string) => ({ file: `/var/run/secrets/tls/${name}` });
  const files = { certificate: tls('tls.crt'), private_key: tls('tls.key') };
  const clients = { client_ca: tls('ca.crt'), client_certificate: 'optional' };
  assert.deepEqual(parse(configOf(everything)), {
    ...config,
    listen: { address: everyAddress, tls: { ...files, ...clients } },
    admin: { address: probed, tls: files },
    agents: { certificate: true, known: VALUES.everything.gateway.agents.known },
  });
  assert.equal(getIn(only(everything, 'ConfigMap'), ['data', 'ca.pem']), VALUES.everything.gateway.files['ca.pem']);
  const { listen, admin, version, ...rest } = GATEWAY_CONFIG;
  assert.deepEqual(parse(configOf(await renderChart(gateway({ config: rest })))), { ...rest, version, listen, admin });
});

test('agents and TLS of the values are those of the overlay of kustomize', async () => {
  const written = configOf(await renderChart(VALUES['gateway with agents']));
  assert.deepEqual(parse(written), parse(await readFile('deploy/gateway/agents/cambist.yaml', 'utf8')));
});

test('mounts the socket of the SPIFFE agent, and takes the SVID as certificate', async () => {
  const rendered = await renderChart(VALUES['gateway with SVIDs']);
  const written: JsonObject = parse(configOf(rendered));
  assert.deepEqual(
    [written.spiffe, written.listen, getIn(written, ['agents', 'certificate'])],
    [{ socket: 'unix:///spiffe-workload-api/spire-agent.sock' }, { address: '0.0.0.0:8180', tls: 'spiffe' }, true],
  );
  const { text } = rendered;
  assert.match(text, /mountPath: \/spiffe-workload-api\n/);
  assert.match(text, /csi: ?\{ ?driver: csi\.spiffe\.io, readOnly: true ?\}/);
  assert.match(text, /targetPort: https/);
});

test('mounts the ConfigMap of each team as a folder, and starts without it', async () => {
  const everything = await renderChart(VALUES.everything);
  const pod = podSpec(everything, 'exchange-gateway');
  const ofTeams = (list: unknown) => (list as { name: string }[]).filter(({ name }) => name.startsWith('team-'));
  assert.deepEqual(ofTeams(getIn(pod, ['volumes'])), [
    { name: 'team-billing', configMap: { name: 'cambist-team-billing', optional: true } },
    { name: 'team-support', configMap: { name: 'of-support', optional: true } },
  ]);
  assert.deepEqual(
    ofTeams(getIn(pod, ['containers', 0, 'volumeMounts'])),
    VALUES.everything.gateway.config.routes_from.map(({ name, folder }) => ({
      name: `team-${name}`,
      mountPath: folder,
      readOnly: true,
    })),
  );
  // The chart neither creates these objects nor reads them, so their content changes no pod.
  assert.ok(everything.manifests.every((manifest) => !nameOf(manifest).includes('team')));
  const template = getIn(only(everything, 'Deployment', 'exchange-gateway'), ['spec', 'template', 'metadata']);
  assert.deepEqual(getIn(template, ['annotations']), VALUES.everything.gateway.podAnnotations);
});

test('the patch of the page mounts the same with kustomize', async (t) => {
  const folder = temporaryFolder(t);
  const [patches = ''] = fencedBlocks(readFileSync('deploy/teams.md', 'utf8'), 'yaml kustomize');
  const base = relative(folder, 'deploy/gateway/base');
  await writeFile(join(folder, 'kustomization.yaml'), `resources: [${base}]\n${patches}`);
  const volumes = (rendered: Rendered) => {
    const spec = podSpec(rendered);
    return [getIn(spec, ['volumes']), getIn(spec, ['containers', 0, 'volumeMounts'])].map((list) =>
      (list as { name: string }[]).toSorted((a, b) => a.name.localeCompare(b.name)),
    );
  };
  const chart = await renderChart(gateway({ teams: TEAM, config: entry('/etc/cambist/teams/billing') }));
  assert.deepEqual(volumes(rendered(await kustomize('build', folder))), volumes(chart));
});

test('probes and Prometheus use the scheme of the admin port, and cert-manager writes the Secret', async () => {
  const everything = await renderChart(VALUES.everything);
  const pod = podSpec(everything, 'exchange-gateway');
  const scheme = (probe: string) => getIn(pod, ['containers', 0, probe, 'httpGet', 'scheme']);
  assert.deepEqual(['startupProbe', 'readinessProbe', 'livenessProbe'].map(scheme), ['HTTPS', 'HTTPS', 'HTTPS']);
  const secret = getIn(only(everything, 'Certificate', 'exchange-gateway').spec, ['secretName']);
  assert.equal(secret, 'exchange-gateway-tls');
  const monitor = only(everything, 'PodMonitor', 'exchange-gateway').spec;
  assert.deepEqual(getIn(monitor, ['podMetricsEndpoints', 0, 'tlsConfig']), {
    serverName: 'exchange-gateway.cambist-system.svc',
    ca: { secret: { name: secret, key: 'ca.crt' } },
  });
  const { text } = await renderChart(VALUES.gateway);
  assert.doesNotMatch(text, /scheme: HTTPS/);
});

test('only the store and the gateway know each other, also with TLS', async () => {
  const rendered = await renderChart(VALUES.everything);
  const labels = (kind: string) => ({
    'app.kubernetes.io/name': `cambist-${kind}`,
    'app.kubernetes.io/instance': 'cambist',
  });
  const store = only(rendered, 'NetworkPolicy', 'exchange-valkey').spec;
  assert.deepEqual(getIn(store, ['ingress']), [
    { from: [{ podSelector: { matchLabels: labels('gateway') } }], ports: [{ port: 6379 }] },
  ]);
  assert.deepEqual(getIn(store, ['egress']), []);
  const toStore = { to: [{ podSelector: { matchLabels: labels('valkey') } }], ports: [{ port: 6379 }] };
  const { egress } = only(rendered, 'NetworkPolicy', 'exchange-gateway').spec as { egress: object[] };
  assert.ok(egress.some((rule) => JSON.stringify(rule) === JSON.stringify(toStore)));
  const container = getIn(podSpec(rendered, 'exchange-valkey'), ['containers', 0]);
  const args = (getIn(container, ['args']) as string[]).join(' ');
  assert.match(args, /--maxmemory 2gb .*--port 0 --tls-port 6379 --tls-cert-file \/etc\/valkey-tls\/tls\.crt/);
  assert.deepEqual(getIn(container, ['command']), ['redis-server']);
});

test('the webhook intercepts as the values say', async () => {
  const pod = podSpec(await renderChart(VALUES.everything), 'exchange-webhook');
  const args = getIn(pod, ['containers', 0, 'args']) as string[];
  assert.deepEqual(
    args.filter((arg) => /intercept|redirect/.test(arg)),
    [
      '--intercept=packets',
      '--intercept-hosts=mcp.example.com,*.tools.svc',
      '--redirect-image=registry.example.com/cambist-redirect:0.1.0',
    ],
  );
});

test('a changed config changes only the ConfigMap, so no pod is rolled', async () => {
  const before = byName(await renderChart(VALUES.gateway));
  const after = byName(await renderChart(config({ cache: { max_age: '1m' } })));
  const changed = Object.keys(after).filter((key) => JSON.stringify(after[key]) !== JSON.stringify(before[key]));
  assert.deepEqual(changed, ['ConfigMap cambist-gateway']);
});
