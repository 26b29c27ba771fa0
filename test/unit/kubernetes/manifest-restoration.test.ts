import assert from 'node:assert/strict';
import { test } from 'node:test';
import { injected, STREAM } from './manifest-samples.ts';
import { assertSameManifests, restoreText } from './samples.ts';

/** Values whose form uninject does not restore, but their content. */
const OTHER_FORMS: Readonly<Record<string, string>> = {
  'an empty list with a space': 'spec:\n  volumes: [ ]\n  containers:\n  - name: a\n',
  'a null without a word': 'spec:\n  volumes:\n  containers:\n  - name: a\n',
  'a null as a tilde': 'metadata: ~ # none\nspec:\n  containers:\n  - name: a\n',
  'a hexadecimal grace period': 'spec:\n  terminationGracePeriodSeconds: 0x10\n  containers:\n  - name: a\n',
  'a block scalar with options of Java':
    'spec:\n  containers:\n  - name: a\n    env:\n    - name: JAVA_TOOL_OPTIONS\n      value: >-\n        -Xmx1g\n        -Da=b\n',
};

const commentsOf = (text: string) => text.match(/#.*/g);

for (const intercept of ['proxy', 'names', 'packets']) {
  test(`${intercept}: uninject restores the content and the comments of a document`, () => {
    const flags = { intercept, 'intercept-hosts': 'mcp.example.com', 'redirect-image': 'r:1' };
    const restored = restoreText(injected(STREAM, flags).text);
    assertSameManifests(restored, STREAM);
    assert.deepEqual(commentsOf(restored), commentsOf(STREAM));
  });
}

test('keeps the comment of an empty list that becomes a block', () => {
  const given = 'apiVersion: v1\nkind: Pod\nspec:\n  volumes: [] # none yet\n  containers:\n    - name: a\n';
  const { text } = injected(given);
  assert.match(text, /\n {2}volumes:\s+# none yet\n {4}- name: cambist-config\n/);
  assertSameManifests(restoreText(text), given);
});

for (const [what, rest] of Object.entries(OTHER_FORMS)) {
  test(`restores ${what}`, () => {
    const given = `kind: Pod\napiVersion: v1\n${rest}`;
    const { text } = injected(given, { intercept: 'proxy' });
    assertSameManifests(restoreText(text), given);
    assertSameManifests(restoreText(injected(text, { intercept: 'proxy', sidecar: 'classic' }).text), given);
  });
}
