import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getIn, type JsonObject } from '../../../src/kubernetes/json.ts';
import { POD } from '../../../src/kubernetes/pod-layout.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { problemsOfManifest } from '../../harness/kubernetes-schema.ts';
import { NAMES, PACKETS, spec, TRUSTED, TRUSTSTORE } from './intercepted-pods.ts';
import { container, environment, inject, namesIn, pod } from './samples.ts';

test('packets: names the containers that can open packet sockets, which bypass the rules', () => {
  const warned = (keys: JsonObject, ofPod: JsonObject = {}): string[] => {
    const template = pod({ containers: [{ name: 'agent', image: 'a', ...keys }], securityContext: ofPod });
    return inject(template, PACKETS).reasons.filter((reason) => reason.includes('NET_RAW'));
  };
  const warning = 'container "agent" has the capability NET_RAW, whose packet sockets bypass cambist: drop it';
  assert.deepEqual(warned({}), [warning]);
  assert.deepEqual(warned({ securityContext: { runAsUser: 0, runAsNonRoot: false } }, { runAsUser: 1000 }), [warning]);
  assert.deepEqual(warned({ securityContext: { runAsUser: 1000, capabilities: { add: ['CAP_NET_RAW'] } } }), [warning]);
  for (const capability of ['net_raw', 'cap_net_raw']) {
    assert.deepEqual(warned({ securityContext: { runAsUser: 1000, capabilities: { add: [capability] } } }), [warning]);
  }
  for (const capability of ['ALL', 'NET_RAW', 'all', 'net_raw']) {
    assert.deepEqual(warned({ securityContext: { capabilities: { drop: [capability] } } }), []);
  }
  assert.deepEqual(warned({}, { runAsUser: 1000 }), []);
  assert.deepEqual(warned({ securityContext: { runAsNonRoot: true } }), []);
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
