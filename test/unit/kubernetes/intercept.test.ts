import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getIn, type JsonObject, objectsOf } from '../../../src/kubernetes/json.ts';
import type { RawOptions } from '../../../src/kubernetes/options.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { KAGENT, POD } from '../../../src/kubernetes/pod-layout.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { problemsOfManifest } from '../../harness/kubernetes-schema.ts';
import { container, environment, IMAGE, inject, namesIn, pod, request } from './samples.ts';

const TRUST = '/run/cambist/trust';
const BUNDLE = `${TRUST}/bundle.pem`;
const TRUSTED = {
  NODE_EXTRA_CA_CERTS: `${TRUST}/ca.pem`,
  SSL_CERT_FILE: BUNDLE,
  REQUESTS_CA_BUNDLE: BUNDLE,
  CURL_CA_BUNDLE: BUNDLE,
  GIT_SSL_CAINFO: BUNDLE,
  AWS_CA_BUNDLE: BUNDLE,
  DENO_CERT: BUNDLE,
};
const TRUSTSTORE = `-Djavax.net.ssl.trustStore=${TRUST}/truststore.p12 -Djavax.net.ssl.trustStoreType=PKCS12`;

const NAMES = { intercept: 'names', 'intercept-hosts': 'mcp.example.com, jira.example.com' };
const PACKETS = { intercept: 'packets', 'redirect-image': 'r/cambist-redirect:1' };

const agent = (keys: JsonObject): JsonObject => pod({ containers: [{ name: 'agent', image: 'agent:1', ...keys }] });
const spec = (template: JsonObject, ...path: (string | number)[]) => getIn(template, ['spec', ...path]);

const PROXY = 'http://127.0.0.1:8180';
const LOCAL = 'localhost,127.0.0.1,::1';

const WAYS: readonly RawOptions[] = [{ intercept: 'proxy' }, NAMES, PACKETS];

const MAY_CHANGE_RULES =
  /container "agent" may change the rules: remove privileged, and the capabilities NET_ADMIN, SYS_ADMIN, ALL/;
const secured = (context: JsonObject) => agent({ securityContext: context });
const hosts = (intercept: string, list: string) => ({ intercept, 'intercept-hosts': list });

const REFUSED: readonly (readonly [JsonObject, RawOptions, RegExp])[] = [
  [pod(), { intercept: 'names' }, /names need the hosts of the routes: give --config, or name/],
  [
    pod(),
    hosts('names', 'a.example.com,*.example.com'),
    /--intercept-hosts is .*: "\*\.example\.com" is a wildcard, and hostAliases takes whole names only: name each host/,
  ],
  [pod(), hosts('names', '10.0.0.1'), /is an address/],
  [pod(), hosts('names', 'a_b.test'), /contains "_"/],
  [pod(), hosts('proxy', 'https://x'), /must be only a host/],
  [pod(), hosts('proxy', 'a,'.repeat(300)), /must name 200 hosts at most/],
  [
    pod({ hostAliases: [{ ip: '10.0.0.1', hostnames: ['mcp.example.com'] }] }),
    NAMES,
    /hostAliases leads "mcp\.example\.com" elsewhere: remove it there/,
  ],
  [
    pod({ securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '1024' }] } }),
    NAMES,
    /ip_unprivileged_port_start is "1024": set it to "80" or less/,
  ],
  [agent({ ports: [{ containerPort: 80 }] }), NAMES, /container "agent" uses port 80, which intercept\.listen has/],
  [pod(), { ...NAMES, port: '443' }, /port 443 is also in intercept\.listen: use another port/],
  [pod(), { intercept: 'tls' }, /--intercept is "tls": must be one of proxy, names, packets/],
  [pod(), { intercept: 'packets' }, /--redirect-image is missing: set it to/],
  [secured({ runAsUser: 61532 }), PACKETS, /runs as user 61532, whose packets pass cambist: set another runAsUser/],
  [pod({ securityContext: { runAsUser: 61532 } }), PACKETS, /container "agent" runs as user 61532/],
  [secured({ privileged: true }), PACKETS, MAY_CHANGE_RULES],
  ...['CAP_NET_ADMIN', 'cap_net_admin', 'all'].map(
    (capability) => [secured({ capabilities: { add: [capability] } }), PACKETS, MAY_CHANGE_RULES] as const,
  ),
  [
    pod({ initContainers: [{ name: 'cambist-redirect', image: 'x' }] }),
    {},
    /a container "cambist-redirect" exists and was not injected: remove or rename it/,
  ],
];

test('proxy: sets proxy and trust variables, and mounts the trust folder read-only', () => {
  const { template } = inject(pod(), { intercept: 'proxy' });
  const java = `${TRUSTSTORE} -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=8180`;
  assert.deepEqual(environment(template, 'agent'), {
    HTTPS_PROXY: PROXY,
    NO_PROXY: LOCAL,
    https_proxy: PROXY,
    no_proxy: LOCAL,
    NODE_USE_ENV_PROXY: '1',
    ...TRUSTED,
    JAVA_TOOL_OPTIONS: java,
  });
  const mounts = container(template, 'agent')?.volumeMounts;
  assert.deepEqual(mounts, [{ name: 'cambist-trust', mountPath: TRUST, readOnly: true }]);
  assert.deepEqual(problemsOfManifest(template), []);
});

test('proxy with proxy-env: sets the variables of plain http as well', () => {
  const flags = { intercept: 'proxy', 'proxy-env': 'enabled' };
  const both = inject(pod(), flags);
  const { HTTP_PROXY, http_proxy, JAVA_TOOL_OPTIONS } = environment(both.template, 'agent');
  assert.deepEqual([HTTP_PROXY, http_proxy], [PROXY, PROXY]);
  assert.match(String(JAVA_TOOL_OPTIONS), /-Dhttp\.proxyHost=127\.0\.0\.1 -Dhttp\.proxyPort=8180/);
  assert.doesNotMatch(both.reasons.join(), /bypass/);
  const alone = inject(pod(), { intercept: 'proxy' });
  assert.match(alone.reasons.join(), /only HTTPS_PROXY is set: calls to http URLs bypass cambist, unless proxy-env/);
});

test('uninject leaves no spec in a pod that had none', () => {
  const empty = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' } };
  for (const flags of WAYS) assert.deepEqual(uninjectPod(inject(empty, flags).template, POD).template, empty);
});

for (const flags of WAYS) {
  test(`${flags.intercept}: both volumes are small and in memory, and cambist alone mounts the folder of the key`, () => {
    const { template } = inject(pod(), flags);
    const own = objectsOf(container(template)?.volumeMounts).slice(1);
    for (const [index, [name, sizeLimit, mountPath]] of [
      ['cambist-trust', '8Mi', TRUST],
      ['cambist-ca', '1Mi', '/run/cambist/ca'],
    ].entries()) {
      assert.deepEqual(spec(template, 'volumes', 1 + index), { name, emptyDir: { medium: 'Memory', sizeLimit } });
      assert.deepEqual(own[index], { name, mountPath });
    }
    assert.doesNotMatch(JSON.stringify(container(template, 'agent')), /cambist-ca|\/run\/cambist\/ca/);
  });

  test(`${flags.intercept}: init containers after cambist get the trust folder, those before it do not`, () => {
    const { template } = inject(pod({ initContainers: [{ name: 'loader', image: 'l' }] }), flags);
    assert.equal(environment(template, 'loader').SSL_CERT_FILE, BUNDLE);
    const early = { name: 'early', image: 'e' };
    const list = [early, ...(spec(template, 'initContainers') as JsonObject[])];
    const seen = { ...template, spec: { ...(template.spec as JsonObject), initContainers: list } };
    const labelled = request({ flags: { image: IMAGE, ...flags }, update: false });
    const again = injectPod(seen, labelled);
    assert.equal(again.outcome, 'unchanged', again.reasons.join());
    assert.deepEqual(container(again.template, 'early'), early);
  });

  test(`${flags.intercept}: the webhook completes a container that another webhook added later`, () => {
    const first = inject(pod(), flags).template;
    const late = { name: 'late', image: 'l', env: [{ name: 'JAVA_TOOL_OPTIONS', value: '-Xmx1g' }], volumeMounts: [] };
    const containers = [...(spec(first, 'containers') as JsonObject[]), late];
    const grown = { ...first, spec: { ...(first.spec as JsonObject), containers } };
    const again = injectPod(grown, request({ flags: { image: 'newer:2', ...flags }, update: false }));
    assert.equal(again.outcome, 'injected');
    assert.equal(container(again.template)?.image, IMAGE);
    const { SSL_CERT_FILE, JAVA_TOOL_OPTIONS } = environment(again.template, 'late');
    assert.equal(SSL_CERT_FILE, BUNDLE);
    assert.match(String(JAVA_TOOL_OPTIONS), /^-Xmx1g -Djavax\.net\.ssl\.trustStore=/);
    const restored = uninjectPod(again.template, POD).template;
    assert.deepEqual(restored, { ...pod(), spec: { containers: [{ name: 'agent', image: 'agent:1' }, late] } });
  });

  test(`${flags.intercept}: warns of each variable by which a client finds a proxy or a bundle of its own, and keeps it`, () => {
    const env = [
      { name: 'https_proxy', value: 'http://corp:3128' },
      { name: 'REQUESTS_CA_BUNDLE', value: '/own.pem' },
      { name: 'GRPC_DEFAULT_SSL_ROOTS_FILE_PATH', value: '/own.pem' },
      { name: 'npm_config_cafile', value: '/own.pem' },
      { name: 'JAVA_TOOL_OPTIONS', valueFrom: { configMapKeyRef: { name: 'c', key: 'k' } } },
    ];
    const { template, reasons } = inject(agent({ env }), flags);
    assert.deepEqual(objectsOf(container(template, 'agent')?.env).slice(0, env.length), env);
    const warned = reasons.flatMap((reason) => / already sets (\w+): left unchanged$/.exec(reason)?.[1] ?? []);
    const proxied = flags.intercept === 'proxy' ? 'HTTPS_PROXY ' : '';
    const names = `GRPC_DEFAULT_SSL_ROOTS_FILE_PATH ${proxied}JAVA_TOOL_OPTIONS NPM_CONFIG_CAFILE REQUESTS_CA_BUNDLE`;
    assert.equal(warned.sort().join(' '), names);
    assert.deepEqual(inject(agent({ env })).reasons, [], 'without an interception, they do not matter');
  });

  test(`${flags.intercept}: adds its options to those of Java, and removes exactly them`, () => {
    for (const value of ['-Xmx1g', '', " -Da='b c' "]) {
      const before = agent({ env: [{ name: 'JAVA_TOOL_OPTIONS', value }] });
      const { template } = inject(before, flags);
      assert.ok(String(environment(template, 'agent').JAVA_TOOL_OPTIONS).startsWith(`${value} ${TRUSTSTORE}`));
      assert.deepEqual(uninjectPod(template, POD).template, before);
      const edited = JSON.stringify(template.spec).replace('truststore.p12', 'truststore.p12 -Dlate=1');
      const more = { ...template, spec: JSON.parse(edited) as JsonObject };
      assert.match(JSON.stringify(uninjectPod(more, POD).template), /-Dlate=1/, 'a changed value is kept');
    }
    const own = agent({ env: [{ name: 'JAVA_TOOL_OPTIONS', value: '-Djavax.net.ssl.trustStore=/own.p12' }] });
    const { template, reasons } = inject(own, flags);
    assert.equal(environment(template, 'agent').JAVA_TOOL_OPTIONS, '-Djavax.net.ssl.trustStore=/own.p12');
    assert.match(reasons.join(), /already sets javax\.net\.ssl\.trustStore in JAVA_TOOL_OPTIONS: left unchanged/);
  });

  test(`${flags.intercept}: is refused where a container uses the place of the trust folder`, () => {
    for (const mountPath of [TRUST, `${TRUST}/`, `${TRUST}/more`]) {
      const { outcome, reasons } = inject(agent({ volumeMounts: [{ name: 'v', mountPath }] }), flags);
      assert.equal(outcome, 'refused');
      assert.match(reasons.join(), /container "agent" mounts a volume at \/run\/cambist\/trust: use another folder/);
    }
  });
}

for (const [template, flags, reason] of REFUSED) {
  test(`refuses a pod with the reason ${reason.source}`, () => {
    const { outcome, reasons, template: result } = inject(template, flags);
    assert.equal(outcome, 'refused');
    assert.match(reasons.join('; '), reason);
    assert.equal(result, template);
  });
}

test('proxy and packets: say that hosts of no route need forward_proxy.connect', () => {
  const note = /such as the model's API, need an entry in forward_proxy\.connect/;
  for (const flags of [{ intercept: 'proxy' }, PACKETS]) assert.match(inject(pod(), flags).reasons.join(), note);
  assert.doesNotMatch(inject(pod(), NAMES).reasons.join(), /forward_proxy/);
});

test("kagent's Agent takes the way proxy alone, with its variables and its mount", () => {
  const change = (flags: RawOptions) => injectPod({}, request({ flags: { image: IMAGE, ...flags }, layout: KAGENT }));
  const { template } = change({ intercept: 'proxy' });
  assert.deepEqual(getIn(template, ['deployment', 'volumeMounts']), [
    { name: 'cambist-trust', mountPath: TRUST, readOnly: true },
  ]);
  assert.match(JSON.stringify(getIn(template, ['deployment', 'env'])), /HTTPS_PROXY/);
  assert.deepEqual(uninjectPod(template, KAGENT).template, {});
  assert.match(change(NAMES).reasons.join(), /kagent's Agent has no field for hostAliases: use the webhook/);
  assert.match(change(PACKETS).reasons.join(), /kagent's Agent has no field for init containers: use the webhook/);
});

test('packets: names the containers that can open packet sockets, which bypass the rules', () => {
  const warned = (securityContext: JsonObject, ofPod: JsonObject = {}): string[] => {
    const template = pod({ containers: [{ name: 'agent', image: 'a', securityContext }], securityContext: ofPod });
    return inject(template, PACKETS).reasons.filter((reason) => reason.includes('NET_RAW'));
  };
  const warning = 'container "agent" has the capability NET_RAW, whose packet sockets bypass cambist: drop it';
  assert.deepEqual(warned({}), [warning]);
  assert.deepEqual(warned({ runAsUser: 0, runAsNonRoot: false }, { runAsUser: 1000 }), [warning]);
  for (const capability of ['CAP_NET_RAW', 'net_raw', 'cap_net_raw']) {
    assert.deepEqual(warned({ runAsUser: 1000, capabilities: { add: [capability] } }), [warning]);
  }
  for (const capability of ['ALL', 'NET_RAW', 'all', 'net_raw']) {
    assert.deepEqual(warned({ capabilities: { drop: [capability] } }), []);
  }
  assert.deepEqual(warned({}, { runAsUser: 1000 }), []);
  assert.deepEqual(warned({ runAsNonRoot: true }), []);
  const two = pod({ initContainers: [{ name: 'loader', image: 'l' }] });
  const both = 'containers "loader", "agent" have the capability NET_RAW, whose packet sockets bypass cambist: drop it';
  assert.ok(inject(two, PACKETS).reasons.includes(both));
  assert.doesNotMatch(inject(pod(), NAMES).reasons.join(), /NET_RAW/);
});

test('names: the hosts lead to loopback, and cambist may listen on their ports', () => {
  const { template } = inject(pod(), NAMES);
  assert.deepEqual(spec(template, 'hostAliases'), [
    { ip: '127.0.0.1', hostnames: ['mcp.example.com', 'jira.example.com'] },
  ]);
  assert.deepEqual(spec(template, 'securityContext'), {
    sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '80' }],
  });
  const { JAVA_TOOL_OPTIONS, ...variables } = environment(template, 'agent');
  assert.deepEqual(variables, TRUSTED);
  assert.equal(JAVA_TOOL_OPTIONS, TRUSTSTORE);
  assert.deepEqual(problemsOfManifest(template), []);
});

test("names: join the pod's own entries and sysctls, and leave again", () => {
  const own = {
    hostAliases: [
      { ip: '10.0.0.1', hostnames: ['db.example.com'] },
      { ip: '127.0.0.1', hostnames: ['jira.example.com', 'own.example.com'] },
    ],
    securityContext: { sysctls: [{ name: 'kernel.shm_rmid_forced', value: '1' }], fsGroup: 1 },
  };
  const { template } = inject(pod(own), NAMES);
  assert.deepEqual(spec(template, 'hostAliases'), [
    own.hostAliases[0],
    { ip: '127.0.0.1', hostnames: ['jira.example.com', 'own.example.com', 'mcp.example.com'] },
  ]);
  assert.deepEqual(spec(template, 'securityContext', 'sysctls', 0), own.securityContext.sysctls[0]);
  assert.deepEqual(uninjectPod(template, POD).template, pod(own));
});

test('packets: an init container redirects before cambist starts, and cambist runs as the user that is exempt', () => {
  const { template } = inject(pod({ initContainers: [{ name: 'loader', image: 'l' }] }), PACKETS);
  assert.deepEqual(namesIn(template, 'initContainers'), ['cambist-redirect', 'cambist', 'loader']);
  const redirect = container(template, 'cambist-redirect');
  assert.equal(redirect?.image, 'r/cambist-redirect:1');
  assert.deepEqual(redirect?.args, ['--uid', '61532', '--redirect', '443:15443', '--redirect', '80:15080']);
  assert.deepEqual(redirect?.securityContext, {
    runAsNonRoot: false,
    runAsUser: 0,
    runAsGroup: 0,
    readOnlyRootFilesystem: true,
    allowPrivilegeEscalation: false,
    privileged: false,
    capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
    seccompProfile: { type: 'RuntimeDefault' },
  });
  assert.equal(getIn(container(template), ['securityContext', 'runAsUser']), 61532);
  assert.deepEqual(getIn(container(template), ['securityContext', 'capabilities']), { drop: ['ALL'] });
  assert.equal(redirect?.env, undefined);
  assert.deepEqual(problemsOfManifest(template), []);
});

test('packets: a classic sidecar has the redirection as an init container too', () => {
  const { template, reasons } = inject(pod(), { ...PACKETS, sidecar: 'classic' });
  assert.deepEqual(namesIn(template, 'initContainers'), ['cambist-redirect']);
  assert.deepEqual(namesIn(template, 'containers'), ['agent', 'cambist']);
  assert.match(reasons.join(), /a classic sidecar may start after the agent/);
});
