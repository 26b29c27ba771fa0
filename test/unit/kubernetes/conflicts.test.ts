import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getIn, type Json, type JsonObject, setIn } from '../../../src/kubernetes/json.ts';
import type { RawOptions } from '../../../src/kubernetes/options.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { container, IMAGE, inject, pod, request } from './samples.ts';

const ENABLED = { labels: { 'cambist.dev/inject': 'enabled' } };

const withPort = (containerPort: number, keys: JsonObject = {}) =>
  pod({ containers: [{ name: 'agent', ports: [{ containerPort, ...keys }] }] });
const annotated = (name: string, value: Json, labels: JsonObject = {}) =>
  pod({}, { labels, annotations: { [`cambist.dev/${name}`]: value } });

const HOST_NETWORK =
  /^hostNetwork is true: every process on the node could call cambist: remove hostNetwork, or use a gateway$/;
const SHARED_PROCESSES =
  /^shareProcessNamespace is true: root or user 65532 in another container .*could read cambist's secrets: remove shareProcessNamespace$/;

const REFUSED: readonly (readonly [template: JsonObject, reason: RegExp, flags?: RawOptions])[] = [
  [
    pod({ containers: [{ name: 'cambist' }] }),
    /^a container "cambist" exists and was not injected: remove or rename it$/,
  ],
  [pod({ volumes: [{ name: 'cambist-token' }] }), /^a volume "cambist-token" exists and was not injected: rename it$/],
  [withPort(8180), /^container "agent" uses port 8180: choose another port with cambist.dev\/port and/],
  [withPort(9999, { protocol: 'TCP' }), /port 9999: .*cambist.dev\/admin-port/, { 'admin-port': '9999' }],
  [withPort(1, { name: 'cambist-admin' }), /^container "agent" has a port "cambist-admin": rename the port$/],
  [pod({ hostNetwork: true }, ENABLED), HOST_NETWORK],
  [pod({ shareProcessNamespace: true }, ENABLED), SHARED_PROCESSES],
  [pod({ hostPID: true }, ENABLED), /remove hostPID$/],
  [pod({ os: { name: 'windows' } }, ENABLED), /^the pod runs on Windows, .*: use a gateway$/],
  [pod({}, { labels: { 'cambist.dev/inject': 'true' } }), /is "true": must be "enabled" or "disabled"/],
  [pod({ restartPolicy: 'Never' }), /keep the pod from completing: use a native sidecar/, { sidecar: 'classic' }],
  [annotated('status', 'injected'), /^annotation cambist.dev\/status is invalid: remove it$/],
  [annotated('imagee', 'x'), /unknown annotation "cambist.dev\/imagee": did you mean "cambist.dev\/image"\?/],
  [annotated('port', 8180), /cambist.dev\/port is not a string: put it in quotes/],
  [annotated('port', '99999'), /annotation cambist.dev\/port is "99999": must be a port/],
];
const SKIPPED: typeof REFUSED = [
  [pod({ hostNetwork: true }), HOST_NETWORK],
  [pod({ shareProcessNamespace: true }), SHARED_PROCESSES],
  [pod({ os: { name: 'windows' } }), /Windows/],
  [pod({}, { labels: { 'cambist.dev/inject': 'disabled' } }), /opted out/],
  [annotated('inject', 'disabled'), /opted out/],
  [annotated('inject', 'disabled', ENABLED.labels), /opted out/],
];

for (const [wanted, cases] of Object.entries({ refused: REFUSED, skipped: SKIPPED })) {
  for (const [template, reason, flags] of cases) {
    test(`a pod is ${wanted} with the reason ${reason.source}`, () => {
      const { outcome, reasons, template: result } = inject(template, flags);
      assert.equal(outcome, wanted);
      assert.match(reasons.join('; '), reason);
      assert.equal(result, template);
    });
  }
}

test('injects a pod with a UDP port of the same number, with keys set to false, or that runs to completion', () => {
  const apart = pod({ shareProcessNamespace: false, hostPID: false }, ENABLED);
  for (const template of [withPort(8180, { protocol: 'UDP' }), apart, pod({ restartPolicy: 'Never' })]) {
    const { outcome, reasons } = inject(template);
    assert.deepEqual([outcome, reasons], ['injected', []]);
  }
});

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
