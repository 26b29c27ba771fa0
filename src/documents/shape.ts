import * as z from 'zod';
import type { ConfigNode, Path } from './config-node.ts';
import { nearest } from './nearest.ts';

export interface FileShape {
  readonly schema: z.ZodType;
  /** The beginning of such a file. */
  readonly start: string;
  /** Why a key is unknown that exists elsewhere. */
  whyUnknown(key: string, path: Path): string | undefined;
}

/**
 * Checks a parsed file against the schema. Reports all errors and returns the rest, which can still be checked further.
 * @returns undefined if the file is not a map
 */
export function checkShape<Content>(value: unknown, root: ConfigNode, shape: FileShape): Content | undefined {
  const result = shape.schema.safeParse(value, { error: describeIssue });
  if (result.success) return result.data as Content;
  if (!isMap(value)) {
    root.error(`must be a map that starts with "${shape.start}"`);
    return undefined;
  }
  const valid = structuredClone(value);
  const issues = result.error.issues.flatMap(flatten);
  for (const issue of issues) {
    if (issue.code === 'unrecognized_keys') reportUnknownKeys(issue.path, issue.keys, valid, root, shape);
  }
  for (const issue of issues) {
    if (issue.code === 'unrecognized_keys') continue;
    report(issue, root, shape.schema);
    remove(valid, issue.path);
  }
  // All invalid parts have been removed, so the rest has the shape of the schema.
  return valid as Content;
}

type Located<Issue> = Issue extends unknown ? Omit<Issue, 'path'> & { path: Path } : never;
type Issue = Located<z.core.$ZodIssue>;

/** A union has the issues of the branch whose type fits. An unknown key names a branch only where no other branch is a map. */
function flatten(issue: z.core.$ZodIssue): Issue[] {
  const path = issue.path.map((segment) => (typeof segment === 'number' ? segment : String(segment)));
  const branches = issue.code === 'invalid_union' ? issue.errors.filter(({ length }) => length > 0) : [];
  const isBelow = ({ path }: z.core.$ZodIssue) => path.length > 0;
  const maps = branches.filter((branch) =>
    branch.every((inner) => isBelow(inner) || inner.code === 'unrecognized_keys'),
  );
  const meant = maps.find((branch) => branch.every(isBelow)) ?? (maps.length === 1 ? maps[0] : undefined);
  if (meant === undefined) return [{ ...issue, path }];
  return meant.flatMap((inner) => flatten({ ...inner, path: [...path, ...inner.path] }));
}

function report(issue: Issue, root: ConfigNode, whole: z.ZodType) {
  const node = root.at(...issue.path);
  if (issue.message === MISSING) {
    const key = String(issue.path.at(-1));
    const about = firstSentence(schemaAt(whole, issue.path)?.meta()?.description);
    if (node.broken) return;
    root.at(...issue.path.slice(0, -1)).error(`missing key "${key}": add it${about && ` (${about})`}`);
    node.markBroken();
  } else if (issue.code === 'invalid_key') {
    root
      .at(...issue.path.slice(0, -1))
      .error(issue.issues[0]?.message ?? issue.message, { child: String(issue.path.at(-1)) });
  } else {
    node.error(issue.message);
  }
}

/** The beginning of a description, which fits into parentheses. */
function firstSentence(description = ''): string {
  const [sentence = ''] = description.replace(/^PEM: /, '').split(/[.;] | \(|\.$/);
  return sentence.replace(/^[A-Z](?=[a-z])/, (letter) => letter.toLowerCase());
}

/** The keys of credential sources. An unknown key beside them could be the secret itself. */
const OF_SOURCES = new Set(['file', 'env']);
/** The form of config keys, which secrets rarely have. */
const PLAIN_KEY = /^[A-Za-z][A-Za-z_-]{0,39}$/;

function reportUnknownKeys(path: Path, keys: readonly string[], valid: unknown, root: ConfigNode, shape: FileShape) {
  const parent = valueAt(valid, path);
  const node = root.at(...path);
  const schemas = branchesOf(schemaAt(shape.schema, path));
  const known = schemas.flatMap((schema) => (schema instanceof z.ZodObject ? Object.keys(schema.shape) : []));
  const isSource = known.every((name) => OF_SOURCES.has(name));
  for (const key of keys) {
    if (isMap(parent)) delete parent[key];
    const why = shape.whyUnknown(key, path);
    if (why !== undefined) {
      node.error(`"${key}" ${why}`, { child: key });
      continue;
    }
    const meant = nearest(
      key,
      known.filter((name) => isMap(parent) && parent[name] === undefined),
    );
    if (meant !== undefined) node.at(meant).markBroken();
    const shown = PLAIN_KEY.test(key) && !isSource ? `unknown key "${key}"` : 'unknown key';
    const fix = meant === undefined ? `known keys are ${known.join(', ')}` : `did you mean "${meant}"?`;
    node.error(`${shown}: ${fix}`, { child: key });
  }
}

function schemaAt(whole: z.ZodType, path: Path): z.ZodType | undefined {
  const schema = path.reduce<unknown>((parent, segment) => childOf(unwrap(parent), segment), whole);
  const found = unwrap(schema);
  return found instanceof z.ZodType ? found : undefined;
}

function branchesOf(schema: unknown): readonly unknown[] {
  return schema instanceof z.ZodUnion ? schema.options : [schema];
}

function childOf(schema: unknown, segment: string | number): unknown {
  if (schema instanceof z.ZodUnion) {
    return schema.options.map((branch) => childOf(branch, segment)).find((child) => child !== undefined);
  }
  if (schema instanceof z.ZodObject) return schema.shape[segment];
  if (schema instanceof z.ZodRecord) return schema.valueType;
  return schema instanceof z.ZodArray ? schema.element : undefined;
}

function unwrap(schema: unknown): unknown {
  return schema instanceof z.ZodOptional ? schema.unwrap() : schema;
}

/** Removes an invalid part. A list keeps a hole, so that later entries keep their index. */
function remove(value: unknown, path: Path) {
  const parent = valueAt(value, path.slice(0, -1));
  const last = path.at(-1);
  if (Array.isArray(parent) && typeof last === 'number' && last in parent) parent[last] = undefined;
  else if (isMap(parent) && last !== undefined) delete parent[last];
}

function valueAt(value: unknown, path: Path): unknown {
  let node = value;
  for (const segment of path) {
    if (Array.isArray(node)) node = node[Number(segment)];
    else node = isMap(node) ? node[segment] : undefined;
  }
  return node;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Marks a missing key, which is reported at the map that lacks it. */
export const MISSING = 'missing';

const TYPES: Record<string, string> = {
  object: 'must be a map ("key: value")',
  record: 'must be a map ("name: …")',
  array: 'must be a list ("- …")',
  string: 'must be a string: put it in quotes',
  boolean: 'must be true or false',
  number: 'must be a whole number',
  int: 'must be a whole number',
};

/** Describes an issue for which the schema has no message. Never quotes the value, which may be a secret in the wrong place. */
export const describeIssue: z.core.$ZodErrorMap = (issue) => {
  if (issue.input === undefined) return MISSING;
  if (issue.input === null) return 'has no value: write one, or remove the key';
  switch (issue.code) {
    case 'invalid_type':
      if (issue.expected === 'string' && typeof issue.input === 'object') return 'must be a single string';
      return TYPES[issue.expected];
    case 'invalid_value':
      return describeChoice(issue.values.map(String), issue.input);
    case 'too_small':
      return issue.origin === 'array' ? 'must not be empty' : `must be at least ${issue.minimum}`;
    case 'too_big':
      return `must be at most ${issue.maximum}`;
    default:
      return undefined;
  }
};

function describeChoice(values: readonly string[], input: unknown): string {
  if (values.length === 1) return `must be ${values[0]}${input === values[0] ? ', without quotes' : ''}`;
  // A map from the file may have a `toString` that is not a function.
  const meant = typeof input === 'object' ? undefined : nearest(String(input), values);
  const hint = meant === undefined ? '' : `: did you mean "${meant}"?`;
  return `must be one of ${values.join(', ')}${hint}`;
}
