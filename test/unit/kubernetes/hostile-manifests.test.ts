import assert from 'node:assert/strict';
import { test } from 'node:test';
import { POD } from '../../../src/kubernetes/pod-layout.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { inject, injectText, pod, request } from './samples.ts';

const injected = (text: string): string => injectText(text, request()).text;

const SECRETS: Readonly<Record<string, string>> = {
  'of a nested List': 'items:\n- kind: List\n  apiVersion: v1\n  items:\n  - {kind: Secret, apiVersion: v1}\n',
  'without a kind, as in a SecretList': 'items:\n- data: {}\n',
  'in functionConfig': 'functionConfig: {kind: Secret}\nitems:\n',
};

for (const [where, secret] of Object.entries(SECRETS)) {
  test(`no letter or digit gets into the annotation beside a Secret ${where}`, () => {
    const spec = 'volumes: [ ]\n    terminationGracePeriodSeconds: 0x10\n    containers:\n    - name: a\n';
    const list = `kind: ResourceList\napiVersion: v1\n${secret}- kind: Pod\n  apiVersion: v1\n  spec:\n    ${spec}`;
    assert.doesNotMatch(injected(list), /corrections/);
  });
}

const HOST_PATH = [{ name: 'host', hostPath: { path: '/' } }];
const MOVED = { container: 'agent', inbound: 8080, agent: 1000, portBefore: null, probes: [] };

const FORGED: Readonly<Record<string, object>> = {
  'a volume where nothing was': { empty: { '/spec/volumes': HOST_PATH } },
  'variables where none were': { inbound: { ...MOVED, envBefore: [{ name: 'A', value: 'b' }] } },
  'names where none were': {
    intercept: {
      way: 'names',
      ports: [443],
      aliases: [{ ip: '127.0.0.1', hostnames: ['a'], isNew: false, emptyBefore: ['b'] }],
    },
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
