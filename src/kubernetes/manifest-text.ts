import {
  type Document,
  type DocumentOptions,
  isMap,
  isSeq,
  type ParseOptions,
  parseDocument,
  type SchemaOptions,
} from 'yaml';
import { type Json, sameJson } from './json.ts';
import { fromPointer, type PatchOperation } from './json-patch.ts';
import { NotInPlace } from './yaml-places.ts';
import { spliceText } from './yaml-splice.ts';

/** As kubectl reads: YAML 1.1 with merge keys, though a date is a text. */
export const READING = {
  version: '1.1',
  schema: 'core',
  // Whatever YAML 1.1 would take for a boolean or a date is put into quotes.
  compat: 'yaml-1.1',
  merge: true,
  uniqueKeys: true,
  logLevel: 'error',
} as const satisfies ParseOptions & SchemaOptions & DocumentOptions;

/**
 * Changes a document by as little of its text as possible, and by a rewrite that keeps comments and order where its form
 * does not allow that.
 * @returns undefined where the document would then not say what it should
 */
export function editManifest(text: string, operations: readonly PatchOperation[], expected: Json): string | undefined {
  return rewrittenJson(text, expected) ?? spliced(text, operations, expected) ?? rewritten(text, operations, expected);
}

function spliced(text: string, operations: readonly PatchOperation[], expected: Json): string | undefined {
  try {
    const result = operations.reduce((current, operation) => spliceText(current, operation, READING), text);
    return says(result, expected) ? result : undefined;
  } catch (error) {
    if (error instanceof NotInPlace) return undefined;
    throw error;
  }
}

/** One that could come out of reading and writing as another. */
const LONG_NUMBER = /\d{16}/;

/** JSON is written as JSON: spliced into a pretty one, all of ours would be on one line. */
function rewrittenJson(text: string, expected: Json): string | undefined {
  if (!text.trimStart().startsWith('{') || LONG_NUMBER.test(text) || !isJson(text)) return undefined;
  const [indent = ''] = /(?<=\{\r?\n)[ \t]+(?=")/.exec(text) ?? [];
  const [before = ''] = /^\s*/.exec(text) ?? [];
  const [after = ''] = /\s*$/.exec(text) ?? [];
  return before + JSON.stringify(expected, null, indent) + after;
}

function rewritten(text: string, operations: readonly PatchOperation[], expected: Json): string | undefined {
  const document = parseDocument(text, READING);
  try {
    for (const operation of operations) rewrite(document, operation);
  } catch {
    // The path leads through an alias.
    return undefined;
  }
  const [head = ''] = /^(?:---[^\n]*\n)?/.exec(text) ?? [];
  const body = document.toString({ lineWidth: 0, directives: false });
  const result = head.trimEnd() === '---' || head === '' ? head + body : body;
  return says(result, expected) ? result : undefined;
}

function rewrite(document: Document, operation: PatchOperation): void {
  const path = fromPointer(operation.path);
  const parent = document.getIn(path.slice(0, -1), true);
  const last = path.at(-1) ?? '';
  if (operation.op === 'remove') {
    if (!document.deleteIn(path)) throw new Error('nothing there');
    return;
  }
  const node = document.createNode(operation.value);
  if (isSeq(parent) && operation.op === 'add') parent.items.splice(Number(last), 0, node);
  else if (isSeq(parent) || isMap(parent)) parent.set(isSeq(parent) ? Number(last) : last, node);
  else throw new Error('no collection');
}

function says(text: string, expected: Json): boolean {
  const document = parseDocument(text, READING);
  return document.errors.length === 0 && sameJson(document.toJS() as Json, expected);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
