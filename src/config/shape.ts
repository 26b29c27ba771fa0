import * as z from 'zod';
import type { ConfigNode, Path } from './config-node.ts';
import { nearest } from './nearest.ts';
import { type ConfigFile, configSchema, type Loose } from './schema.ts';
import { describeIssue, MISSING } from './shape-messages.ts';

/**
 * Holds a parsed file to the schema: reports all that is wrong with its shape, and answers with the rest, so that what
 * can still be checked is. Undefined where the file is no map at all.
 */
export function checkShape(value: unknown, root: ConfigNode): Loose<ConfigFile> | undefined {
  const result = configSchema.safeParse(value, { error: describeIssue });
  if (result.success) return result.data;
  if (!isMap(value)) {
    root.error('must be a map that begins with "version: 1"');
    return undefined;
  }
  const sound = structuredClone(value);
  const issues = result.error.issues.flatMap(flatten);
  for (const issue of issues) {
    if (issue.code === 'unrecognized_keys') reportUnknownKeys(issue.path, issue.keys, sound, root);
  }
  for (const issue of issues) {
    if (issue.code !== 'unrecognized_keys') report(issue, root);
  }
  for (const issue of issues) {
    if (issue.code !== 'unrecognized_keys') remove(sound, issue.path);
  }
  // Whatever the schema found fault with is gone, so what is left has the shape that it describes.
  return sound as Loose<ConfigFile>;
}

type Located<Issue> = Issue extends unknown ? Omit<Issue, 'path'> & { path: Path } : never;
type Issue = Located<z.core.$ZodIssue>;

/** The issues of the one branch of a union that was meant: the one whose type fits. */
function flatten(issue: z.core.$ZodIssue): Issue[] {
  const path = toPath(issue.path);
  const meant =
    issue.code === 'invalid_union'
      ? issue.errors.find((branch) => branch.length > 0 && branch.every((inner) => inner.path.length > 0))
      : undefined;
  if (meant === undefined) return [{ ...issue, path }];
  return meant.flatMap((inner) => flatten({ ...inner, path: [...path, ...inner.path] }));
}

function report(issue: Issue, root: ConfigNode) {
  const node = root.at(...issue.path);
  if (issue.message === MISSING) {
    const key = String(issue.path.at(-1));
    const about = schemaAt([...issue.path])
      ?.meta()
      ?.description?.split(/[.:;] |\.$/)[0];
    if (node.broken) return;
    root.at(...issue.path.slice(0, -1)).error(`missing key "${key}": ${about ?? 'add it'}`);
    node.markBroken();
  } else if (issue.code === 'invalid_key') {
    root
      .at(...issue.path.slice(0, -1))
      .error(issue.issues[0]?.message ?? issue.message, { child: String(issue.path.at(-1)) });
  } else {
    node.error(issue.message);
  }
}

/** A credential source holds `file` or `env`; what else is there could be the secret itself. */
const SECRETS = /^(client_secret|private_key|client_assertion|certificate|ca)$/;
/** As keys are written, and secrets hardly ever. */
const PLAIN_KEY = /^[A-Za-z][A-Za-z_-]{0,39}$/;

function reportUnknownKeys(path: Path, keys: readonly string[], sound: unknown, root: ConfigNode) {
  const parent = valueAt(sound, path);
  const node = root.at(...path);
  const schema = schemaAt(path);
  const known = schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
  for (const key of keys) {
    const meant = nearest(
      key,
      known.filter((name) => isMap(parent) && parent[name] === undefined),
    );
    if (meant !== undefined) node.at(meant).markBroken();
    const shown = PLAIN_KEY.test(key) && !SECRETS.test(String(path.at(-1))) ? `unknown key "${key}"` : 'unknown key';
    const fix = meant === undefined ? `known here: ${known.join(', ')}` : `did you mean "${meant}"?`;
    node.error(`${shown}: ${fix}`, { child: key });
    if (isMap(parent)) delete parent[key];
  }
}

/** The schema of a node of the file, as far as it is known which one of a union is meant. */
function schemaAt(path: Path): z.ZodType | undefined {
  const schema = path.reduce<unknown>((parent, segment) => childOf(unwrap(parent), segment), configSchema);
  const found = unwrap(schema);
  return found instanceof z.ZodType ? found : undefined;
}

function childOf(schema: unknown, segment: string | number): unknown {
  if (schema instanceof z.ZodObject) return schema.shape[segment];
  if (schema instanceof z.ZodRecord) return schema.valueType;
  return schema instanceof z.ZodArray ? schema.element : undefined;
}

function unwrap(schema: unknown): unknown {
  return schema instanceof z.ZodOptional ? schema.unwrap() : schema;
}

/** Takes out what an issue is about; a list keeps a hole, so that what comes after keeps its place. */
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

function toPath(path: readonly PropertyKey[]): Path {
  return path.map((segment) => (typeof segment === 'number' ? segment : String(segment)));
}
