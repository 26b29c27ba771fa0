import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAllDocuments, parseDocument, stringify } from 'yaml';
import { diffJson, type PatchOperation, reviewAdmission } from '../../../src/kubernetes/admission.ts';
import { READING } from '../../../src/kubernetes/edit-document.ts';
import { getIn, type Json, type JsonObject, sameJson, setIn } from '../../../src/kubernetes/json.ts';
import { readStream } from '../../../src/kubernetes/manifest-stream.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { POD } from '../../../src/kubernetes/pod-layout.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { propertyRuns } from '../../harness/property-runs.ts';
import { ANY_FLAGS, ANY_POD } from './any-pod.ts';
import {
  applyPatch,
  assertSameManifests,
  IMAGE,
  inject,
  injectText,
  request,
  restoreText,
  reviewOf,
} from './samples.ts';

test('an injection with other options has the result of injecting with them alone, and uninject restores the pod', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, ANY_FLAGS, (pod, flags, others) => {
      const given = structuredClone(pod);
      const once = inject(pod, flags);
      assert.equal(once.outcome, 'injected', once.reasons.join());
      const { template } = inject(once.template, others);
      assert.deepEqual(template, inject(pod, others).template);
      const { outcome, template: same } = inject(template, others);
      assert.deepEqual([outcome, same], ['unchanged', template]);
      assert.deepEqual(uninjectPod(template, POD).template, given);
      assert.deepEqual(pod, given, 'an injection does not change the template that it gets');
    }),
  );
});

test('the patch of a review turns the pod into the injected pod, and removes nothing from it', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, (given, flags) => {
      const pod = setIn(given, ['metadata', 'labels', 'cambist.dev/inject'], 'enabled');
      const options = request({ optIn: true, update: false, flags: { image: IMAGE, ...flags } });
      const { review } = reviewAdmission(reviewOf(pod), (object) => injectPod(object, options));
      assert.equal(getIn(review, ['response', 'patchType']), 'JSONPatch');
      const text = Buffer.from(String(getIn(review, ['response', 'patch'])), 'base64').toString();
      const patch: PatchOperation[] = JSON.parse(text);
      assert.deepEqual(applyPatch(pod, patch), injectPod(pod, options).template);
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
  indent: fc.constantFrom(2, 3, 4),
  indentSeq: fc.boolean(),
  collectionStyle: fc.constantFrom('any' as const, 'any' as const, 'flow' as const),
  flowCollectionPadding: fc.boolean(),
  defaultStringType: fc.constantFrom('PLAIN' as const, 'QUOTE_DOUBLE' as const, 'QUOTE_SINGLE' as const),
  nullStr: fc.constantFrom('null', '~', ''),
});

/** The text around a document, and its line breaks. */
const SURROUNDINGS = fc.record({
  ending: fc.constantFrom('', '\n', '\n# end\n', '\n# end', '\n\n\n', '\n...\n', '\n---\n# empty\n'),
  beginning: fc.constantFrom(
    ...['', '---\n', '# first\n', '\uFEFF', '%YAML 1.1\n--- # one\n', '---\n---\n', 'kind: A\n---\n'],
  ),
  newline: fc.constantFrom('\n', '\n', '\r\n'),
});

/** Changes of the form of a line that often leave its content. */
const DECORATIONS: readonly ((line: string) => string)[] = [
  (line) => `${line}  `,
  (line) => `${line} # comment`,
  (line) => `\n${line}`,
  (line) => `${line}\n\n   `,
  (line) => `# margin\n${line}`,
  (line) => `            # deep\n${line}`,
  (line) => line.replace(/^( *)/, '$1# same\n$1'),
  (line) => line.replace(/: (?=\S)/, ':    '),
  (line) => line.replace(/: (?=\S)/, ':\t'),
  (line) => line.replace(/, (?=\S)/, ' ,\n            '),
  (line) => line.replace(/(?<=\[|\{)(?=.)/, '\n            # inside\n            '),
  (line) => line.replace(/^( *)- /, '$1-\n$1  '),
  (line) => line.replace(/: (?=\S)/, ': &anchor '),
  (line) => line.replace(/: (?=")/, ': !!str '),
  (line) => line.replace('[]', '[  ]').replace('{}', '{ }'),
];
const DECORATED = fc.array(fc.tuple(fc.nat(200), fc.nat(DECORATIONS.length - 1)), { maxLength: 6 });

/** Applies decorations, except those that change the content. */
function decorate(text: string, decorations: readonly (readonly [number, number])[]): string {
  const content = read(text);
  return decorations.reduce((current, [at, which]) => {
    const lines = current.split('\n');
    const index = at % lines.length;
    const next = lines.with(index, DECORATIONS[which]?.(lines[index] ?? '') ?? '').join('\n');
    const document = parseDocument(next, READING);
    return document.errors.length === 0 && sameJson(document.toJS() as Json, content) ? next : current;
  }, text);
}

function read(text: string): Json {
  return parseDocument(text, READING).toJS() as Json;
}

test('changes the text of a pod so that it contains the injected pod, and restores its content', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, ANY_FLAGS, WRITING, DECORATED, SURROUNDINGS, (...given) => {
      const [pod, flags, others, style, decorations, { beginning, ending, newline }] = given;
      const written = stringify(pod, { version: '1.1', schema: 'yaml-1.1', ...style }).trimEnd();
      // The lines at the end belong to a scalar that keeps them.
      const before = parseAllDocuments(written + ending, READING)[0]?.toJS() as JsonObject;
      const text = (beginning + decorate(written, decorations) + ending).replaceAll('\n', newline);
      const { text: injected, notes } = injectText(text, flags);
      const { template } = inject(before, flags);
      const documents = parseAllDocuments(injected, READING).map((document) => document.toJS() as Json);
      assert.ok(documents.some((document) => sameJson(document, template)));
      assert.ok(notes.every(({ outcome }) => outcome !== 'refused'));
      assertSameManifests(restoreText(injected), text);
      const again = injectText(injected, others).text;
      assertSameManifests(restoreText(again), text, 'after it was injected again with other options');
      const reformatted = stringify(template, { version: '1.1', aliasDuplicateObjects: false });
      assert.deepEqual(read(restoreText(reformatted)), before);
    }),
    // Longer runs found nothing more. A failure is not shrunk, because each try injects several times.
    { numRuns: propertyRuns(8), endOnFailure: true },
  );
});

test('refuses a text or returns it unchanged, and throws no other error', () => {
  const line = fc.constantFrom(
    ...['---', '...', '%YAML 1.1', 'kind: Pod', 'apiVersion: v1', 'spec:', '  containers:', '  - name: a'],
    ...['&a *a', '? x', '\t', '# c', '{', '<<: *a'],
  );
  const lines = fc.array(line, { maxLength: 8 }).map((list) => list.join('\n'));
  fc.assert(
    fc.property(fc.oneof(fc.string(), lines), (given) => {
      const unchanged = (manifest: Json) => ({ manifest, notes: [] });
      try {
        assert.equal(readStream(given, 'f').change(unchanged).text, given);
      } catch (error) {
        assert.equal((error as Error).constructor.name, 'ManifestError', String(error));
      }
    }),
  );
});
