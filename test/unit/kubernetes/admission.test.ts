import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NotAReview, reviewAdmission } from '../../../src/kubernetes/admission.ts';
import { getIn, type Json, type JsonObject, setIn } from '../../../src/kubernetes/json.ts';
import type { PatchOperation } from '../../../src/kubernetes/json-patch.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { ANY_FLAGS, ANY_POD } from './any-pod.ts';
import { applyPatch, IMAGE, pod, request } from './samples.ts';

const ENABLED = { labels: { 'cambist.dev/inject': 'enabled' } };

/** As the API server sends it. */
function review(object: Json, more: JsonObject = {}): JsonObject {
  const kind = { group: '', version: 'v1', kind: 'Pod' };
  const request = { uid: 'u-1', kind, operation: 'CREATE', namespace: 'agents', object, oldObject: null, ...more };
  return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request };
}

const injection = request({ optIn: true, update: false });
const answer = (body: Json) => reviewAdmission(body, (object) => injectPod(object, injection));

function patchOf(answered: JsonObject): PatchOperation[] {
  assert.equal(getIn(answered, ['response', 'patchType']), 'JSONPatch');
  return JSON.parse(Buffer.from(String(getIn(answered, ['response', 'patch'])), 'base64').toString());
}

test('a pod that opted in is allowed, with the uid that was sent and a patch that makes it injected', () => {
  const sent = pod({}, ENABLED);
  const { answer: answered, result } = answer(review(sent));
  assert.equal(result, 'injected');
  assert.equal(answered.apiVersion, 'admission.k8s.io/v1');
  assert.equal(answered.kind, 'AdmissionReview');
  assert.equal(getIn(answered, ['response', 'uid']), 'u-1');
  assert.equal(getIn(answered, ['response', 'allowed']), true);
  assert.deepEqual(applyPatch(sent, patchOf(answered)), injectPod(sent, injection).template);
});

test('whatever the API server sent, the patch applies to it, and makes what the function answers', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, (given, flags) => {
      const sent = setIn(given, ['metadata', 'labels', 'cambist.dev/inject'], 'enabled');
      const wanted = { ...injection, written: { image: IMAGE, ...flags } };
      const { answer: answered } = reviewAdmission(review(sent), (object) => injectPod(object, wanted));
      assert.deepEqual(applyPatch(sent, patchOf(answered)), injectPod(sent, wanted).template);
    }),
  );
});

test('what is not meant is allowed without a patch', () => {
  const injected = injectPod(pod({}, ENABLED), injection).template;
  const cases: Record<string, JsonObject> = {
    'not opted in': review(pod()),
    'opted out': review(pod({}, { labels: { 'cambist.dev/inject': 'disabled' } })),
    'injected already': review(injected),
    'no creation': review(pod({}, ENABLED), { operation: 'UPDATE' }),
    'a deletion, which has no object': review(null, { operation: 'DELETE' }),
    'a subresource': review(pod({}, ENABLED), { subResource: 'ephemeralcontainers' }),
    'another kind': review({}, { kind: { group: 'apps', version: 'v1', kind: 'Deployment' } }),
  };
  for (const [what, body] of Object.entries(cases)) {
    const { answer: answered } = answer(body);
    const { warnings: _, ...response } = answered.response as JsonObject;
    assert.deepEqual(response, { uid: 'u-1', allowed: true }, what);
  }
});

test('a pod that opted in and cannot be injected is refused, with the reason for whoever made it', () => {
  const taken = [{ name: 'cambist', image: 'x' }];
  const { answer: answered, result } = answer(review(pod({ containers: taken }, ENABLED)));
  assert.equal(result, 'refused');
  assert.deepEqual(answered.response, {
    uid: 'u-1',
    allowed: false,
    status: {
      code: 422,
      reason: 'Invalid',
      message: 'cambist cannot be injected: a container "cambist" is there that was not injected: take it away',
    },
  });
});

test('warnings are short, printable and few', () => {
  const containers = Array.from({ length: 20 }, (_, index) => ({
    name: `é\n${index}${'x'.repeat(300)}`,
    env: [{ name: 'HTTP_PROXY' }, { name: 'NO_PROXY' }],
  }));
  const annotations = { 'cambist.dev/proxy-env': 'enabled' };
  const { answer: answered } = answer(review(pod({ containers }, { ...ENABLED, annotations })));
  const warnings = getIn(answered, ['response', 'warnings']) as string[];
  assert.equal(warnings.length, 10);
  for (const warning of warnings) assert.match(warning, /^[\x20-\x7e]{1,256}$/);
});

test('what is no review is told so, whatever it is', () => {
  const valid = review(pod());
  const cases: Json[] = [
    null,
    [],
    'x',
    {},
    { ...valid, apiVersion: 'admission.k8s.io/v1beta1' },
    { ...valid, kind: 'Pod' },
  ];
  for (const body of [...cases, { ...valid, request: null }, review(pod(), { uid: '' }), review([]), review('x')]) {
    assert.throws(() => answer(body), NotAReview);
  }
  fc.assert(
    fc.property(fc.jsonValue(), (object) => {
      try {
        assert.equal(getIn(answer(review(object as Json)).answer, ['response', 'uid']), 'u-1');
      } catch (error) {
        assert.ok(error instanceof NotAReview, String(error));
      }
    }),
  );
});
