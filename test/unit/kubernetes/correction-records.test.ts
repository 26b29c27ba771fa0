import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { correctionsIn, recordCorrections } from '../../../src/kubernetes/correction-records.ts';
import type { Correction } from '../../../src/kubernetes/corrections.ts';
import type { Json } from '../../../src/kubernetes/json.ts';
import { STATUS_ANNOTATION } from '../../../src/kubernetes/status.ts';

const STATUS = '{"version":"0.1.0","port":8180,"adminPort":9180}';
const POD = `- {kind: Pod, apiVersion: v1, metadata: {annotations: {cambist.dev/status: '${STATUS}'}}}\n`;

const SECRETS: Readonly<Record<string, string>> = {
  'of a List': `kind: List\nitems:\n${POD}- {kind: Secret, data: s3cret}\n`,
  'of a nested List': `kind: List\nitems:\n${POD}- kind: List\n  items:\n  - {kind: Secret, data: s3cret}\n`,
  'without a kind, as in a SecretList': `kind: SecretList\nitems:\n${POD}- data: s3cret\n`,
  'in functionConfig': `kind: ResourceList\nfunctionConfig: {data: s3cret}\nitems:\n${POD}`,
  'in a comment after a pod': `kind: List\nitems:\n${POD}# s3cret\n`,
};

for (const [where, text] of Object.entries(SECRETS)) {
  test(`records no letter or digit of a Secret ${where}`, () => {
    const manifest = parse(text) as Json;
    const at = (added: string): Correction => [text.indexOf('s3cret'), added.length, added];
    assert.equal(recordCorrections(manifest, [at('s3cret')], { text, original: text }), undefined);
    const recorded = recordCorrections(manifest, [at('  ')], { text, original: text });
    assert.deepEqual(recorded && correctionsIn(recorded, text), [at('  ')]);
  });
}

test('records the text of a pod in its own annotation', () => {
  const text = `kind: List\nitems:\n${POD}${POD}`;
  const corrections: Correction[] = [text.indexOf('Pod'), text.lastIndexOf('Pod')].map((offset) => [offset, 3, 'Pod']);
  const recorded = recordCorrections(parse(text) as Json, corrections, { text, original: text });
  const [first, second] = (recorded as { items: { metadata: { annotations: Record<string, string> } }[] }).items;
  assert.deepEqual(
    [first, second].map((item) => JSON.parse(item?.metadata.annotations[STATUS_ANNOTATION] ?? '').corrections),
    corrections.map((one) => [one]),
  );
});
