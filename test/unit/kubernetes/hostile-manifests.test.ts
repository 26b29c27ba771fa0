import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diffJson, reviewAdmission } from '../../../src/kubernetes/admission.ts';
import { addAgentEnv, agentEnv } from '../../../src/kubernetes/agent-env.ts';
import { getIn, isArray, isObject, type Json, type JsonObject } from '../../../src/kubernetes/json.ts';
import { ManifestError } from '../../../src/kubernetes/manifest-stream.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { POD } from '../../../src/kubernetes/pod-layout.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { assertSameManifests, inject, injectText, pod, request, restoreText, reviewOf } from './samples.ts';

const HOST_PATH = [{ name: 'host', hostPath: { path: '/' } }];
const MOVED = { container: 'agent', inbound: 8080, agent: 1000, portBefore: null, probes: [] };

const FORGED: Readonly<Record<string, object>> = {
  'a volume where nothing was': { empty: [{ path: ['spec', 'volumes'], value: HOST_PATH }] },
  'variables where none were': {
    empty: [{ path: ['spec', 'containers', 0, 'env'], value: [{ name: 'A', value: 'b' }] }],
  },
  'a value that is not the port of a probe or hook': {
    inbound: { ...MOVED, probes: [{ path: ['securityContext', 'runAsUser'], before: 0 }] },
  },
};

for (const [what, forged] of Object.entries(FORGED)) {
  test(`inject and uninject refuse a status that restores ${what}`, () => {
    const containers = [{ name: 'agent', image: 'a', securityContext: { runAsUser: 1000 } }];
    const { template } = inject(pod({ containers }));
    const status = JSON.stringify({ version: '0.1.0', port: 8180, adminPort: 9180, ...forged });
    const annotations = { 'cambist.dev/status': status };
    const hostile = { ...template, metadata: { name: 'agent', annotations } };
    for (const { outcome, template: result, reasons } of [uninjectPod(hostile, POD), inject(hostile)]) {
      assert.equal(outcome, 'refused');
      assert.equal(result, hostile);
      assert.match(reasons.join(), /^annotation cambist\.dev\/status is invalid: remove it$/);
    }
  });
}

const shared = (uses: number): string =>
  `kind: Pod\napiVersion: v1\nspec:\n  volumes: [ ]\n  containers:\n  - name: a\n    args: [&a x${', *a'.repeat(uses)}]\n`;

test('injects a pod with many aliases, and restores its content', () => {
  assertSameManifests(restoreText(injectText(shared(300)).text), shared(300));
});

test('refuses a pod whose alias leads to what uninject removes', () => {
  const { text } = injectText('kind: Pod\napiVersion: v1\nspec:\n  containers:\n  - name: a\n');
  const aliased = `${text.replace('name: cambist-config', 'name: &own cambist-config')}  hostname: *own\n`;
  assert.notEqual(aliased, `${text}  hostname: *own\n`);
  assert.throws(() => restoreText(aliased), ManifestError);
});

const LABELS = { 'cambist.dev/inject': 'enabled' };
const PROXIED = { labels: LABELS, annotations: { 'cambist.dev/proxy-env': 'enabled' } };

function many<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

const containers = (count: number) => many(count, (index) => ({ name: `c${index}`, image: 'i', env: [] }));

const send = (object: JsonObject) =>
  reviewAdmission(reviewOf(object), (template) => injectPod(template, request({ optIn: true, update: false })));

/** A copy that counts the reads of its members. */
function counted(value: JsonObject): { given: JsonObject; reads(): number } {
  let reads = 0;
  const copyOf = (part: Json): Json => {
    if (!isArray(part) && !isObject(part)) return part;
    const copied = Object.entries(part).map(([key, member]) => [key, copyOf(member)] as const);
    return new Proxy(isArray(part) ? copied.map(([, member]) => member) : Object.fromEntries(copied), {
      get(target, key) {
        reads += 1;
        return Reflect.get(target, key);
      },
    });
  };
  return { given: copyOf(value) as JsonObject, reads: () => reads };
}

test('work on a pod grows in proportion to its containers', () => {
  const readsFor = (count: number): number => {
    const { given, reads } = counted(pod({ containers: containers(count) }));
    const { template, record } = addAgentEnv(
      given,
      POD,
      agentEnv({ proxyEnv: true, intercept: undefined, port: 8180 }),
    );
    assert.equal(diffJson(given, template).length, 1);
    const status = JSON.stringify({ version: '0.1.0', port: 8180, adminPort: 9180, env: record.env });
    const metadata = { name: 'agent', annotations: { 'cambist.dev/status': status } };
    const injected = counted({ ...template, metadata });
    const restored = uninjectPod(injected.given, POD).template;
    assert.deepEqual(getIn(restored, ['spec', 'containers', count - 1]), { name: `c${count - 1}`, image: 'i' });
    return reads() + injected.reads();
  };
  const [once, twice] = [readsFor(100), readsFor(200)];
  assert.ok(twice < 2.5 * once, `${once} and ${twice} reads`);
});

const agentWith = (keys: JsonObject) => ({ containers: [{ name: 'a', ...keys }] });
const MOUNTS = many(10_001, (index) => ({ name: 'v', mountPath: `/${index}` }));

const TOO_LARGE: readonly (readonly [spec: JsonObject, reason: string, annotations?: JsonObject])[] = [
  [{}, '1001 annotations: the limit is 1000', Object.fromEntries(many(1001, (index) => [`a${index}`, '']))],
  [{ containers: containers(250), initContainers: containers(251) }, '501 containers: the limit is 500'],
  [{ volumes: many(1001, (index) => ({ name: `v${index}`, emptyDir: {} })) }, '1001 volumes: the limit is 1000'],
  [agentWith({ env: many(10_001, () => ({ name: 'V' })) }), '10001 environment variables: the limit is 10000'],
  [agentWith({ ports: many(1001, () => ({ containerPort: 1 })) }), '1001 container ports: the limit is 1000'],
  [agentWith({ volumeMounts: MOUNTS }), '10001 volume mounts: the limit is 10000'],
];

for (const [spec, reason, annotations = PROXIED.annotations] of TOO_LARGE) {
  test(`refuses a pod that has ${reason}`, () => {
    const { review, outcome } = send(pod(spec, { labels: LABELS, annotations }));
    assert.equal(outcome, 'refused');
    assert.ok(String(getIn(review, ['response', 'status', 'message'])).includes(`has ${reason}`));
  });
}

const NAMES = { 'cambist.dev/intercept': 'names', 'cambist.dev/intercept-hosts': 'a.test,b.test' };

test('intercepts a pod that is as large as the limits allow, leaves it unchanged the second time, and restores it', () => {
  const env = many(19, (number) => ({ name: `V${number}` }));
  const java = { name: 'JAVA_TOOL_OPTIONS', value: '-Xmx1g' };
  const ports = many(2, () => ({ containerPort: 1 }));
  const spec = {
    containers: many(500, (index) => ({ name: `c${index}`, env: [...env, java], ports })),
    volumes: many(1000, (index) => ({ name: `v${index}`, emptyDir: {} })),
  };
  const given = pod(spec, { labels: LABELS, annotations: { ...PROXIED.annotations, ...NAMES } });
  const options = request({ flags: { ...request().flags, secret: 's', 'token-audience': 'a' } });
  const { template, outcome } = injectPod(given, options);
  assert.equal(outcome, 'injected');
  assert.equal(injectPod(template, options).outcome, 'unchanged');
  assert.deepEqual(uninjectPod(template, POD).template, given);
  // The API server allows 256 KiB for all annotations.
  assert.ok(JSON.stringify(getIn(template, ['metadata', 'annotations'])).length < 200_000);
});

const LONG = 'x'.repeat(100_000);

const MANY_URLS = [
  { name: LONG, env: many(1000, (index) => ({ name: 'U', value: `https://${index}.${'x'.repeat(200)}` })) },
];
const MANY_HOSTS = many(200, (index) => `${index}.test`);

const HOSTILE: Readonly<Record<string, JsonObject>> = {
  'a long container name that many reasons quote': pod(
    { containers: [{ name: LONG, ports: many(1000, () => ({ containerPort: 8180 })) }] },
    { labels: LABELS },
  ),
  'a long container name that warnings quote': pod(
    { containers: [{ name: LONG, env: [{ name: 'HTTP_PROXY' }] }] },
    PROXIED,
  ),
  'many URLs, hosts and names that an interception quotes': pod(
    { hostAliases: [{ ip: '10.0.0.1', hostnames: MANY_HOSTS }], containers: MANY_URLS },
    { labels: LABELS, annotations: { ...NAMES, 'cambist.dev/intercept-hosts': MANY_HOSTS.join() } },
  ),
  'many URLs that an interception by proxy quotes': pod(
    { containers: MANY_URLS },
    { labels: LABELS, annotations: { 'cambist.dev/intercept': 'proxy' } },
  ),
  'a long value of the label': pod({}, { labels: { 'cambist.dev/inject': `${LONG}` } }),
  'a long value of an option': pod({}, { labels: LABELS, annotations: { 'cambist.dev/port': LONG } }),
  'a long unknown annotation': pod({}, { labels: LABELS, annotations: { [`cambist.dev/${LONG}`]: 'x' } }),
  'a long name': pod({ hostNetwork: true }, { labels: LABELS, name: LONG }),
};

for (const [what, given] of Object.entries(HOSTILE)) {
  test(`keeps the message and the log line short for ${what}`, () => {
    const { review, pod: name, reasons } = send(given);
    const { status = {}, warnings = [] } = review.response as JsonObject;
    const { length } = JSON.stringify([status, warnings, name, reasons]);
    assert.ok(length < 8192, `${length} characters`);
  });
}
