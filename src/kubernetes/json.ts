/** A value as JSON has it; manifests are nothing else, whatever they were written in. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export type JsonObject = { readonly [key: string]: Json };

/** Where a value stands: keys of objects and indexes of arrays, from the outside in. */
export type Path = readonly (string | number)[];

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isArray(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

/** The objects of a list; what is no list has none. */
export function objectsOf(value: Json | undefined): readonly JsonObject[] {
  return isArray(value) ? value.filter(isObject) : [];
}

/** Reports whether a value is null, or a list or object without entries. */
export function isEmpty(value: Json): boolean {
  if (isArray(value)) return value.length === 0;
  return value === null || (isObject(value) && Object.keys(value).length === 0);
}

export function textOf(value: Json | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** What stands at a path; undefined where there is nothing. */
export function getIn(value: Json | undefined, path: Path): Json | undefined {
  let current = value;
  for (const step of path) {
    if (isArray(current)) current = current[Number(step)];
    else current = isObject(current) && Object.hasOwn(current, step) ? current[step] : undefined;
  }
  return current;
}

/**
 * A copy with another value at a path, sharing all that is not on the way there. Parents that are missing, or null, are
 * made; undefined takes the value away.
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

/** Do two values say the same? The order of an object's keys says nothing. */
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
