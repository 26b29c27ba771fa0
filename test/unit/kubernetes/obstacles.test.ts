import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject } from '../../../src/kubernetes/json.ts';
import type { WrittenOptions } from '../../../src/kubernetes/options.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { inject, pod, request } from './samples.ts';

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

test('a status annotation without its sidecar does not keep a pod from being injected', () => {
  const annotations = { 'cambist.dev/status': '{"version":"0.1.0"}' };
  assert.equal(
    injectPod(pod({}, { ...ENABLED, annotations }), request({ optIn: true, update: false })).outcome,
    'injected',
  );
});

test('a webhook changes only what bears the label', () => {
  const webhook = request({ optIn: true, update: false });
  assert.equal(injectPod(pod(), webhook).outcome, 'skipped');
  assert.equal(injectPod(pod({}, { annotations: { 'cambist.dev/inject': 'enabled' } }), webhook).outcome, 'skipped');
  assert.equal(injectPod(pod({}, ENABLED), webhook).outcome, 'injected');
});
