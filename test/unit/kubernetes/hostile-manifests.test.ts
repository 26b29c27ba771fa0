import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getIn, type Json } from '../../../src/kubernetes/json.ts';
import { joinStreams, ManifestError, readStream } from '../../../src/kubernetes/manifest-stream.ts';
import { POD } from '../../../src/kubernetes/pod-layout.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { assertSameManifests, inject, injectText, pod, request, restoreText } from './samples.ts';

const injected = (text: string): string => injectText(text, request()).text;

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
  assertSameManifests(restoreText(injected(shared(300))), shared(300));
});

test('refuses a pod whose alias leads to what uninject removes', () => {
  const text = injected('kind: Pod\napiVersion: v1\nspec:\n  containers:\n  - name: a\n');
  const aliased = `${text.replace('name: cambist-config', 'name: &own cambist-config')}  hostname: *own\n`;
  assert.notEqual(aliased, `${text}  hostname: *own\n`);
  assert.throws(() => restoreText(aliased), ManifestError);
});

const CONFIG_MAP = 'kind: ConfigMap\nmetadata: {name: c}\n';

function withoutConfigMaps(text: string): string {
  const change = (manifest: Json) => ({
    manifest: getIn(manifest, ['kind']) === 'ConfigMap' ? undefined : manifest,
    notes: [],
  });
  return readStream(text, 'f').change(change).text;
}

const STREAMS: Readonly<Record<string, string>> = {
  'without a marker': 'kind: Pod\n',
  'with a marker': '---\nkind: Pod\n',
  'with a marker in CRLF': '---\r\nkind: Pod\r\n',
  'with a marker on the line of its content': '--- {kind: Pod}',
  'with an empty document first': '---\n---\nkind: Pod\n',
  'with a comment before the marker': '# c\n---\nkind: Pod\n',
  'with a directive': '%YAML 1.1\n---\nkind: Pod\n',
  'with a directive after comments and blank lines': '# c\n\n # d\r\n%YAML 1.1\n---\nkind: Pod\n',
  'in JSON': '{"kind":"Pod"}',
};

for (const [what, text] of Object.entries(STREAMS)) {
  test(`puts a ConfigMap before a stream ${what}, or between two, and removes it, and joins the stream to another`, () => {
    const joined = joinStreams(CONFIG_MAP, text);
    assert.deepEqual(readStream(joined, 'f').manifests.slice(1), readStream(text, 'f').manifests);
    assertSameManifests(withoutConfigMaps(joined), text);
    assertSameManifests(withoutConfigMaps(joinStreams(text, joined)), joinStreams(text, text));
    const [before] = readStream('kind: Service', 'f').manifests;
    const { manifests } = readStream(joinStreams('kind: Service', text), 'f');
    assert.deepEqual(manifests, [before, ...readStream(text, 'f').manifests]);
  });
}
