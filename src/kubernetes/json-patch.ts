import { getIn, isArray, isObject, type Json, type Path, sameJson, textOf } from './json.ts';

/** The operations of RFC 6902 that describe a difference. */
export type PatchOperation =
  | { readonly op: 'add' | 'replace'; readonly path: string; readonly value: Json }
  | { readonly op: 'remove'; readonly path: string };

/** A JSON Pointer. @see https://www.rfc-editor.org/rfc/rfc6901#section-3 */
export function toPointer(path: Path): string {
  return path.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

export function fromPointer(pointer: string): string[] {
  return pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/**
 * Lists the operations that turn one value into another, in the order in which to apply them. A missing parent is added with
 * its whole content, as one operation. The work grows in proportion to the lists: rfc6902 makes the same patch, but takes 39 s for
 * a pod with 498 containers. fast-json-patch compares by index, and would rewrite every item after an inserted one.
 * @see https://www.rfc-editor.org/rfc/rfc6902
 */
export function diffJson(before: Json, after: Json): PatchOperation[] {
  return difference(before, after, []);
}

function difference(before: Json, after: Json, path: Path): PatchOperation[] {
  if (sameJson(before, after)) return [];
  if (isObject(before) && isObject(after)) {
    const gone = Object.keys(before).filter((key) => !Object.hasOwn(after, key));
    return [
      ...gone.map((key) => remove([...path, key])),
      ...Object.entries(after).flatMap(([key, value]) => {
        const old = Object.hasOwn(before, key) ? before[key] : undefined;
        return old === undefined ? [add([...path, key], value)] : difference(old, value, [...path, key]);
      }),
    ];
  }
  if (isArray(before) && isArray(after)) return differenceOfLists(before, after, path);
  return [{ op: 'replace', path: toPointer(path), value: after }];
}

/** Keeps the items that both lists begin and end with. Named items between are matched by name, others changed in pairs. */
function differenceOfLists(before: readonly Json[], after: readonly Json[], path: Path): PatchOperation[] {
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && sameJson(before[start], after[start])) start += 1;
  let tail = 0;
  while (tail < shorter - start && sameJson(before.at(-1 - tail), after.at(-1 - tail))) tail += 1;
  const oldItems = before.slice(start, before.length - tail);
  const newItems = after.slice(start, after.length - tail);
  const matched = matchNames(oldItems, newItems);
  if (matched !== undefined) return differenceOfNamed(oldItems, newItems, matched, [...path, start]);
  const paired = Math.min(oldItems.length, newItems.length);
  return [
    ...newItems
      .slice(0, paired)
      .flatMap((item, index) => difference(oldItems[index] ?? null, item, [...path, start + index])),
    // The last item is removed first, so that the earlier indexes stay valid.
    ...oldItems
      .slice(paired)
      .map((_, index) => remove([...path, start + paired + index]))
      .reverse(),
    ...newItems.slice(paired).map((item, index) => add([...path, start + paired + index], item)),
  ];
}

/** @returns the names in both lists, if every item has a name of its own, and those in both are in the same order */
function matchNames(before: readonly Json[], after: readonly Json[]): ReadonlySet<string> | undefined {
  const oldNames = new Set(namesIn(before));
  const newNames = new Set(namesIn(after));
  if (oldNames.size !== before.length || newNames.size !== after.length) return undefined;
  const kept = [...oldNames].filter((name) => newNames.has(name));
  const found = [...newNames].filter((name) => oldNames.has(name));
  return kept.every((name, index) => name === found[index]) ? new Set(kept) : undefined;
}

/** Adds, changes and removes items in the order of the lists. @param path ends with the index of the first item */
function differenceOfNamed(
  before: readonly Json[],
  after: readonly Json[],
  kept: ReadonlySet<string>,
  path: Path,
): PatchOperation[] {
  const at = (index: number): Path => [...path.slice(0, -1), Number(path.at(-1)) + index];
  const operations: PatchOperation[] = [];
  let old = 0;
  const removeGone = (position: number): void => {
    for (; old < before.length && !kept.has(nameOf(before[old])); old += 1) operations.push(remove(at(position)));
  };
  for (const [position, item] of after.entries()) {
    if (!kept.has(nameOf(item))) {
      operations.push(add(at(position), item));
      continue;
    }
    removeGone(position);
    // A loop is needed, because a list may have more changes than a call has arguments.
    for (const operation of difference(before[old] ?? null, item, at(position))) operations.push(operation);
    old += 1;
  }
  removeGone(after.length);
  return operations;
}

function namesIn(items: readonly Json[]): string[] {
  return items.flatMap((item) => textOf(getIn(item, ['name'])) ?? []);
}

function nameOf(item: Json | undefined): string {
  return textOf(getIn(item, ['name'])) ?? '';
}

function add(path: Path, value: Json): PatchOperation {
  return { op: 'add', path: toPointer(path), value };
}

function remove(path: Path): PatchOperation {
  return { op: 'remove', path: toPointer(path) };
}
