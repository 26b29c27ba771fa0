import { isMap, isScalar, isSeq, LineCounter, parseAllDocuments, type Scalar, type YAMLMap } from 'yaml';
import type { Problem } from '../config/config-node.ts';

export interface ConfigMapEntry {
  readonly configMap: string;
  /** Key in its `data`. */
  readonly key: string;
  readonly text: string;
  /** Moves a problem of `text` to its place in the manifest. */
  locate(problem: Problem): Problem;
}

/** The name that the manifests of cambist use. Under another key, a config is recognized by its routes. */
const CONFIG_KEY = 'cambist.yaml';
const HAS_ROUTES = /^[ \t]*"?routes"?[ \t]*:/m;

/**
 * Finds the cambist configs in Kubernetes manifests: YAML with any number of documents, JSON, and Lists.
 * @returns undefined if the text is not a manifest
 */
export function configMapEntries(text: string): readonly ConfigMapEntry[] | undefined {
  // Spares the second parser for most configs.
  if (!/^["']?kind["']?\s*:|"kind"\s*:/m.test(text)) return undefined;
  const lines = new LineCounter();
  try {
    const documents = parseAllDocuments(text, { lineCounter: lines, logLevel: 'silent' });
    const objects = 'empty' in documents ? [] : documents.flatMap(({ contents }) => objectsIn(contents));
    if (objects.length === 0) return undefined;
    return objects.flatMap((object) => entriesOf(object, text, lines));
  } catch {
    // Too deeply nested. The parser of configs reports it.
    return undefined;
  }
}

/** The Kubernetes objects in a document, also those in a List. */
function objectsIn(node: unknown): YAMLMap[] {
  if (!isMap(node) || !node.has('kind') || !node.has('apiVersion')) return [];
  const items = node.get('items', true);
  return isSeq(items) ? items.items.flatMap(objectsIn) : [node];
}

function entriesOf(object: YAMLMap, text: string, lines: LineCounter): ConfigMapEntry[] {
  if (object.get('kind') !== 'ConfigMap') return [];
  const data = object.get('data', true);
  const configMap = String(object.getIn(['metadata', 'name']) ?? '');
  if (!isMap(data)) return [];
  return data.items.flatMap(({ key: name, value }) => {
    const key = isScalar(name) ? String(name.value) : '';
    if (!isScalar(value) || typeof value.value !== 'string') return [];
    if (key !== CONFIG_KEY && !HAS_ROUTES.test(value.value)) return [];
    return [{ configMap, key, text: value.value, locate: locator(value, text, lines) }];
  });
}

/** A literal block scalar has the lines of its text. In other styles, all problems are at the start of the value. */
function locator(value: Scalar, text: string, lines: LineCounter): (problem: Problem) => Problem {
  const [start = 0, end = 0] = value.range ?? [];
  const { line: startLine, col: startColumn } = lines.linePos(start);
  if (value.type !== 'BLOCK_LITERAL') return (problem) => ({ ...problem, line: startLine, column: startColumn });
  const content = text.slice(start, end).split('\n').slice(1);
  const indent = content.find((line) => line.trim() !== '')?.search(/\S/) ?? 0;
  return (problem) => ({ ...problem, line: startLine + problem.line, column: indent + problem.column });
}
