import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { InvalidReview, reviewAdmission } from '../../../src/kubernetes/admission.ts';
import { getIn, type Json, type JsonObject } from '../../../src/kubernetes/json.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { fuzz } from '../../fuzz/targets/admission-review.ts';
import { pod, request, reviewOf } from './samples.ts';

const ENABLED = { labels: { 'cambist.dev/inject': 'enabled' } };

const injection = request({ optIn: true, update: false });
const send = (body: Json) => reviewAdmission(body, (object) => injectPod(object, injection));

test('allows every other request without a patch', () => {
  const injected = injectPod(pod({}, ENABLED), injection).template;
  const cases: Record<string, JsonObject> = {
    'not opted in': reviewOf(pod()),
    'opted in by an annotation alone': reviewOf(pod({}, { annotations: ENABLED.labels })),
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
  const message = 'cambist cannot be injected: a container "cambist" exists and was not injected: remove or rename it';
  assert.deepEqual(review.response, { uid: 'u-1', allowed: false, status: { code: 422, reason: 'Invalid', message } });
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
  const others = [{ apiVersion: 'admission.k8s.io/v1beta1' }, { kind: 'Pod' }, { request: null }];
  const cases: Json[] = [null, [], 'x', {}, ...others.map((other) => ({ ...valid, ...other }))];
  for (const body of [...cases, reviewOf(pod(), { uid: '' }), reviewOf([]), reviewOf('x')]) {
    assert.throws(() => send(body), InvalidReview);
  }
  fc.assert(fc.property(fc.jsonValue(), (object) => fuzz(Buffer.from(JSON.stringify(reviewOf(object as Json))))));
});
