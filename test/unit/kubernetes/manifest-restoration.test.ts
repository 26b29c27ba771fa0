import assert from 'node:assert/strict';
import { test } from 'node:test';
import { injected, STREAM } from './manifest-samples.ts';
import { restoreText } from './samples.ts';

/** Where the removal of the added lines leaves a difference, the annotation records it. */
const RECORDED: Readonly<Record<string, string>> = {
  'an empty list with a space': 'spec:\n  volumes: [ ]\n  containers:\n  - name: a\n',
  'a null without a word': 'spec:\n  volumes:\n  containers:\n  - name: a\n',
  'a null as a tilde': 'metadata: ~ # none\nspec:\n  containers:\n  - name: a\n',
  'a hexadecimal grace period': 'spec:\n  terminationGracePeriodSeconds: 0x10\n  containers:\n  - name: a\n',
  'a block scalar with options of Java':
    'spec:\n  containers:\n  - name: a\n    env:\n    - name: JAVA_TOOL_OPTIONS\n      value: >-\n        -Xmx1g\n        -Da=b\n',
};

for (const intercept of ['proxy', 'names', 'packets']) {
  test(`${intercept}: uninject restores every byte of a document that has comments`, () => {
    const flags = { intercept, 'intercept-hosts': 'mcp.example.com', 'redirect-image': 'r:1' };
    assert.equal(restoreText(injected(STREAM, flags).text), STREAM);
  });
}

test('keeps the comment of an empty list that becomes a block, and restores both', () => {
  const given = 'apiVersion: v1\nkind: Pod\nspec:\n  volumes: [] # none yet\n  containers:\n    - name: a\n';
  const { text } = injected(given);
  assert.match(text, /\n {2}volumes: # none yet\n {4}- name: cambist-config\n/);
  assert.equal(restoreText(text), given);
});

for (const [what, rest] of Object.entries(RECORDED)) {
  test(`records and restores ${what}`, () => {
    const given = `kind: Pod\napiVersion: v1\n${rest}`;
    const { text } = injected(given, { intercept: 'proxy' });
    assert.match(text, /"corrections\\?":\[\[/);
    assert.equal(restoreText(text), given);
    assert.equal(restoreText(injected(text, { intercept: 'proxy', sidecar: 'classic' }).text), given);
  });
}

test('a record in the annotation changes no content', () => {
  const given = 'kind: Pod\napiVersion: v1\nspec:\n  volumes: [ ]\n  containers:\n  - name: a\n';
  const { text } = injected(given);
  const forged = text.replace(/"corrections":\[\[.*?\]\]/, '"corrections":[[0,0,"metadata: {name: other}\\n"]]');
  assert.notEqual(forged, text);
  assert.equal(restoreText(forged), given.replace('[ ]', '[]'));
});

test('no other document of the stream gets into the annotation', () => {
  const secret = 'apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: { key:   "s3cret-value" }\n';
  const given = `${secret}---\nkind: Pod\napiVersion: v1\nspec:\n  volumes: [ ]\n  containers:\n  - name: a\n---\n${secret}`;
  const { text } = injected(given);
  assert.equal(text.split('s3cret-value').length, 3);
  assert.equal(restoreText(text), given);
});
