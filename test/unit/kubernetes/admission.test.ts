import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { PatchOperation } from '../../../src/kubernetes/admission.ts';
import { InvalidReview, reviewAdmission } from '../../../src/kubernetes/admission.ts';
import { getIn, type Json, type JsonObject, setIn } from '../../../src/kubernetes/json.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { fuzz } from '../../fuzz/targets/admission-review.ts';
import { ANY_FLAGS, ANY_POD } from './any-pod.ts';
import { applyPatch, IMAGE, pod, request } from './samples.ts';

const ENABLED = { labels: { 'cambist.dev/inject': 'enabled' } };

function reviewOf(object: Json, more: JsonObject = {}): JsonObject {
  const kind = { group: '', version: 'v1', kind: 'Pod' };
  const request = { uid: 'u-1', kind, operation: 'CREATE', namespace: 'agents', object, oldObject: null, ...more };
  return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request };
}

const injection = request({ optIn: true, update: false });
const send = (body: Json) => reviewAdmission(body, (object) => injectPod(object, injection));

function patchOf(review: JsonObject): PatchOperation[] {
  assert.equal(getIn(review, ['response', 'patchType']), 'JSONPatch');
  return JSON.parse(Buffer.from(String(getIn(review, ['response', 'patch'])), 'base64').toString());
}

test('allows a pod that opted in, with the uid of the request and a patch that injects the pod', () => {
  const sent = pod({}, ENABLED);
  const { review, outcome } = send(reviewOf(sent));
  assert.equal(outcome, 'injected');
  assert.equal(review.apiVersion, 'admission.k8s.io/v1');
  assert.equal(review.kind, 'AdmissionReview');
  assert.equal(getIn(review, ['response', 'uid']), 'u-1');
  assert.equal(getIn(review, ['response', 'allowed']), true);
  assert.deepEqual(applyPatch(sent, patchOf(review)), injectPod(sent, injection).template);
});

test('the patch moves the agent of a pod with the annotation to another port', () => {
  const annotations = { 'cambist.dev/inbound': '8080' };
  const sent = pod({ containers: [{ name: 'agent', ports: [{ containerPort: 8080 }] }] }, { ...ENABLED, annotations });
  const { review } = send(reviewOf(sent));
  const patched = applyPatch(sent, patchOf(review));
  assert.deepEqual(getIn(patched, ['spec', 'containers', 0, 'env']), [{ name: 'PORT', value: '8081' }]);
});

test('the patch applies to any pod, and has the result of the injection', () => {
  fc.assert(
    fc.property(ANY_POD, ANY_FLAGS, (given, flags) => {
      const sent = setIn(given, ['metadata', 'labels', 'cambist.dev/inject'], 'enabled');
      const options = { ...injection, flags: { image: IMAGE, ...flags } };
      const { review } = reviewAdmission(reviewOf(sent), (object) => injectPod(object, options));
      assert.deepEqual(applyPatch(sent, patchOf(review)), injectPod(sent, options).template);
    }),
  );
});

test('allows every other request without a patch', () => {
  const injected = injectPod(pod({}, ENABLED), injection).template;
  const cases: Record<string, JsonObject> = {
    'not opted in': reviewOf(pod()),
    'opted out': reviewOf(pod({}, { labels: { 'cambist.dev/inject': 'disabled' } })),
    'already injected': reviewOf(injected),
    'an update': reviewOf(pod({}, ENABLED), { operation: 'UPDATE' }),
    'a deletion, which has no object': reviewOf(null, { operation: 'DELETE' }),
    'a subresource': reviewOf(pod({}, ENABLED), { subResource: 'ephemeralcontainers' }),
    'another kind': reviewOf({}, { kind: { group: 'apps', version: 'v1', kind: 'Deployment' } }),
  };
  for (const [what, body] of Object.entries(cases)) {
    const { warnings: _, ...response } = send(body).review.response as JsonObject;
    assert.deepEqual(response, { uid: 'u-1', allowed: true }, what);
  }
});

test('refuses a pod that opted in and cannot be injected, with the reason', () => {
  const containers = [{ name: 'cambist', image: 'x' }];
  const { review, outcome } = send(reviewOf(pod({ containers }, ENABLED)));
  assert.equal(outcome, 'refused');
  assert.deepEqual(review.response, {
    uid: 'u-1',
    allowed: false,
    status: {
      code: 422,
      reason: 'Invalid',
      message: 'cambist cannot be injected: a container "cambist" exists and was not injected: remove or rename it',
    },
  });
});

test('returns at most 10 warnings, of at most 256 printable characters', () => {
  const containers = Array.from({ length: 20 }, (_, index) => ({
    name: `é\n${index}${'x'.repeat(300)}`,
    env: [{ name: 'HTTP_PROXY' }, { name: 'NO_PROXY' }],
  }));
  const annotations = { 'cambist.dev/proxy-env': 'enabled' };
  const { review } = send(reviewOf(pod({ containers }, { ...ENABLED, annotations })));
  const warnings = getIn(review, ['response', 'warnings']) as string[];
  assert.equal(warnings.length, 10);
  for (const warning of warnings) assert.match(warning, /^[\x20-\x7e]{1,256}$/);
});

test('throws InvalidReview, and no other error, for a body that is not a review of a pod', () => {
  const valid = reviewOf(pod());
  const cases: Json[] = [
    null,
    [],
    'x',
    {},
    { ...valid, apiVersion: 'admission.k8s.io/v1beta1' },
    { ...valid, kind: 'Pod' },
  ];
  for (const body of [
    ...cases,
    { ...valid, request: null },
    reviewOf(pod(), { uid: '' }),
    reviewOf([]),
    reviewOf('x'),
  ]) {
    assert.throws(() => send(body), InvalidReview);
  }
  fc.assert(fc.property(fc.jsonValue(), (object) => fuzz(Buffer.from(JSON.stringify(reviewOf(object as Json))))));
});
