import { getIn, isObject, type Json, type JsonObject, type Path, sameJson, textOf } from './json.ts';
import type { Injection } from './pod-injection.ts';

/** A request body that is not a valid AdmissionReview. The message says why. */
export class InvalidReview extends Error {}

export type ReviewResult = ReturnType<typeof reviewAdmission>;

const API_VERSION = 'admission.k8s.io/v1';

/** kubectl shows no more of a warning. */
const MAX_WARNING_LENGTH = 256;

/** The API server drops more warnings than these. A refusal lists no more reasons either. */
const MAX_REASONS = 10;

/** The longest name in Kubernetes. */
const MAX_NAME_LENGTH = 253;

/**
 * Reviews the creation of a pod. A pod that opted in and cannot be injected is refused, because without its sidecar it would
 * fail, or send the caller's token to a backend. Every other request is allowed without a change.
 * @returns the AdmissionReview for the API server, and for the log which pod it is, and why it has this outcome
 * @throws {InvalidReview}
 * @see https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
 */
export function reviewAdmission(body: Json, inject: (pod: JsonObject) => Injection) {
  if (!isObject(body) || body.apiVersion !== API_VERSION || body.kind !== 'AdmissionReview') {
    throw new InvalidReview(`not an AdmissionReview of ${API_VERSION}`);
  }
  const request = getIn(body, ['request']);
  const uid = textOf(getIn(request, ['uid']));
  if (uid === undefined || uid === '') throw new InvalidReview('request.uid is missing');
  const namespace = textOf(getIn(request, ['namespace']))?.slice(0, MAX_NAME_LENGTH);
  if (!isPodCreation(request)) {
    const reasons = ['the request does not create a pod'];
    return result({ uid, namespace, pod: undefined }, {}, { outcome: 'skipped', reasons, template: {} });
  }
  const object = getIn(request, ['object']);
  if (!isObject(object)) throw new InvalidReview('request.object is not a pod');
  const name = textOf(getIn(object, ['metadata', 'name'])) ?? textOf(getIn(object, ['metadata', 'generateName']));
  return result({ uid, namespace, pod: name?.slice(0, MAX_NAME_LENGTH) }, object, inject(object));
}

function isPodCreation(request: Json | undefined): boolean {
  const is = (path: string[], value: string): boolean => (getIn(request, path) ?? '') === value;
  return (
    is(['operation'], 'CREATE') && is(['kind', 'group'], '') && is(['kind', 'kind'], 'Pod') && is(['subResource'], '')
  );
}

function result(
  about: { uid: string; namespace: string | undefined; pod: string | undefined },
  before: JsonObject,
  { outcome, template, reasons: allReasons }: Injection,
) {
  const reasons = allReasons.slice(0, MAX_REASONS);
  const response: JsonObject = {
    uid: about.uid,
    allowed: outcome !== 'refused',
    ...(outcome === 'refused' ? { status: refusal(reasons) } : {}),
    ...(outcome === 'injected' ? patch(before, template) : {}),
    ...(outcome === 'injected' || outcome === 'skipped' ? warnings(reasons) : {}),
  };
  const review = { apiVersion: API_VERSION, kind: 'AdmissionReview', response };
  return { review, outcome, ...about, reasons };
}

function refusal(reasons: readonly string[]): JsonObject {
  return { code: 422, reason: 'Invalid', message: `cambist cannot be injected: ${reasons.join('; ')}` };
}

function patch(before: JsonObject, after: JsonObject): JsonObject {
  const operations = JSON.stringify(diffJson(before, after));
  return { patchType: 'JSONPatch', patch: Buffer.from(operations).toString('base64') };
}

/** A warning becomes a header, which allows printable ASCII only. */
function warnings(reasons: readonly string[]): JsonObject {
  const texts = reasons.map((reason) =>
    `cambist: ${reason}`.slice(0, MAX_WARNING_LENGTH).replace(/[^\x20-\x7e]/g, '?'),
  );
  return texts.length === 0 ? {} : { warnings: texts };
}

/** The operations of RFC 6902 that describe a difference. */
export type PatchOperation =
  | { readonly op: 'add' | 'replace'; readonly path: string; readonly value: Json }
  | { readonly op: 'remove'; readonly path: string };

/** A JSON Pointer. @see https://www.rfc-editor.org/rfc/rfc6901#section-3 */
function toPointer(path: Path): string {
  return path.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/**
 * Lists the operations that turn one value into another. A list that differs is replaced as a whole: rfc6902 compares its items, and
 * takes 39 s for a pod with 498 containers.
 * @see https://www.rfc-editor.org/rfc/rfc6902
 */
export function diffJson(before: Json, after: Json, path: Path = []): PatchOperation[] {
  if (sameJson(before, after)) return [];
  if (!isObject(before) || !isObject(after)) return [{ op: 'replace', path: toPointer(path), value: after }];
  const gone = Object.keys(before).filter((key) => !Object.hasOwn(after, key));
  return [
    ...gone.map((key) => ({ op: 'remove', path: toPointer([...path, key]) }) as const),
    ...Object.entries(after).flatMap(([key, value]): PatchOperation[] => {
      const old = Object.hasOwn(before, key) ? before[key] : undefined;
      const place = [...path, key];
      return old === undefined ? [{ op: 'add', path: toPointer(place), value }] : diffJson(old, value, place);
    }),
  ];
}
