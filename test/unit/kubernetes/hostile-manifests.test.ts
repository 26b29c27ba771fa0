import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startOfComments } from '../../../src/kubernetes/collection-items.ts';
import { ManifestError } from '../../../src/kubernetes/manifest-stream.ts';
import { POD } from '../../../src/kubernetes/pod-layout.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { inject, injectText, pod, request, restoreText } from './samples.ts';

const injected = (text: string): string => injectText(text, request()).text;

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

const CHANGES: readonly (readonly [from: string, to: string])[] = [
  // An octal number for kubectl.
  ['runAsUser: 1000', 'runAsUser: 01000'],
  ['value: "yes"', 'value: yes'],
  ['value: "1_000"', 'value: 1_000'],
  // Only Go reads them as numbers.
  ['value: "0X1F"', 'value: 0X1F'],
  ["value: '0o1_7'", 'value: 0o1_7'],
  ['value: "0b1"', 'value: 0b1'],
  ['value: 0X1F', 'value: "0X1F"'],
  // For kubectl a line break, after which the comment is content.
  ['value: "a"', 'value: "a" # \u2028  hostNetwork: true'],
  ['value: "a"', 'value: "a" # \r  hostNetwork: true'],
  // kubectl refuses the character, even in a comment.
  ['value: "a"', 'value: "a" # \u0007'],
  ['value: "a"', 'value: "a" # \uD800'],
  ['number: 12345678901234567890', 'number: 12345678901234567891'],
];

for (const [from, to] of CHANGES) {
  test(`a correction does not turn ${from} into ${JSON.stringify(to)}`, () => {
    const given = `kind: Pod\napiVersion: v1\nspec:\n  volumes: [ ]\n  ${from}\n  containers:\n  - name: a\n`;
    const text = injected(given);
    const offset = given.replace('[ ]', '[]').indexOf(from);
    const forged = text.replace(/"corrections":\[\[.*?\]\]/, () => {
      return `"corrections":[[${offset},${from.length},${JSON.stringify(to).replace('\u2028', '\\u2028')}]]`;
    });
    assert.notEqual(forged, text);
    assert.equal(restoreText(forged), given.replace('[ ]', '[]'));
  });
}

test('a correction does not join a document with the previous one', () => {
  const given = 'metadata: {}\n---\nkind: Pod\napiVersion: v1\nspec:\n  volumes: [ ]\n  containers:\n  - name: a\n';
  const text = injected(given);
  const forged = text.replace(/"corrections":\[\[.*?\]\]/, '"corrections":[[0,4,""]]');
  assert.notEqual(forged, text);
  assert.equal(restoreText(forged), given.replace('[ ]', '[]'));
});

const shared = (uses: number): string =>
  `kind: Pod\napiVersion: v1\nspec:\n  volumes: [ ]\n  containers:\n  - name: a\n    args: [&a x${', *a'.repeat(uses)}]\n`;

test('injects a pod with many aliases, and restores every byte', () => {
  assert.equal(restoreText(injected(shared(300))), shared(300));
});

test('refuses a pod whose alias leads to what uninject removes', () => {
  const text = injected('kind: Pod\napiVersion: v1\nspec:\n  containers:\n  - name: a\n');
  const aliased = `${text.replace('name: cambist-config', 'name: &own cambist-config')}  hostname: *own\n`;
  assert.notEqual(aliased, `${text}  hostname: *own\n`);
  assert.throws(() => restoreText(aliased), ManifestError);
});

test('a correction adds no alias that is unknown or expands to too much', () => {
  const given = shared(1);
  const text = injected(given);
  for (const added of [', *b', ', *a'.repeat(2000)]) {
    const offset = given.replace('[ ]', '[]').lastIndexOf(']');
    const forged = text.replace(/"corrections":\[\[.*?\]\]/, `"corrections":[[${offset},0,"${added}"]]`);
    assert.notEqual(forged, text);
    assert.equal(restoreText(forged), given.replace('[ ]', '[]'));
  }
});

// Work that grows with the square of the spaces takes minutes here and exceeds the time limit of a test file.
test('work on a line grows in proportion to its indentation', () => {
  const text = `# a\n${' '.repeat(1_000_000)}key:\n  # b\n \n- item\n`;
  assert.equal(startOfComments(text, text.indexOf('- item')), text.indexOf('  # b'));
});
