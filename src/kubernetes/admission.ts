import { getIn, isObject, type Json, type JsonObject, textOf } from './json.ts';
import { diffJson } from './json-patch.ts';
import type { Injection } from './pod-injection.ts';

/** A body that is no admission review; the message says what it lacks. */
export class NotAReview extends Error {}

export interface Reviewed {
  /** An AdmissionReview, for the API server. */
  readonly answer: JsonObject;
  readonly result: Injection['outcome'];
  /** For the log: where the pod is, and why this result. */
  readonly uid: string;
  readonly namespace: string | undefined;
  readonly pod: string | undefined;
  readonly reasons: readonly string[];
}

const API_VERSION = 'admission.k8s.io/v1';

/** As much as kubectl shows of a warning before it is cut. */
const MAX_WARNING_LENGTH = 256;

/** The API server cuts more warnings than these, and a person reads no more of them in a refusal. */
const MAX_REASONS = 10;

/** No name in Kubernetes is longer. */
const MAX_NAME_LENGTH = 253;

/**
 * Answers an AdmissionReview. A pod that opted in and cannot have its sidecar is refused: without it, it would not work, or
 * send the caller's token where it should not go. All that is not meant passes.
 * @throws {NotAReview}
 * @see https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
 */
export function reviewAdmission(body: Json, inject: (pod: JsonObject) => Injection): Reviewed {
  if (!isObject(body) || body.apiVersion !== API_VERSION || body.kind !== 'AdmissionReview') {
    throw new NotAReview(`it is no AdmissionReview of ${API_VERSION}`);
  }
  const uid = textOf(getIn(body, ['request', 'uid']));
  if (uid === undefined || uid === '') throw new NotAReview('it has no request.uid');
  const request = getIn(body, ['request']);
  const namespace = textOf(getIn(request, ['namespace']))?.slice(0, MAX_NAME_LENGTH);
  const object = getIn(request, ['object']);
  if (!isPodCreation(request)) return answered(uid, namespace, undefined, passed('it is not the creation of a pod'));
  if (!isObject(object)) throw new NotAReview('its request.object is no pod');
  const name = textOf(getIn(object, ['metadata', 'name'])) ?? textOf(getIn(object, ['metadata', 'generateName']));
  const pod = name?.slice(0, MAX_NAME_LENGTH);
  return answered(uid, namespace, pod, { ...inject(object), before: object });
}

type Verdict = Pick<Injection, 'outcome' | 'reasons' | 'template'> & { readonly before: JsonObject };

function passed(reason: string): Verdict {
  return { outcome: 'skipped', reasons: [reason], template: {}, before: {} };
}

function isPodCreation(request: Json | undefined): boolean {
  const is = (path: string[], value: string): boolean => (getIn(request, path) ?? '') === value;
  return (
    is(['operation'], 'CREATE') && is(['kind', 'group'], '') && is(['kind', 'kind'], 'Pod') && is(['subResource'], '')
  );
}

function answered(uid: string, namespace: string | undefined, pod: string | undefined, verdict: Verdict): Reviewed {
  const { outcome, template, before } = verdict;
  const reasons = verdict.reasons.slice(0, MAX_REASONS);
  const patch = outcome === 'injected' ? diffJson(before, template) : [];
  const warnings = outcome === 'injected' || outcome === 'skipped' ? reasons.map(warning) : [];
  const message = `cambist cannot be injected: ${reasons.join('; ')}`;
  const response: JsonObject = {
    uid,
    allowed: outcome !== 'refused',
    ...(outcome === 'refused' ? { status: { code: 422, reason: 'Invalid', message } } : {}),
    ...(patch.length === 0
      ? {}
      : { patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(patch)).toString('base64') }),
    ...(warnings.length === 0 ? {} : { warnings }),
  };
  const answer = { apiVersion: API_VERSION, kind: 'AdmissionReview', response };
  return { answer, result: outcome, uid, namespace, pod, reasons };
}

/** It goes into a header, in which control characters are not allowed. */
function warning(reason: string): string {
  return `cambist: ${reason}`.slice(0, MAX_WARNING_LENGTH).replace(/[^\x20-\x7e]/g, '?');
}
