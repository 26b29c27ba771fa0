import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseDocument, stringify } from 'yaml';
import type { Json, JsonObject } from '../../../src/kubernetes/json.ts';
import { diffJson } from '../../../src/kubernetes/json-patch.ts';
import { changeStream } from '../../../src/kubernetes/manifest-stream.ts';
import { READING } from '../../../src/kubernetes/manifest-text.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { POD } from '../../../src/kubernetes/pod-layout.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { changeManifest } from '../../../src/kubernetes/workloads.ts';
import { ANY_FLAGS, ANY_POD } from './any-pod.ts';
import { applyPatch, IMAGE, inject, request } from './samples.ts';

test('injecting twice is injecting once', () => {
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

test('uninjecting gives back what was, whatever it was injected with in between', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, ANY_FLAGS, (pod, flags, others) => {
      const injected = inject(inject(pod, flags).template, others).template;
      assert.deepEqual(uninjectPod(injected, POD).template, pod);
    }),
  );
});

test('injecting with other options leaves the same as injecting with them at once', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, ANY_FLAGS, (pod, flags, others) => {
      assert.deepEqual(inject(inject(pod, flags).template, others).template, inject(pod, others).template);
    }),
  );
});

test('the JSON Patch applied to what was sent is what the function answers', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, (pod, flags) => {
      const { template } = inject(pod, flags);
      const patch = diffJson(pod, template);
      assert.deepEqual(applyPatch(pod, patch), template);
      // Nothing of the pod's own is in the way of a patch: only what is ours is added or replaced.
      for (const { op, path } of patch) assert.ok(op !== 'remove', path);
    }),
  );
});

test('a JSON Patch leads from any value to any other', () => {
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

test('however a pod is written, its text says after the injection what it should, and before it again after the reverse', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, WRITING, (pod, flags, { ending, newline, ...style }) => {
      const written = stringify(pod, { version: '1.1', schema: 'yaml-1.1', ...style }).trimEnd() + ending;
      const text = newline === '\n' ? written : written.replaceAll('\n', newline);
      const before = read(text) as JsonObject;
      const doInject = request({ written: { image: IMAGE, ...flags } });
      const injected = changeStream(text, 'f', (manifest) =>
        changeManifest(manifest, (template) => injectPod(template, doInject)),
      );
      assert.deepEqual(read(injected.text), injectPod(before, doInject).template);
      const restored = changeStream(injected.text, 'f', (manifest) => changeManifest(manifest, uninjectPod));
      assert.deepEqual(read(restored.text), before);
      // A null may have been written as one or left out; all else comes back to the byte.
      if (!JSON.stringify(pod).includes('null')) assert.equal(restored.text, text);
    }),
    { numRuns: 60 },
  );
});

test('any text at all is refused or comes out as it went in, and never breaks the program', () => {
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
