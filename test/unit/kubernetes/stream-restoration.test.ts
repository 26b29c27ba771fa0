import assert from 'node:assert/strict';
import { test } from 'node:test';
import { joinStreams, ManifestError } from '../../../src/kubernetes/manifest-stream.ts';
import type { RawOptions } from '../../../src/kubernetes/options.ts';
import { assertSameManifests, DEPLOYMENT, injectText as inject, restoreText, STREAM } from './samples.ts';

const HEAD = 'apiVersion: v1\nkind: Pod\n';
const HOSTS = { 'intercept-hosts': 'mcp.example.com', 'redirect-image': 'r:1' };
const WAYS: readonly RawOptions[] = [
  {},
  { sidecar: 'classic', intercept: 'names', ...HOSTS },
  { intercept: 'proxy', ...HOSTS },
  { intercept: 'packets', ...HOSTS },
];

const JAVA = `\n      env:\n      - name: JAVA_TOOL_OPTIONS\n        value: `;

const containers = (count: number, rest: string): string =>
  Array.from({ length: count }, (_, index) => `  - name: c${index}\n${rest}`).join('');

const FORMS: Readonly<Record<string, string>> = {
  'flow maps with keys alone':
    '{apiVersion: v1, kind: Pod, metadata: {annotations}, spec: {volumes , containers: [{name: x,env},], terminationGracePeriodSeconds},}\n',
  'explicit keys in flow style':
    '{apiVersion: v1, kind: Pod, ? metadata, ? spec : { ? volumes : , ? containers : [ { ? name : x, ? env } ] } }\n',
  'comments and line breaks in flow style':
    'apiVersion: v1\nkind: Pod\nspec: { # a\n    volumes: # b\n    , # c\n    containers: # d\n    [ # e\n     { # f\n name: x # g\n , env: # h\n } # i\n , # j\n ] # k\n } # l\n',
  'pairs without braces': `${HEAD}spec:\n  containers: [name: x, ? name : y]\n  initContainers: [name: z]\n`,
  'nested explicit keys': `${HEAD}? spec\n: ? containers\n  : - ? name\n      : x\n      ? env\n      : - name: A\n          value: b\n  ? volumes\n  :\n    # c\n    []\n`,
  'anchors and tags': `${HEAD}metadata: &m\nspec: &s !!map\n  containers: &c !!seq\n  - &d !!map\n    name: &n x\n    env: !!seq [ ]\n  volumes: &v\n  initContainers: &i !own []\n`,
  'comments everywhere': `${HEAD}# a\nspec: # b\n  # c\n  volumes: # d\n    # e\n  # f\n  containers: # g\n    # h\n  # i\n  - # j\n    # k\n    name: x # l\n    # m\n    env: # n\n      # o\n    # p\n   # q\n # r\n# s\n`,
  'values on lines of their own': `${HEAD}metadata:\n  ~\nspec:\n  volumes:\n    null\n  containers:\n    [ { name: x,\n    env:\n    [ ] } ]\n`,
  'tabs between tokens': `${HEAD}spec:\t\n  containers: [\t{name:\tx\t,\tenv:\t}\t]\t# c\n  volumes:\t~\t\n`,
  'directives and document markers': `%YAML 1.1\n%TAG ! tag:example.com,2026:\n--- !!map # c\n${HEAD}spec: { volumes: , containers: [{ name: x, env: } ] }\n...\n# end\n%YAML 1.1\n---\n...\n`,
  'a document on the line of its marker':
    '--- {apiVersion: v1, kind: Pod, spec: { volumes: , containers: [{ name: x } ] }}\n--- # x\nkind: Service\n',
  'an empty value without a line break': `${HEAD}spec:\n  containers:\n  - {name: x, env: }\n  volumes: `,
  'a block scalar that ends in blanks': `${HEAD}spec:\n  containers:\n  - name: x\n    args:\n    - |+\n     abc\n     `,
  'a grace period that is null': `${HEAD}spec:\n  terminationGracePeriodSeconds: ~\n  containers:\n  - name: a\n`,
  'a grace period with a point':
    '{"apiVersion":"v1","kind":"Pod","spec":{"terminationGracePeriodSeconds":3.0e1,"containers":[{"name":"x"}]}}',
  'null in JSON':
    '{"apiVersion":"v1","kind":"Pod","spec":{"volumes":null,"containers":[{"name":"x","env":null,"volumeMounts":[ ]}]}}',
  'white space in JSON':
    '{\t"apiVersion" :\t"v1",\n\n"kind"\n:\n"Pod","spec":{"volumes":[\n\n],"containers":[\n\t{"name":"x","env":[]}\n]}}\n\n',
  'short options of Java in many literal lines': `${HEAD}spec:\n    containers:\n    - name: a${JAVA}|\n${'          -Xmx1g\n'.repeat(450)}`,
  'a List with many differences in each pod': `apiVersion: v1\nkind: List\nitems:\n${`- apiVersion: v1\n  kind: Pod\n  spec:\n    containers:\n    - name: a${JAVA}>-\n${'          -Doption=value\n'.repeat(100)}`.repeat(8)}`,
  'empty lists in 60 containers': `${HEAD}spec:\n  volumes: [ ]\n  containers:\n${containers(60, '    env: [ ]\n    volumeMounts: # none\n')}`,
  'an alias of what does not change':
    'apiVersion: apps/v1\nkind: Deployment\nmetadata: {labels: &labels {app: a}}\nspec: {template: {metadata: {labels: *labels}, spec: {containers: [{name: a}]}}}\n',
  'a List in flow style':
    'apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret, data: {a: b}}, {apiVersion: v1, kind: Pod, spec: {volumes, containers: [{name: a, env}]}}]\n',
  "kagent's Agent in flow style":
    'apiVersion: kagent.dev/v1alpha2\nkind: Agent\nspec: { type: BYO, byo: { deployment: { image: x, env: , volumes } } }\n',
  'workloads without a pod':
    'apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n---\napiVersion: kagent.dev/v1alpha2\nkind: Agent\nspec: { type: Declarative, declarative }\n',
  'a document that ends with an empty value':
    'kind: Pod\napiVersion: v1\nspec:\n  containers:\n  - name: a\n  nodeSelector:\n---\nkind: Service\n',
  'a byte order mark': '\uFEFFkind: Pod\napiVersion: v1\nspec:\n  containers:\n  - name: a\n',
  'a tab in a block scalar, and a long line': `kind: Pod\napiVersion: v1\nspec:\n  containers:\n  - args:\n    - |+\n      a\tb\n\n    - "${'long '.repeat(50)}"   \n    name: a\n`,
  'a stream': STREAM,
  'a document without a final line break': DEPLOYMENT.trimEnd(),
  'lines that end in CRLF': DEPLOYMENT.replaceAll('\n', '\r\n'),
  'a hexadecimal grace period': `${HEAD}spec:\n  terminationGracePeriodSeconds: 0x10\n  containers:\n  - name: a\n`,
};

for (const [what, text] of Object.entries(FORMS)) {
  test(`restores the content of ${what}`, () => {
    for (const flags of WAYS) {
      const { text: injected, notes } = inject(text, flags);
      const refused = notes.filter(({ outcome, object }) => outcome === 'refused' && object.startsWith('f.yaml'));
      assert.deepEqual(refused, []);
      assertSameManifests(restoreText(injected), text);
    }
  });
}

const UNCHANGEABLE: Readonly<Record<string, readonly [line: number, text: string]>> = {
  'an alias of what changes': [
    5,
    `${HEAD}metadata:\n  labels: &l {}\n  annotations: *l\nspec:\n  containers:\n  - name: x\n`,
  ],
  'an anchor of what changes, with the line of the document': [
    1,
    `${HEAD}spec:\n  containers:\n  - name: x\n    env:\n    - name: JAVA_TOOL_OPTIONS\n      value: &j -Xmx1g\n    - name: Y\n      value: *j\n`,
  ],
  'a merge key of what changes': [
    5,
    `${HEAD}x: &x {annotations: {a: b}}\nmetadata:\n  <<: *x\nspec:\n  containers:\n  - name: x\n`,
  ],
  'an octal number': [4, `${HEAD}spec:\n  terminationGracePeriodSeconds: 036\n  containers:\n  - name: a\n`],
  'an octal number after another document': [
    4,
    `kind: Service\n---\n${HEAD.replace('\n', ', ')}`
      .replace('apiVersion', '{apiVersion')
      .replace('Pod\n', `Pod, spec: {\n terminationGracePeriodSeconds: 0o36, containers: [name: a]}}\n`),
  ],
};

for (const [what, [line, text]] of Object.entries(UNCHANGEABLE)) {
  test(`refuses ${what} with its line`, () => {
    const message = `f.yaml:${line}: cannot change this value in place: replace aliases and merge keys with copies, and write numbers in decimal`;
    assert.throws(() => inject(text, { intercept: 'proxy', ...HOSTS }), new ManifestError(message));
  });
}

test('leaves a grace period that is not a number to the API server', () => {
  const text = `${HEAD}spec:\n  terminationGracePeriodSeconds: "30"\n  containers:\n  - name: a\n`;
  const { text: injected } = inject(text);
  assert.match(injected, /terminationGracePeriodSeconds: "30"/);
  assertSameManifests(restoreText(injected), text);
});

const EDITED = `# A\n${HEAD}spec:\n  # The agent of the support team.\n  volumes: [ ]\n  containers:\n  - name: a # b\n`;

test('restores files that inject joined', () => {
  assertSameManifests(restoreText(joinStreams(inject(EDITED).text, inject(EDITED).text)), joinStreams(EDITED, EDITED));
});

test('keeps an edit of the injected manifest', () => {
  const restored = restoreText(inject(EDITED).text.replace('# A', '# An edit').replace('name: a', 'name: b'));
  assert.equal(restored, EDITED.replace('# A', '# An edit').replace('name: a', 'name: b').replace('[ ]', '[]'));
});

const RECORDED: Readonly<Record<string, readonly [text: string, flags: RawOptions]>> = {
  'an empty list in a form of its own': [
    `${HEAD}spec:\n  containers:\n  - name: x\n    env: [ ]\n`,
    { intercept: 'proxy', ...HOSTS },
  ],
  'a map that is null': [`${HEAD}metadata:\n  annotations:\n  labels: {a: b}\nspec:\n  containers:\n  - name: x\n`, {}],
};

for (const [what, [given, flags]] of Object.entries(RECORDED)) {
  test(`injecting again changes no byte of a manifest with ${what}`, () => {
    const { text } = inject(given, flags);
    assert.match(text, /"empty":/);
    assert.equal(inject(text, flags).text, text);
  });
}

const commentsOf = (text: string) => text.match(/#.*/g);

test('restores the comments of a document', () => {
  for (const flags of WAYS) assert.deepEqual(commentsOf(restoreText(inject(STREAM, flags).text)), commentsOf(STREAM));
});

test('keeps the comment of an empty list that becomes a block', () => {
  const given = 'apiVersion: v1\nkind: Pod\nspec:\n  volumes: [] # none yet\n  containers:\n    - name: a\n';
  const { text } = inject(given);
  assert.match(text, /\n {2}volumes:\s+# none yet\n {4}- name: cambist-config\n/);
  assertSameManifests(restoreText(text), given);
});
