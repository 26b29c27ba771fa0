import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse, stringify } from 'yaml';
import { ManifestError } from '../../../src/kubernetes/manifest-stream.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { changeManifest } from '../../../src/kubernetes/workloads.ts';
import { changeStream } from './change-stream.ts';
import { request } from './samples.ts';

const injected = (text: string, flags = {}) =>
  changeStream(text, 'f.yaml', (manifest) =>
    changeManifest(manifest, (template) => injectPod(template, request({ flags: { ...request().flags, ...flags } }))),
  );
const uninjected = (text: string) => changeStream(text, 'f.yaml', (manifest) => changeManifest(manifest, uninjectPod));

const UNTOUCHED = `# a ConfigMap
apiVersion: v1
kind: ConfigMap
metadata: {name:   x}   # odd   white space
data:
   a:   "b"
   c: |
     --- not a document
`;

const DEPLOYMENT = `# the agent
apiVersion: apps/v1
kind: Deployment
metadata:
  name: agent # its name
# the workload
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata:
      labels: { app: agent }
    spec:
      # models are loaded first
      initContainers:
      # loads the model
      - name: loader
        image: 'loader:1'

      containers:
      - name: agent
        image: "agent:1"
        args: [ "--mode", 0644, 1e3, 0x1F, yes, 2026-01-01, 12345678901234567890 ]
        # the end of the agent
`;

const STREAM = `${UNTOUCHED}---
${DEPLOYMENT}---
# an empty document
---
kind: Service
apiVersion: v1
spec: {}
...
`;

test('keeps comments, quotes, numbers and the order of keys, and every byte of a document that does not change', () => {
  const { text } = injected(STREAM);
  const lines = text.split('\n');
  let position = 0;
  for (const line of STREAM.split('\n')) {
    const found = lines.indexOf(line, position);
    assert.notEqual(found, -1, `${line}\nis missing after line ${position} of\n${text}`);
    position = found + 1;
  }
  const documents = (of: string) => of.split(/^---\n/m);
  for (const index of [0, 2, 3]) assert.equal(documents(text)[index], documents(STREAM)[index]);
});

test('indents lists as the document does', () => {
  assert.match(injected(STREAM).text, /\n {6}volumes:\n {6}- name: cambist-config\n {8}configMap:\n/);
  const indented = injected('kind: Pod\napiVersion: v1\nspec:\n    containers:\n        - name: a\n').text;
  assert.match(indented, /\n {4}initContainers:\n {8}- name: cambist\n/);
});

test('keeps a comment above the first init container', () => {
  assert.match(injected(STREAM).text, /- name: cambist\n[^#]* {6}# loads the model\n {6}- name: loader/);
});

test('writes a text whose first line is blank, and whose second is indented', () => {
  for (const value of ['\n -a', ' \n -a', '\n  a\n b']) {
    const { text } = changeStream('a: b\n', 'f', () => ({ manifest: { a: 'b', c: value }, notes: [] }));
    assert.deepEqual(parse(text), { a: 'b', c: value });
  }
});

test('keeps the comments of init containers that an interception changes', () => {
  const { text } = injected(STREAM, { intercept: 'packets', 'redirect-image': 'r:1' });
  assert.match(
    text,
    /- name: cambist-redirect\n[^#]*- name: cambist\n[^#]* {6}# loads the model\n {6}- name: loader\n/,
  );
  assert.match(text, /# loads the model\n {6}- name: loader\n {8}image: 'loader:1'\n {8}env:\n/);
});

for (const intercept of ['proxy', 'names', 'packets']) {
  test(`${intercept}: uninject restores every byte of a document that has comments`, () => {
    const flags = { intercept, 'intercept-hosts': 'mcp.example.com', 'redirect-image': 'r:1' };
    // `inject` writes no blank line at the end of an indented list, and removes white space at the end of a line.
    const given = STREAM.replace("image: 'loader:1'\n\n", "image: 'loader:1'\n");
    assert.equal(uninjected(injected(given, flags).text).text, given);
  });
}

test('keeps the comment of an empty list that becomes a block, and restores both', () => {
  const given = 'apiVersion: v1\nkind: Pod\nspec:\n  volumes: [] # none yet\n  containers:\n    - name: a\n';
  const { text } = injected(given);
  assert.match(text, /\n {2}volumes:\n {4}# none yet\n {4}- name: cambist-config\n/);
  assert.equal(uninjected(text).text, given);
});

const RESTORED: Readonly<Record<string, string>> = {
  'a stream': STREAM,
  'a document without a final line break': DEPLOYMENT.trimEnd(),
  'lines that end in CRLF': DEPLOYMENT.replaceAll('\n', '\r\n'),
  'a flow collection': 'kind: Pod\napiVersion: v1\nspec: {containers: [{name: a}], volumes: []}\n',
  JSON: '{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a"}]}}',
  'pretty JSON': `${JSON.stringify({ apiVersion: 'v1', kind: 'Pod', spec: { containers: [{ name: 'a' }] } }, null, 4)}\n`,
  'a directive and a block scalar':
    '%YAML 1.1\n---\nkind: Pod\napiVersion: v1\nspec:\n  containers:\n  - name: a\n    args:\n    - |\n      text\n\n      more\n',
};

for (const [what, text] of Object.entries(RESTORED)) {
  for (const sidecar of ['native', 'classic']) {
    test(`restores ${what} to the byte after a ${sidecar} sidecar was injected`, () => {
      const { text: changed } = injected(text, { sidecar });
      assert.notEqual(changed, text);
      assert.equal(uninjected(changed).text, text);
    });
  }
}

test('normalizes the white space of a document that changes, and nothing else', () => {
  const odd = 'kind:   Pod\napiVersion: v1\n\n\nspec:\n   containers:\n     - {name:   a, args: ["x",  "y"]}   # one\n';
  const even = 'kind: Pod\napiVersion: v1\n\nspec:\n   containers:\n      - {name: a, args: ["x", "y"]} # one\n';
  assert.equal(uninjected(injected(odd).text).text, even);
});

test('keeps JSON as JSON, with its indentation', () => {
  const pod = { apiVersion: 'v1', kind: 'Pod', spec: { containers: [{ name: 'a' }] } };
  const { text } = injected(JSON.stringify(pod, null, 2));
  assert.equal(JSON.stringify(JSON.parse(text), null, 2), text);
  assert.equal(JSON.parse(text).spec.initContainers[0].name, 'cambist');
});

test('keeps a number in JSON that JavaScript would round', () => {
  const { text } = injected(
    '{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a"}]}, "n": 12345678901234567890}',
  );
  assert.match(text, /"n": 12345678901234567890/);
});

test('changes each pod of a List in place', () => {
  const list = `apiVersion: v1
items:
- apiVersion: v1 # one
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

// Work that grows with the square of the pods takes minutes here and exceeds the time limit of a test file.
test('work on a List grows in proportion to its pods', () => {
  const items = Array.from({ length: 300 }, (_, index) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `p${index}` },
    spec: { containers: [{ name: 'a', image: 'i' }] },
  }));
  const list = stringify({ apiVersion: 'v1', kind: 'List', items }, { aliasDuplicateObjects: false });
  const { text, notes } = injected(list);
  assert.equal(notes.length, 300);
  assert.equal(uninjected(text).text, list);
});

test('refuses to change a value that an alias or a merge key shares with another one', () => {
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
  assert.throws(
    () => injected(inWay),
    /^Error: f\.yaml:1: this document cannot be changed: replace its aliases and merge keys by copies$/,
  );
});

test('quotes a string that YAML 1.1 reads as another type', () => {
  const values = ['yes', '2026-01-01', '0o7', '1_0', '~'];
  const { text } = changeStream('a: b\n', 'f', () => ({ manifest: { a: 'b', c: values }, notes: [] }));
  assert.deepEqual(parse(text, { version: '1.1' }).c, values);
});

test('refuses invalid YAML with file, line and column', () => {
  const wrong = `${STREAM}---\nkind: Pod\n  x: [\n`;
  const line = STREAM.split('\n').length + 1;
  assert.throws(
    () => injected(wrong),
    (error: Error) => error instanceof ManifestError && error.message.startsWith(`f.yaml:${line}:`),
  );
  assert.throws(() => injected('a: 1\na: 2\n'), /^Error: f\.yaml:2:1: Map keys must be unique$/);
  assert.throws(() => injected('a: *nowhere\n'), /^Error: f\.yaml:1: an alias/);
});
