/** A JSON value. Manifests in YAML contain nothing else. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export type JsonObject = { readonly [key: string]: Json };

/** The position of a value: keys of objects and indexes of arrays, outermost first. */
export type Path = readonly (string | number)[];

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isArray(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

/** The items of a list; none if the value is not a list. */
export function itemsOf(value: Json | undefined): readonly Json[] {
  return isArray(value) ? value : [];
}

export function objectsOf(value: Json | undefined): readonly JsonObject[] {
  return itemsOf(value).filter(isObject);
}

/** Tests whether a value is null, or a list or object without entries. */
export function isEmpty(value: Json): boolean {
  if (isArray(value)) return value.length === 0;
  return value === null || (isObject(value) && Object.keys(value).length === 0);
}

export function textOf(value: Json | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** @returns the value at a path; undefined if the path leads nowhere */
export function getIn(value: Json | undefined, path: Path): Json | undefined {
  let current = value;
  for (const step of path) {
    if (isArray(current)) current = current[Number(step)];
    else current = isObject(current) && Object.hasOwn(current, step) ? current[step] : undefined;
  }
  return current;
}

/**
 * Copies a value and replaces the value at a path. The copy shares everything outside the path. Missing and null parents are
 * created; undefined removes the value.
 */
export function setIn(value: Json | undefined, path: Path, next: Json | undefined): JsonObject {
  return replaceIn(isObject(value) ? value : {}, path, next) as JsonObject;
}

function replaceIn(value: Json | undefined, path: Path, next: Json | undefined): Json | undefined {
  const [step, ...rest] = path;
  if (step === undefined) return next;
  if (isArray(value)) {
    return value.map((item, index) => (index === Number(step) ? (replaceIn(item, rest, next) ?? null) : item));
  }
  const parent = isObject(value) ? value : {};
  const replaced = replaceIn(getIn(parent, [step]), rest, next);
  if (replaced !== undefined) return { ...parent, [step]: replaced };
  return Object.fromEntries(Object.entries(parent).filter(([key]) => key !== String(step)));
}

export function sameJson(left: Json | undefined, right: Json | undefined): boolean {
  if (left === right) return true;
  if (isArray(left) && isArray(right)) {
    return left.length === right.length && left.every((item, index) => sameJson(item, right[index]));
  }
  if (!isObject(left) || !isObject(right)) return false;
  const keys = Object.keys(left);
  return (
    keys.length === Object.keys(right).length &&
    keys.every((key) => Object.hasOwn(right, key) && sameJson(left[key], right[key]))
  );
}

/** Longer than any name that Kubernetes accepts for a container, a port or a volume. */
const MAX_QUOTED_LENGTH = 80;

/**
 * Quotes a value from a manifest for a message. A long value is shortened: the author of the pod chooses its length, and many
 * messages can quote the same value.
 */
export function quote(value: string): string {
  return JSON.stringify(value.length > MAX_QUOTED_LENGTH ? `${value.slice(0, MAX_QUOTED_LENGTH)}…` : value);
}
