import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parse } from 'yaml';
import { diffJson } from '../../../src/kubernetes/admission.ts';
import { getIn, type JsonObject } from '../../../src/kubernetes/json.ts';
import { closingAdvice } from '../../../src/kubernetes/network-policy.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { KAGENT, POD } from '../../../src/kubernetes/pod-layout.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { problemsOfManifest } from '../../harness/kubernetes-schema.ts';
import { ANY_FLAGS, ANY_POD } from './any-pod.ts';
import { applyPatch, container, environment, IMAGE, inject, pod, request } from './samples.ts';

const PORTS = [{ name: 'http', containerPort: 8080 }];
const agentPod = (keys: JsonObject = {}, more: JsonObject[] = []) =>
  pod({ containers: [{ name: 'agent', image: 'agent:1', ports: PORTS, ...keys }, ...more] }, { labels: { app: 'a' } });

const move = (template: JsonObject, flags = {}) => inject(template, { inbound: '8080', ...flags });

test('cambist listens on the port of the callers, and PORT moves the agent to the next one', () => {
  const { template, outcome, reasons } = move(agentPod());
  assert.equal(outcome, 'injected');
  assert.deepEqual(problemsOfManifest(template), []);
  assert.deepEqual(environment(template, 'agent'), { PORT: '8081' });
  // A Service that names the port finds it on every version of Kubernetes.
  assert.deepEqual(container(template, 'agent')?.ports, PORTS);
  // The API server warns of a port that two containers declare.
  assert.deepEqual(container(template)?.ports, [{ name: 'cambist-admin', containerPort: 9180 }]);
  const note = 'the config needs inbound with listen 0.0.0.0:8080 and agent http://127.0.0.1:8081';
  assert.ok(reasons.join().includes(note));
});

test('notes an agent without a preStop hook, which stops while callers still come', () => {
  const lifecycle = { preStop: { sleep: { seconds: 10 } } };
  assert.match(move(agentPod()).reasons.join(), /container "agent" has no preStop hook/);
  assert.doesNotMatch(move(agentPod({ lifecycle })).reasons.join(), /preStop/);
});

test('takes the agent’s port from the option or the annotation', () => {
  assert.deepEqual(environment(move(agentPod(), { 'agent-port': '9000' }).template, 'agent'), { PORT: '9000' });
  const annotations = { 'cambist.dev/inbound': '8080', 'cambist.dev/agent-port': '9001' };
  const { template } = inject(pod({ containers: [{ name: 'agent', ports: PORTS }] }, { annotations }));
  assert.deepEqual(environment(template, 'agent'), { PORT: '9001' });
});

test('moves probes and hooks on the port, by number or name, and no others', () => {
  const { template } = move(
    agentPod({
      startupProbe: { tcpSocket: { port: 8080 } },
      readinessProbe: { httpGet: { path: '/healthz', port: 'http' } },
      livenessProbe: { httpGet: { path: '/healthz', port: 9090 } },
      lifecycle: { preStop: { httpGet: { path: '/drain', port: 8080 } }, postStart: { exec: { command: ['true'] } } },
    }),
  );
  const agent = container(template, 'agent');
  assert.equal(getIn(agent, ['startupProbe', 'tcpSocket', 'port']), 8081);
  assert.equal(getIn(agent, ['readinessProbe', 'httpGet', 'port']), 8081);
  assert.equal(getIn(agent, ['livenessProbe', 'httpGet', 'port']), 9090);
  assert.equal(getIn(agent, ['lifecycle', 'preStop', 'httpGet', 'port']), 8081);
});

test('finds the agent by its declared port, or as the only container', () => {
  const other = { name: 'other', image: 'o', ports: [{ containerPort: 9000 }] };
  assert.deepEqual(environment(move(agentPod({}, [other])).template, 'other'), {});
  assert.deepEqual(environment(move(pod()).template, 'agent'), { PORT: '8081' });
});

const REFUSED: Readonly<Record<string, [JsonObject, RegExp]>> = {
  'several containers without the port': [
    pod({ containers: [{ name: 'a' }, { name: 'b' }] }),
    /no container declares port 8080: add it to the ports of the agent's container/,
  ],
  'two containers with the port': [agentPod({}, [{ name: 'b', ports: PORTS }]), /two containers declare port 8080/],
  'a PORT with another value': [
    agentPod({ env: [{ name: 'PORT', value: '3000' }] }),
    /sets PORT to another value: set it to 8080, or remove it/,
  ],
  'a PORT from elsewhere': [
    agentPod({ env: [{ name: 'PORT', valueFrom: { configMapKeyRef: { name: 'c', key: 'k' } } }] }),
    /sets PORT to another value/,
  ],
  'the port in the command': [agentPod({ args: ['--port=8080'] }), /contains port 8080: write \$\(PORT\) in its place/],
  'the next port in use': [
    agentPod({}, [{ name: 'b', ports: [{ containerPort: 8081 }] }]),
    /container "b" uses port 8081: choose another with cambist\.dev\/agent-port and the config/,
  ],
};

for (const [what, [template, reason]] of Object.entries(REFUSED)) {
  test(`refuses ${what}, and says how to fix it`, () => {
    const { outcome, reasons } = move(template);
    assert.equal(outcome, 'refused');
    assert.match(reasons.join(), reason);
  });
}

test('refuses an Agent of kagent, whose controller sets the port', () => {
  const flags = { image: IMAGE, inbound: '8080' };
  const { outcome, reasons } = injectPod({ deployment: {} }, request({ flags, layout: KAGENT }));
  assert.equal(outcome, 'refused');
  assert.match(reasons.join(), /kagent's controller sets the port/);
});

test('replaces a PORT with the old value, and notes other variables that contain it', () => {
  const env = [
    { name: 'PORT', value: '8080' },
    { name: 'PUBLIC_URL', value: 'http://agent:8080/' },
  ];
  const { template, reasons } = move(agentPod({ env, args: ['--port', '$(PORT)', '--size=18080'] }));
  assert.equal(environment(template, 'agent').PORT, '8081');
  assert.match(reasons.join(), /its variable "PUBLIC_URL" contains 8080/);
});

test('uninject restores the agent, and keeps what has changed since', () => {
  const port = { name: 'PORT', value: '8080' };
  const readinessProbe = { httpGet: { path: '/', port: 'http' } };
  const probes = { readinessProbe, livenessProbe: { tcpSocket: { port: 8080 } } };
  for (const keys of [{}, { env: [] }, { env: [port, { name: 'A', value: '1' }] }, probes]) {
    const before = agentPod(keys);
    assert.deepEqual(uninjectPod(move(before).template, POD).template, before);
  }
  const injected = move(agentPod()).template;
  const edited = JSON.parse(JSON.stringify(injected).replace('"value":"8081"', '"value":"9999"')) as JsonObject;
  assert.deepEqual(environment(uninjectPod(edited, POD).template, 'agent'), { PORT: '9999' });
});

test('another port moves the agent again', () => {
  const once = move(agentPod()).template;
  assert.deepEqual(environment(move(once, { 'agent-port': '8090' }).template, 'agent'), { PORT: '8090' });
  assert.deepEqual(environment(inject(once).template, 'agent'), {});
});

test('whatever can be moved is restored, and moving it again changes nothing', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, (template, flags) => {
      const injected = move(template, flags);
      if (injected.outcome === 'refused') return;
      assert.deepEqual(uninjectPod(injected.template, POD).template, template);
      assert.equal(move(injected.template, flags).outcome, 'unchanged');
      assert.deepEqual(applyPatch(template, diffJson(template, injected.template)), injected.template);
    }),
  );
});

test('prints a policy that closes exactly the agent’s port, for pods that a label selects', () => {
  const advice = closingAdvice(move(agentPod()).template, POD) ?? '';
  const policy = parse(advice.slice(advice.indexOf('\n\n'))) as JsonObject;
  assert.deepEqual(problemsOfManifest(policy), []);
  assert.deepEqual(getIn(policy, ['spec', 'podSelector']), { matchLabels: { app: 'a' } });
  const ports = [
    { protocol: 'TCP', port: 1, endPort: 8080 },
    { protocol: 'TCP', port: 8082, endPort: 65535 },
    { protocol: 'UDP', port: 1, endPort: 65535 },
  ];
  assert.deepEqual(getIn(policy, ['spec', 'ingress']), [{ ports }]);
  assert.match(closingAdvice(move(pod()).template, POD) ?? '', /give the pod a label/);
  assert.equal(closingAdvice(inject(agentPod()).template, POD), undefined);
});
