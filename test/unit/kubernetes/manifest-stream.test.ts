import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { changeStream, ManifestError, splitDocuments } from '../../../src/kubernetes/manifest-stream.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { changeManifest } from '../../../src/kubernetes/workloads.ts';
import { request } from './samples.ts';

const injected = (text: string) =>
  changeStream(text, 'f.yaml', (manifest) => changeManifest(manifest, (template) => injectPod(template, request())));
const uninjected = (text: string) => changeStream(text, 'f.yaml', (manifest) => changeManifest(manifest, uninjectPod));

const STREAM = `# what is before
apiVersion: v1
kind: ConfigMap
metadata: {name:   x}   # odd   blanks
data:
   a:   "b"
   c: |
     --- not a document
---   # the second
apiVersion: apps/v1
kind: Deployment
metadata:
    name:   agent
spec:
    selector: { matchLabels: {app: agent} }
    template:
        metadata:
            labels: {app: agent}   # who
            annotations:
        spec:
            # the volumes
            volumes: []   # none yet
            initContainers:
            # loads the model
            - name: loader
              image: 'loader:1'

            containers:
            - name: agent
              image: "agent:1"
              args: ["a",   'b']
              # the end of agent
            # the end of the pod

---
# nothing here
---
kind: Service
apiVersion: v1
spec: {}
...
`;

test('what is not ours stays where and as it was: comments, blanks, quotes, order, other documents', () => {
  const { text } = injected(STREAM);
  const lines = text.split('\n');
  let from = 0;
  const kept = STREAM.split('\n').every((line) => {
    // What held nothing holds something now.
    const wanted = line.replace('volumes: []', 'volumes:');
    from = lines.indexOf(wanted, from) + 1;
    return from > 0;
  });
  assert.ok(kept, text);
  const documents = (of: string) => of.split(/^---/m);
  for (const index of [0, 2, 3]) assert.equal(documents(text)[index], documents(STREAM)[index]);
});

test('ours is written as the document writes', () => {
  const { text } = injected(STREAM);
  assert.match(text, /\n {12}initContainers:\n {12}- name: cambist\n {14}image:/);
  assert.match(text, /\n {12}volumes: {3}# none yet\n {12}- name: cambist-config\n/);
  const indented = injected('kind: Pod\napiVersion: v1\nspec:\n  containers:\n    - name: a\n').text;
  assert.match(indented, /\n {2}initContainers:\n {4}- name: cambist\n/);
});

test('a comment above the first init container stays above it', () => {
  assert.match(injected(STREAM).text, / # loads the model\n {12}- name: loader/);
});

test('uninjected, the text is the same to the byte', () => {
  const cases = [
    STREAM,
    STREAM.trimEnd(),
    STREAM.replaceAll('\n', '\r\n'),
    'kind: Pod\napiVersion: v1\nspec: {containers: [{name: a}], volumes: []}\n',
    '{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a"}]}, "n": 12345678901234567890}',
    `${JSON.stringify({ apiVersion: 'v1', kind: 'Pod', spec: { containers: [{ name: 'a' }] } }, null, 4)}\n`,
    '--- {apiVersion: v1, kind: Pod, spec: {containers: [{name: a}]}}\n',
    '%YAML 1.1\n---\nkind: Pod\napiVersion: v1\nspec:\n  containers:\n  - name: a\n    args:\n    - |\n      text\n\n      more\n',
  ];
  for (const text of cases) assert.equal(uninjected(injected(text).text).text, text);
});

test('pretty JSON stays pretty JSON', () => {
  const pod = { apiVersion: 'v1', kind: 'Pod', spec: { containers: [{ name: 'a' }] } };
  const { text } = injected(JSON.stringify(pod, null, 2));
  assert.equal(JSON.stringify(JSON.parse(text), null, 2), text);
  assert.equal(JSON.parse(text).spec.initContainers[0].name, 'cambist');
});

test('each pod of a List is changed where it stands', () => {
  const list = `apiVersion: v1
items:
- apiVersion: v1   # one
  kind: Pod
  metadata: {name: one}
  spec:
    containers:
    - name: a
- apiVersion: v1
  kind: Service
  metadata: {name: two}
kind: List
`;
  const { text, notes } = injected(list);
  assert.deepEqual(
    notes.map(({ object, outcome }) => `${object} ${outcome}`),
    ['pod/one injected', 'service/two skipped'],
  );
  assert.equal(parse(text).items[0].spec.initContainers[0].name, 'cambist');
  assert.equal(uninjected(text).text, list);
});

test('what an alias or a merge key brings is not changed behind the back of what else it serves', () => {
  const shared = `apiVersion: apps/v1
kind: Deployment
metadata:
  labels: &labels {app: a}
spec:
  template:
    metadata:
      labels: *labels
    spec:
      containers:
      - name: a
`;
  assert.equal(uninjected(injected(shared).text).text, shared);
  const inWay = `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  spec: &spec
    containers:
    - name: a
- apiVersion: v1
  kind: Pod
  spec: *spec
`;
  assert.throws(() => injected(inWay), /^Error: f\.yaml:1: this document cannot be changed where it stands/);
});

test('texts that YAML 1.1 takes for something else are quoted', () => {
  const { text } = changeStream('a: b\n', 'f', () => ({
    manifest: { a: 'b', c: ['yes', '2026-01-01', '0o7', '1_0', '~'] },
    notes: [],
  }));
  assert.deepEqual(parse(text, { version: '1.1' }).c, ['yes', '2026-01-01', '0o7', '1_0', '~']);
});

test('a text that is no YAML is refused with file, line and column', () => {
  const wrong = `${STREAM}---\nkind: Pod\n  x: [\n`;
  const line = STREAM.split('\n').length + 1;
  assert.throws(
    () => injected(wrong),
    (error: Error) => error instanceof ManifestError && error.message.startsWith(`f.yaml:${line}:`),
  );
  assert.throws(() => injected('a: 1\na: 2\n'), /^Error: f\.yaml:2:1: Map keys must be unique$/);
  assert.throws(() => injected('a: *nowhere\n'), /f\.yaml:1:/);
});

test('joined, the documents are the text', () => {
  for (const text of ['', '---', '---\n---\n', 'a\n--- b\n---c\n', STREAM, '%YAML 1.1\n---\na\n---\nb']) {
    assert.equal(splitDocuments(text).join(''), text);
  }
  assert.equal(splitDocuments(STREAM).length, 4);
  assert.equal(splitDocuments('%YAML 1.1\n---\na\n---\nb').length, 2);
});
