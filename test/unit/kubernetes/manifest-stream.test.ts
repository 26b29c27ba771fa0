import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pair, parse, stringify, YAMLMap, YAMLSeq } from 'yaml';
import { getIn, type Json } from '../../../src/kubernetes/json.ts';
import { joinStreams, ManifestError, readStream } from '../../../src/kubernetes/manifest-stream.ts';
import { assertSameManifests, injectText, restoreText, STREAM } from './samples.ts';

const changed = (text: string, manifest: Json) => readStream(text, 'f').change(() => ({ manifest, notes: [] })).text;

test('keeps comments, quotes, numbers and the order of keys, and every byte of a document that does not change', () => {
  const { text } = injectText(STREAM);
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

test('indents lists and ends lines as the document does', () => {
  assert.doesNotMatch(injectText(STREAM.replaceAll('\n', '\r\n')).text, /[^\r]\n/);
  assert.match(injectText(STREAM).text, /\n {6}volumes:\n {6}- name: cambist-config\n {8}configMap:\n/);
  const indented = injectText('kind: Pod\napiVersion: v1\nspec:\n    containers:\n        - name: a\n').text;
  assert.match(indented, /\n {4}initContainers:\n {8}- name: cambist\n/);
});

test('writes a text whose first line is blank, and whose second is indented', () => {
  for (const value of ['\n -a', ' \n -a', '\n  a\n b']) {
    assert.deepEqual(parse(changed('a: b\n', { a: 'b', c: value })), { a: 'b', c: value });
  }
});

test('keeps the comments of init containers that an interception changes', () => {
  const { text } = injectText(STREAM, { intercept: 'packets', 'redirect-image': 'r:1' });
  assert.match(
    text,
    /- name: cambist-redirect\n[^#]*- name: cambist\n[^#]* {6}# loads the model\n {6}- name: loader\n/,
  );
  assert.match(text, /# loads the model\n {6}- name: loader\n {8}image: 'loader:1'\n {8}env:\n/);
});

test('keeps JSON as JSON, and a number in it that JavaScript would round', () => {
  const pod = '{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a"}]}, "n": 12345678901234567890}';
  const { text } = injectText(pod);
  assert.equal(JSON.parse(text).spec.initContainers[0].name, 'cambist');
  assert.match(text, /"n": 12345678901234567890/);
  const { text: flow } = injectText('{apiVersion: v1, kind: Pod, spec: {containers: [{name: a}]}}');
  assert.match(flow, /^\{apiVersion: v1, kind: Pod, spec: \{containers: \[\{name: a\}\], /, 'a flow map is not JSON');
});

test('changes each pod of a List in place, with work in proportion to their number', (t) => {
  const counts = [
    ...[YAMLMap, YAMLSeq].flatMap(({ prototype }) => [
      t.mock.method(prototype, 'get'),
      t.mock.method(prototype, 'toJSON'),
    ]),
    t.mock.method(Pair.prototype, 'toString'),
  ];
  const stepsFor = (pods: number): number => {
    for (const { mock } of counts) mock.resetCalls();
    const items = Array.from({ length: pods }, (_, index) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `p${index}` },
      spec: { containers: [{ name: 'a', image: 'i' }] },
    }));
    const list = stringify({ apiVersion: 'v1', kind: 'List', items }, { aliasDuplicateObjects: false });
    const { text, notes } = injectText(list);
    assert.equal(notes.length, pods);
    for (const { spec } of parse(text).items) assert.equal(spec.initContainers[0].name, 'cambist');
    assertSameManifests(restoreText(text), list);
    return counts.reduce((sum, { mock }) => sum + mock.callCount(), 0);
  };
  const [once, twice] = [stepsFor(10), stepsFor(20)];
  assert.ok(twice < 2.5 * once, `${once} and ${twice} steps`);
});

test('quotes a string that YAML 1.1 reads as another type', () => {
  const values = ['yes', '2026-01-01', '0o7', '1_0', '~'];
  assert.deepEqual(parse(changed('a: b\n', { a: 'b', c: values }), { version: '1.1' }).c, values);
});

// kubectl takes the text after such a character for content and not for a comment.
for (const [character, code] of [
  ['\u0085', '0085'],
  ['\u2028', '2028'],
  ['\u2029', '2029'],
  ['\r', '000D'],
] as const) {
  test(`refuses a line break that only kubectl knows: U+${code}`, () => {
    const problem = `kubectl ends the line at the character U+${code}: remove it, or write it as an escape in double quotes`;
    const text = `a: b\r\nc: d # ${character}spec: {}\r\n`;
    assert.throws(() => injectText(text), new ManifestError(`f.yaml:2: ${problem}`));
    const raw = JSON.stringify({ kind: 'Pod', apiVersion: 'v1', spec: { volumes: [], hostname: character } });
    const json = raw.replace(character, `\\u${code}`);
    const streams = [json, `\uFEFF${json}`, `${json}\n---\n${json}\n`, `a: b\n---\n${json}\n--- # c\n${json}`];
    for (const stream of streams) {
      const { text: written, notes } = injectText(stream);
      assert.ok(notes.some(({ outcome }) => outcome === 'injected'));
      assertSameManifests(restoreText(written), stream);
    }
    if (raw !== json) assert.throws(() => injectText(raw), new ManifestError(`f.yaml:1: ${problem}`));
    assert.throws(() => injectText(`${json} # ${character}x\n`), new ManifestError(`f.yaml:1: ${problem}`));
    assert.throws(() => injectText(`${json}\n---\n${text}`), new ManifestError(`f.yaml:4: ${problem}`));
  });
}

for (const text of [
  '# c\n\uFEFFkind: Pod\n',
  '---\n\uFEFFkind: Pod\n',
  '# c\n\uFEFF---\nkind: Pod\n',
  'a: b\n\uFEFFkind: Pod\n',
]) {
  test(`refuses a byte order mark that only some readers ignore: ${JSON.stringify(text)}`, () => {
    const problem = 'readers of YAML differ on the byte order mark (U+FEFF) at the start of this line: remove it';
    assert.throws(() => readStream(text, 'f.yaml'), new ManifestError(`f.yaml:2: ${problem}`));
  });
}

test('accepts a byte order mark at the start of a stream and inside a line', () => {
  const text = '\uFEFFkind: Pod # \uFEFF\nname: "\uFEFF"\n';
  assert.deepEqual(readStream(text, 'f').manifests, [{ kind: 'Pod', name: '\uFEFF' }]);
});

test('refuses invalid YAML with file, line and column', () => {
  const wrong = `${STREAM}---\nkind: Pod\n  x: [\n`;
  const line = STREAM.split('\n').length + 1;
  assert.throws(
    () => injectText(wrong),
    (error: Error) => error instanceof ManifestError && error.message.startsWith(`f.yaml:${line}:`),
  );
  assert.throws(() => injectText('a: 1\na: 2\n'), /^Error: f\.yaml:2:1: Map keys must be unique$/);
  assert.throws(() => injectText('a: *nowhere\n'), /^Error: f\.yaml:1: an alias/);
});

const CONFIG_MAP = 'kind: ConfigMap\nmetadata: {name: c}\n';

function withoutConfigMaps(text: string): string {
  const keep = (manifest: Json) => (getIn(manifest, ['kind']) === 'ConfigMap' ? undefined : manifest);
  return readStream(text, 'f').change((manifest) => ({ manifest: keep(manifest), notes: [] })).text;
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
