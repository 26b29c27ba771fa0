import assert from 'node:assert/strict';
import { InvalidReview, reviewAdmission } from '../../../src/kubernetes/admission.ts';
import { getIn, type Json } from '../../../src/kubernetes/json.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { applyPatch, request } from '../../unit/kubernetes/samples.ts';

const INJECTION = request({ optIn: true, update: false });
const KIND = { group: '', version: 'v1', kind: 'Pod' };
const METADATA = { labels: { 'cambist.dev/inject': 'enabled' } };

/** The patch makes the injected pod, and a pod that opted in is injected or refused. Input: a review, or the spec of a pod. */
export function fuzz(data: Buffer): void {
  let value: Json;
  try {
    // Go's parser, which the API server uses, refuses numbers that JavaScript reads as infinite.
    value = JSON.parse(data.toString('utf8'), (_key, part) =>
      Number.isFinite(part) || typeof part !== 'number' ? part : 0,
    );
  } catch {
    return;
  }
  check(value);
  const object = { apiVersion: 'v1', kind: 'Pod', metadata: METADATA, spec: value };
  const review = { uid: 'u-1', kind: KIND, operation: 'CREATE', namespace: 'agents', object };
  const outcome = check({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request: review });
  assert.ok(outcome !== undefined, 'a valid review is called invalid');
}

function check(body: Json): string | undefined {
  try {
    const { review, outcome } = reviewAdmission(body, (pod) => injectPod(pod, INJECTION));
    const response = getIn(review, ['response']);
    assert.equal(getIn(response, ['uid']), getIn(body, ['request', 'uid']));
    assert.equal(getIn(response, ['allowed']), outcome !== 'refused');
    for (const warning of (getIn(response, ['warnings']) as string[] | undefined) ?? []) {
      assert.match(warning, /^[\x20-\x7e]{1,256}$/);
    }
    const patch = getIn(response, ['patch']);
    assert.equal(patch !== undefined, outcome === 'injected');
    if (patch === undefined) return outcome;
    const before = getIn(body, ['request', 'object']) as Record<string, Json>;
    const after = applyPatch(before, JSON.parse(Buffer.from(String(patch), 'base64').toString()));
    assert.deepEqual(after, injectPod(before, INJECTION).template);
    return outcome;
  } catch (error) {
    if (error instanceof InvalidReview) return undefined;
    throw error;
  }
}
