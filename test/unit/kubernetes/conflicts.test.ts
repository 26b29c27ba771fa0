import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getIn, type JsonObject, setIn } from '../../../src/kubernetes/json.ts';
import type { RawOptions } from '../../../src/kubernetes/options.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { container, IMAGE, inject, pod, request } from './samples.ts';

const ENABLED = { labels: { 'cambist.dev/inject': 'enabled' } };

interface Case {
  readonly template: JsonObject;
  readonly flags?: RawOptions;
  readonly outcome: string;
  readonly reason: RegExp;
}

const withPort = (port: JsonObject) => pod({ containers: [{ name: 'agent', image: 'a', ports: [port] }] });

const CASES: Readonly<Record<string, Case>> = {
  'a container "cambist" that was not injected': {
    template: pod({ containers: [{ name: 'cambist', image: 'x' }] }),
    outcome: 'refused',
    reason: /^a container "cambist" exists and was not injected: remove or rename it$/,
  },
  'a volume "cambist-token" that was not injected': {
    template: pod({ volumes: [{ name: 'cambist-token', emptyDir: {} }] }),
    outcome: 'refused',
    reason: /^a volume "cambist-token" exists and was not injected: rename it$/,
  },
  'a container with the port of listen': {
    template: withPort({ containerPort: 8180 }),
    outcome: 'refused',
    reason: /^container "agent" uses port 8180: choose another port with cambist.dev\/port and the config$/,
  },
  'a container with the chosen port of admin': {
    template: withPort({ containerPort: 9999, protocol: 'TCP' }),
    flags: { 'admin-port': '9999' },
    outcome: 'refused',
    reason: /^container "agent" uses port 9999: choose another port with cambist.dev\/admin-port and the config$/,
  },
  'a container with the name of the admin port': {
    template: withPort({ containerPort: 1, name: 'cambist-admin' }),
    outcome: 'refused',
    reason: /^container "agent" has a port "cambist-admin": rename the port$/,
  },
  'a container with a UDP port of the same number': {
    template: withPort({ containerPort: 8180, protocol: 'UDP' }),
    outcome: 'injected',
    reason: /^$/,
  },
  'hostNetwork without the label': {
    template: pod({ hostNetwork: true }),
    outcome: 'skipped',
    reason: /^hostNetwork is true: every process on the node could call cambist: remove hostNetwork, or use a gateway$/,
  },
  'hostNetwork with the label': {
    template: pod({ hostNetwork: true }, ENABLED),
    outcome: 'refused',
    reason: /^hostNetwork is true: every process on the node could call cambist: remove hostNetwork, or use a gateway$/,
  },
  'shareProcessNamespace without the label': {
    template: pod({ shareProcessNamespace: true }),
    outcome: 'skipped',
    reason: /could read cambist's secrets: remove shareProcessNamespace$/,
  },
  'shareProcessNamespace with the label': {
    template: pod({ shareProcessNamespace: true }, ENABLED),
    outcome: 'refused',
    reason: /^shareProcessNamespace is true: root or user 65532 in another container .*: remove shareProcessNamespace$/,
  },
  'shareProcessNamespace and hostPID set to false': {
    template: pod({ shareProcessNamespace: false, hostPID: false }, ENABLED),
    outcome: 'injected',
    reason: /^$/,
  },
  'hostPID with the label': {
    template: pod({ hostPID: true }, ENABLED),
    outcome: 'refused',
    reason: /remove hostPID$/,
  },
  'a pod on Windows': { template: pod({ os: { name: 'windows' } }), outcome: 'skipped', reason: /Windows/ },
  'a pod opted out by label': {
    template: pod({}, { labels: { 'cambist.dev/inject': 'disabled' } }),
    outcome: 'skipped',
    reason: /opted out/,
  },
  'a pod opted out by annotation': {
    template: pod({}, { annotations: { 'cambist.dev/inject': 'disabled' } }),
    outcome: 'skipped',
    reason: /opted out/,
  },
  'a pod opted in by label and out by annotation': {
    template: pod({}, { ...ENABLED, annotations: { 'cambist.dev/inject': 'disabled' } }),
    outcome: 'skipped',
    reason: /opted out/,
  },
  'an invalid label': {
    template: pod({}, { labels: { 'cambist.dev/inject': 'true' } }),
    outcome: 'refused',
    reason: /is "true": must be "enabled" or "disabled"/,
  },
  'a classic sidecar in a pod that runs to completion': {
    template: pod({ restartPolicy: 'Never' }),
    flags: { sidecar: 'classic' },
    outcome: 'refused',
    reason: /keep the pod from completing: use a native sidecar/,
  },
  'a native sidecar in a pod that runs to completion': {
    template: pod({ restartPolicy: 'Never' }),
    outcome: 'injected',
    reason: /^$/,
  },
  'an invalid status': {
    template: pod({}, { annotations: { 'cambist.dev/status': 'injected' } }),
    outcome: 'refused',
    reason: /^annotation cambist.dev\/status is invalid: remove it$/,
  },
  'an unknown annotation with the prefix of cambist': {
    template: pod({}, { annotations: { 'cambist.dev/config-mapp': 'x' } }),
    outcome: 'refused',
    reason: /unknown annotation "cambist.dev\/config-mapp": did you mean "cambist.dev\/config-map"\?/,
  },
  'an annotation that is not a string': {
    template: pod({}, { annotations: { 'cambist.dev/port': 8180 } }),
    outcome: 'refused',
    reason: /cambist.dev\/port is not a string: put it in quotes/,
  },
  'an annotation with an invalid value': {
    template: pod({}, { annotations: { 'cambist.dev/port': '99999' } }),
    outcome: 'refused',
    reason: /annotation cambist.dev\/port is "99999": must be a port/,
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

test('injects a pod that has a status annotation but no sidecar', () => {
  const annotations = { 'cambist.dev/status': STATUS };
  assert.equal(injectPod(pod({}, { ...ENABLED, annotations }), webhook).outcome, 'injected');
});

const INVALID_SIDECARS: Readonly<Record<string, [spec: JsonObject, reason: RegExp]>> = {
  'with a command': [
    { initContainers: [{ name: 'cambist', image: IMAGE, restartPolicy: 'Always', command: ['sleep', 'inf'] }] },
    /^container "cambist" has a command or arguments, .*: remove it and the annotation cambist.dev\/status$/,
  ],
  'with arguments': [
    { containers: [{ name: 'cambist', image: IMAGE, args: ['version'] }] },
    /^container "cambist" has a command or arguments/,
  ],
  'that is an init container without restartPolicy': [
    { initContainers: [{ name: 'cambist', image: IMAGE }] },
    /^container "cambist" is an init container that exits before the agent starts/,
  ],
};

for (const [which, [spec, reason]] of Object.entries(INVALID_SIDECARS)) {
  const forged = pod(spec, { ...ENABLED, annotations: { 'cambist.dev/status': STATUS } });
  test(`the webhook refuses a container "cambist" ${which}, whatever the status annotation says`, () => {
    const { outcome, template, reasons } = injectPod(forged, webhook);
    assert.equal(outcome, 'refused');
    assert.equal(template, forged);
    assert.match(reasons.join('; '), reason);
  });

  test(`inject replaces a container "cambist" ${which} by the sidecar`, () => {
    const { outcome, template } = inject(forged);
    assert.equal(outcome, 'injected');
    assert.deepEqual(container(template), container(inject(pod()).template));
  });
}

test('the webhook keeps the changes of other webhooks to the sidecar: image, resources, probes, variables', () => {
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

/** Adds a container, as a later webhook does. */
function withContainer(template: JsonObject, port: JsonObject): JsonObject {
  const containers = getIn(template, ['spec', 'containers']) as JsonObject[];
  return setIn(template, ['spec', 'containers'], [...containers, { name: 'mesh', image: 'm', ports: [port] }]);
}

test('the webhook refuses a pod in which another webhook added a container with a port of cambist', () => {
  const outcome = (injected: JsonObject, port: JsonObject) => {
    const again = injectPod(withContainer(injected, port), webhook);
    return [again.outcome, ...again.reasons];
  };
  const conflict = (port: number, option = 'port') => [
    'refused',
    `container "mesh" uses port ${port}: choose another port with cambist.dev/${option} and the config`,
  ];
  const unchanged = ['unchanged', 'already injected: left unchanged'];
  const ordinary = injectPod(pod({}, ENABLED), webhook).template;
  assert.deepEqual(outcome(ordinary, { containerPort: 8180 }), conflict(8180));
  assert.deepEqual(outcome(ordinary, { containerPort: 9180 }), conflict(9180, 'admin-port'));
  assert.deepEqual(outcome(ordinary, { containerPort: 8280 }), unchanged);
  // Injected with flags that the webhook does not have.
  const elsewhere = inject(pod({}, ENABLED), { port: '8280', 'admin-port': '9280' }).template;
  assert.deepEqual(outcome(elsewhere, { containerPort: 8280 }), conflict(8280));
  assert.deepEqual(outcome(elsewhere, { containerPort: 8180 }), unchanged);
});

test('the webhook injects only pods with the label', () => {
  assert.equal(injectPod(pod(), webhook).outcome, 'skipped');
  assert.equal(injectPod(pod({}, { annotations: { 'cambist.dev/inject': 'enabled' } }), webhook).outcome, 'skipped');
  assert.equal(injectPod(pod({}, ENABLED), webhook).outcome, 'injected');
});
