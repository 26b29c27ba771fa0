import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getIn, type JsonObject, setIn } from '../../../src/kubernetes/json.ts';
import type { WrittenOptions } from '../../../src/kubernetes/options.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { container, IMAGE, inject, pod, request } from './samples.ts';

const ENABLED = { labels: { 'cambist.dev/inject': 'enabled' } };

interface Case {
  readonly template: JsonObject;
  readonly flags?: WrittenOptions;
  readonly outcome: string;
  readonly reason: RegExp;
}

const withPort = (port: JsonObject) => pod({ containers: [{ name: 'agent', image: 'a', ports: [port] }] });

const CASES: Readonly<Record<string, Case>> = {
  'a container of our name that is not ours': {
    template: pod({ containers: [{ name: 'cambist', image: 'x' }] }),
    outcome: 'refused',
    reason: /a container "cambist" is there that was not injected/,
  },
  'a volume of our name that is not ours': {
    template: pod({ volumes: [{ name: 'cambist-token', emptyDir: {} }] }),
    outcome: 'refused',
    reason: /a volume "cambist-token" is there/,
  },
  'the port of listen': {
    template: withPort({ containerPort: 8180 }),
    outcome: 'refused',
    reason: /port 8180 is container "agent"'s/,
  },
  'the port of admin, as chosen': {
    template: withPort({ containerPort: 9999, protocol: 'TCP' }),
    flags: { 'admin-port': '9999' },
    outcome: 'refused',
    reason: /port 9999/,
  },
  'the name of the admin port': {
    template: withPort({ containerPort: 1, name: 'cambist-admin' }),
    outcome: 'refused',
    reason: /called "cambist-admin"/,
  },
  'a UDP port of the same number': {
    template: withPort({ containerPort: 8180, protocol: 'UDP' }),
    outcome: 'injected',
    reason: /^$/,
  },
  "the node's network, not asked for": {
    template: pod({ hostNetwork: true }),
    outcome: 'skipped',
    reason: /node's network/,
  },
  "the node's network, asked for": {
    template: pod({ hostNetwork: true }, ENABLED),
    outcome: 'refused',
    reason: /node's network/,
  },
  'processes that all containers see, not asked for': {
    template: pod({ shareProcessNamespace: true }),
    outcome: 'skipped',
    reason: /could read cambist's secrets: take shareProcessNamespace away$/,
  },
  'processes that all containers see, asked for': {
    template: pod({ shareProcessNamespace: true }, ENABLED),
    outcome: 'refused',
    reason: /^root or user 65532 in any container .* take shareProcessNamespace away$/,
  },
  'processes that all containers may see, and do not': {
    template: pod({ shareProcessNamespace: false, hostPID: false }, ENABLED),
    outcome: 'injected',
    reason: /^$/,
  },
  "the node's processes, asked for": {
    template: pod({ hostPID: true }, ENABLED),
    outcome: 'refused',
    reason: /take hostPID away$/,
  },
  Windows: { template: pod({ os: { name: 'windows' } }), outcome: 'skipped', reason: /Windows/ },
  'opted out by label': {
    template: pod({}, { labels: { 'cambist.dev/inject': 'disabled' } }),
    outcome: 'skipped',
    reason: /opted out/,
  },
  'opted out by annotation': {
    template: pod({}, { annotations: { 'cambist.dev/inject': 'disabled' } }),
    outcome: 'skipped',
    reason: /opted out/,
  },
  'opted in by label and out by annotation': {
    template: pod({}, { ...ENABLED, annotations: { 'cambist.dev/inject': 'disabled' } }),
    outcome: 'skipped',
    reason: /opted out/,
  },
  'a label that says neither': {
    template: pod({}, { labels: { 'cambist.dev/inject': 'true' } }),
    outcome: 'refused',
    reason: /is "true": write "enabled" or "disabled"/,
  },
  'a classic sidecar where the pod is to complete': {
    template: pod({ restartPolicy: 'Never' }),
    flags: { sidecar: 'classic' },
    outcome: 'refused',
    reason: /keep it from ever completing/,
  },
  'a native one there': { template: pod({ restartPolicy: 'Never' }), outcome: 'injected', reason: /^$/ },
  'a status that is not ours': {
    template: pod({}, { annotations: { 'cambist.dev/status': 'injected' } }),
    outcome: 'refused',
    reason: /not one of cambist's/,
  },
  'an unknown annotation of ours': {
    template: pod({}, { annotations: { 'cambist.dev/config-mapp': 'x' } }),
    outcome: 'refused',
    reason: /unknown annotation "cambist.dev\/config-mapp": did you mean "cambist.dev\/config-map"\?/,
  },
  'an annotation that is no text': {
    template: pod({}, { annotations: { 'cambist.dev/port': 8180 } }),
    outcome: 'refused',
    reason: /cambist.dev\/port is no text/,
  },
  'an annotation that is not possible': {
    template: pod({}, { annotations: { 'cambist.dev/port': '99999' } }),
    outcome: 'refused',
    reason: /annotation cambist.dev\/port is "99999": write a port/,
  },
};

for (const [what, { template, flags, outcome, reason }] of Object.entries(CASES)) {
  test(`${what}: ${outcome}`, () => {
    const result = inject(template, flags);
    assert.equal(result.outcome, outcome);
    assert.match(result.reasons.join('; '), reason);
    if (outcome !== 'injected') assert.equal(result.template, template);
  });
}

const STATUS = '{"version":"0.1.0","port":8180,"adminPort":9180}';
const webhook = request({ optIn: true, update: false });

test('a status annotation without its sidecar does not keep a pod from being injected', () => {
  const annotations = { 'cambist.dev/status': STATUS };
  assert.equal(injectPod(pod({}, { ...ENABLED, annotations }), webhook).outcome, 'injected');
});

const FALSE_SIDECARS: Readonly<Record<string, [spec: JsonObject, reason: RegExp]>> = {
  'that runs another program': [
    { initContainers: [{ name: 'cambist', image: IMAGE, restartPolicy: 'Always', command: ['sleep', 'inf'] }] },
    /^container "cambist" has a command or arguments, .*: take it away, and the annotation cambist.dev\/status with it$/,
  ],
  'that runs another command of cambist': [
    { containers: [{ name: 'cambist', image: IMAGE, args: ['version'] }] },
    /^container "cambist" has a command or arguments/,
  ],
  'that ends before the agent starts': [
    { initContainers: [{ name: 'cambist', image: IMAGE }] },
    /^container "cambist" is an init container that ends before the agent starts/,
  ],
};

for (const [which, [spec, reason]] of Object.entries(FALSE_SIDECARS)) {
  const forged = pod(spec, { ...ENABLED, annotations: { 'cambist.dev/status': STATUS } });
  test(`a container ${which} does not pass for a sidecar at a webhook, whatever the status annotation says`, () => {
    const { outcome, template, reasons } = injectPod(forged, webhook);
    assert.equal(outcome, 'refused');
    assert.equal(template, forged);
    assert.match(reasons.join('; '), reason);
  });

  test(`a container ${which} gives way to the sidecar when its manifest is injected`, () => {
    const { outcome, template } = inject(forged);
    assert.equal(outcome, 'injected');
    assert.deepEqual(container(template), container(inject(pod()).template));
  });
}

test('a webhook leaves what others have made of its sidecar: image, resources, probes, and more of them', () => {
  const injected = injectPod(pod({}, ENABLED), webhook).template;
  const rewritten = {
    ...container(injected),
    image: 'mirror.example.com/cambist:0.1.0',
    resources: {},
    startupProbe: { httpGet: { path: '/mesh', port: 15020 } },
    env: [{ name: 'TRACED', value: '1' }],
  };
  const changed = setIn(injected, ['spec', 'initContainers', 0], rewritten);
  const { outcome, template } = injectPod(changed, webhook);
  assert.deepEqual([outcome, template], ['unchanged', changed]);
});

/** With one more container, as a later webhook adds it. */
function joined(template: JsonObject, port: JsonObject): JsonObject {
  const containers = getIn(template, ['spec', 'containers']) as JsonObject[];
  return setIn(template, ['spec', 'containers'], [...containers, { name: 'mesh', image: 'm', ports: [port] }]);
}

test('a port of cambist that another webhook has given away since is refused, whichever port it was injected for', () => {
  const outcome = (injected: JsonObject, port: JsonObject) => {
    const again = injectPod(joined(injected, port), webhook);
    return [again.outcome, ...again.reasons];
  };
  const taken = (port: number) => [
    'refused',
    `port ${port} is container "mesh"'s: choose another with cambist.dev/port or admin-port`,
  ];
  const unchanged = ['unchanged', 'injected already: left as it is'];
  const ordinary = injectPod(pod({}, ENABLED), webhook).template;
  assert.deepEqual(outcome(ordinary, { containerPort: 8180 }), taken(8180));
  assert.deepEqual(outcome(ordinary, { containerPort: 9180 }), taken(9180));
  assert.deepEqual(outcome(ordinary, { containerPort: 8280 }), unchanged);
  // By the flags of "cambist inject", of which the webhook knows nothing.
  const elsewhere = inject(pod({}, ENABLED), { port: '8280', 'admin-port': '9280' }).template;
  assert.deepEqual(outcome(elsewhere, { containerPort: 8280 }), taken(8280));
  assert.deepEqual(outcome(elsewhere, { containerPort: 8180 }), unchanged);
});

test('a webhook changes only what bears the label', () => {
  assert.equal(injectPod(pod(), webhook).outcome, 'skipped');
  assert.equal(injectPod(pod({}, { annotations: { 'cambist.dev/inject': 'enabled' } }), webhook).outcome, 'skipped');
  assert.equal(injectPod(pod({}, ENABLED), webhook).outcome, 'injected');
});
