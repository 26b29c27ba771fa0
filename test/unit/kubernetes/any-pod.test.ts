import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseDocument, stringify } from 'yaml';
import { READING } from '../../../src/kubernetes/edit-document.ts';
import type { Json, JsonObject } from '../../../src/kubernetes/json.ts';
import { diffJson } from '../../../src/kubernetes/json-patch.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { POD } from '../../../src/kubernetes/pod-layout.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { changeManifest } from '../../../src/kubernetes/workloads.ts';
import { ANY_FLAGS, ANY_POD } from './any-pod.ts';
import { changeStream } from './change-stream.ts';
import { applyPatch, IMAGE, inject, request } from './samples.ts';

test('injecting twice has the result of injecting once', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, (pod, flags) => {
      const once = inject(pod, flags);
      assert.equal(once.outcome, 'injected', once.reasons.join());
      const twice = inject(once.template, flags);
      assert.equal(twice.outcome, 'unchanged');
      assert.deepEqual(twice.template, once.template);
    }),
  );
});

test('uninjecting restores the pod, also after it was injected again with other options', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, ANY_FLAGS, (pod, flags, others) => {
      const injected = inject(inject(pod, flags).template, others).template;
      assert.deepEqual(uninjectPod(injected, POD).template, pod);
    }),
  );
});

test('injecting again with other options has the result of injecting with them alone', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, ANY_FLAGS, (pod, flags, others) => {
      assert.deepEqual(inject(inject(pod, flags).template, others).template, inject(pod, others).template);
    }),
  );
});

test('the JSON Patch turns the pod into the injected pod', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, (pod, flags) => {
      const { template } = inject(pod, flags);
      const patch = diffJson(pod, template);
      assert.deepEqual(applyPatch(pod, patch), template);
      // An injection removes nothing from the pod.
      for (const { op, path } of patch) assert.ok(op !== 'remove', path);
    }),
  );
});

test('a JSON Patch turns any value into any other', () => {
  const value = fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<Json>;
  fc.assert(
    fc.property(value, value, (before, after) => {
      assert.deepEqual(applyPatch(before, diffJson(before, after)), after);
    }),
  );
});

const WRITING = fc.record({
  indent: fc.constantFrom(2, 4),
  indentSeq: fc.boolean(),
  collectionStyle: fc.constantFrom('any' as const, 'flow' as const),
  ending: fc.constantFrom('', '\n', '\n# end\n', '\n\n\n'),
  newline: fc.constantFrom('\n', '\r\n'),
});

function read(text: string): Json {
  return parseDocument(text, READING).toJS() as Json;
}

test('changes the text of a pod so that it contains the injected pod, and restores the content', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, WRITING, (pod, flags, { ending, newline, ...style }) => {
      const written = stringify(pod, { version: '1.1', schema: 'yaml-1.1', ...style }).trimEnd() + ending;
      const text = newline === '\n' ? written : written.replaceAll('\n', newline);
      const before = read(text) as JsonObject;
      const options = request({ flags: { image: IMAGE, ...flags } });
      const injected = changeStream(text, 'f', (manifest) =>
        changeManifest(manifest, (template) => injectPod(template, options)),
      );
      assert.deepEqual(read(injected.text), injectPod(before, options).template);
      const restored = changeStream(injected.text, 'f', (manifest) => changeManifest(manifest, uninjectPod));
      assert.deepEqual(read(restored.text), before);
    }),
    { numRuns: 100 },
  );
});

test('refuses a text or returns it unchanged, and throws no other error', () => {
  const line = fc.constantFrom(
    '---',
    '...',
    '%YAML 1.1',
    'kind: Pod',
    'apiVersion: v1',
    'spec:',
    '  containers:',
    '  - name: a',
    '&a *a',
    '? x',
    '\t',
    '# c',
    '{',
    '<<: *a',
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(line, { maxLength: 8 }).map((lines) => lines.join('\n')),
  );
  fc.assert(
    fc.property(text, (given) => {
      const unchanged = (manifest: Json) => ({ manifest, notes: [] });
      try {
        assert.equal(changeStream(given, 'f', unchanged).text, given);
      } catch (error) {
        assert.equal((error as Error).constructor.name, 'ManifestError', String(error));
      }
    }),
  );
});
