import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getIn, type JsonObject } from '../../../src/kubernetes/json.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { KAGENT } from '../../../src/kubernetes/pod-layout.ts';
import type { Container, Pod } from '../../external/cluster/objects.ts';
import { type Manifest, readManifest } from '../../integration/deploy/manifests.ts';
import { container, environment, inject, namesIn, pod, request } from './samples.ts';

const example = readManifest<Manifest & Pod>('pod.yaml').spec;
const OPTIONS = { secret: 'cambist', 'token-audience': 'https://idp.example.com/realms/agents' };

test('injects what the example pod of deploy/ contains', () => {
  const { template } = inject(pod(), OPTIONS);
  assert.deepEqual(container(template) as unknown as Container, example.initContainers?.[0]);
  const [config, secret, token] = example.volumes ?? [];
  // The example names the one key that its config reads, which an injection does not know, and a mode without a right to write.
  const whole = { ...secret, secret: { secretName: secret?.secret?.secretName } };
  assert.deepEqual(getIn(template, ['spec', 'volumes']), [config, whole, token]);
  assert.equal(getIn(template, ['spec', 'terminationGracePeriodSeconds']), example.terminationGracePeriodSeconds);
});

const waitsFor = (seconds: number): JsonObject => ({
  preStop: { exec: { command: ['node', '-e', `setTimeout(() => {}, ${seconds}000)`] } },
});

test('inserts a classic sidecar after the other containers, with a hook that waits for the agent before the drain', () => {
  const { template } = inject(pod(), { sidecar: 'classic' });
  assert.deepEqual(namesIn(template, 'containers'), ['agent', 'cambist']);
  assert.equal(getIn(template, ['spec', 'initContainers']), undefined);
  assert.equal(container(template)?.restartPolicy, undefined);
  assert.deepEqual(container(template)?.lifecycle, waitsFor(30));
  const long = inject(pod({ terminationGracePeriodSeconds: 120 }), { sidecar: 'classic' }).template;
  assert.deepEqual(container(long)?.lifecycle, waitsFor(90));
});

test('raises the grace period of the pod, and never lowers it', () => {
  const grace = (seconds?: number, flag?: string) => {
    const spec = seconds === undefined ? {} : { terminationGracePeriodSeconds: seconds };
    const { template } = inject(pod(spec), flag === undefined ? {} : { 'termination-grace-period': flag });
    return getIn(template, ['spec', 'terminationGracePeriodSeconds']);
  };
  assert.equal(grace(), 60);
  assert.equal(grace(10), 60);
  assert.equal(grace(300), 300);
  assert.equal(grace(10, '2m'), 120);
  assert.equal(grace(undefined, '20s'), undefined);
});

test('records the version and the ports in an annotation', () => {
  const { template } = inject(pod(), { port: '8280', 'termination-grace-period': '30s' });
  const status = JSON.parse(String(getIn(template, ['metadata', 'annotations', 'cambist.dev/status'])));
  assert.deepEqual(status, { version: '0.1.0', port: 8280, adminPort: 9180 });
});

test('an annotation overrides a flag, and a flag overrides the default', () => {
  const annotated = pod({}, { annotations: { 'cambist.dev/image': 'own:2', 'cambist.dev/memory-limit': '1Gi' } });
  const { template } = inject(annotated, { image: 'flag:1', 'cpu-request': '1' });
  assert.equal(container(template)?.image, 'own:2');
  assert.deepEqual(container(template)?.resources, {
    requests: { cpu: '1', memory: '64Mi' },
    limits: { memory: '1Gi' },
  });
});

test('applies each option', () => {
  const flags = {
    'admin-port': '9999',
    'log-level': 'debug',
    'image-pull-policy': 'Never',
    'cpu-limit': '1',
    'memory-limit': 'none',
  };
  const { template } = inject(pod(), { ...flags, 'config-map': 'other' });
  const found = container(template);
  assert.deepEqual(found?.ports, [{ name: 'cambist-admin', containerPort: 9999 }]);
  assert.equal(found?.imagePullPolicy, 'Never');
  assert.deepEqual(getIn(found, ['resources', 'limits']), { cpu: '1' });
  assert.deepEqual(getIn(found, ['env', 1]), { name: 'CAMBIST_LOG_LEVEL', value: 'debug' });
  assert.deepEqual(getIn(template, ['spec', 'volumes', 0, 'configMap']), { name: 'other' });
});

test('--proxy-env sets both spellings, and keeps a variable that the container sets', () => {
  const containers = [
    { name: 'agent', image: 'a' },
    { name: 'other', image: 'b', env: [{ name: 'http_proxy', value: 'http://corp:3128' }] },
  ];
  const { template, reasons } = inject(pod({ containers }), { 'proxy-env': 'enabled', port: '8181' });
  const proxy = { HTTP_PROXY: 'http://127.0.0.1:8181', http_proxy: 'http://127.0.0.1:8181' };
  const none = { NO_PROXY: 'localhost,127.0.0.1,::1', no_proxy: 'localhost,127.0.0.1,::1' };
  assert.deepEqual(environment(template, 'agent'), { ...proxy, ...none });
  assert.deepEqual(environment(template, 'other'), { http_proxy: 'http://corp:3128', ...none });
  assert.deepEqual(reasons, [
    'container "other" already sets HTTP_PROXY: left unchanged',
    "only HTTP_PROXY is set: calls to https URLs bypass cambist, with the caller's own token",
    'Node.js without NODE_USE_ENV_PROXY=1, Java, aiohttp and Go clients with a transport of their own ignore it',
  ]);
  assert.deepEqual(Object.keys(environment(template, 'cambist')), ['CAMBIST_CONFIG']);
});

test('injects a classic sidecar if the object has no field for init containers', () => {
  const { template } = injectPod({}, request({ layout: KAGENT }));
  const [sidecar] = getIn(template, ['deployment', 'extraContainers']) as JsonObject[];
  assert.equal(sidecar?.restartPolicy, undefined);
  assert.deepEqual(sidecar?.lifecycle, waitsFor(5));
});
