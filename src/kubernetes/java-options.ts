import { getIn, itemsOf, type Json, objectsOf, textOf } from './json.ts';

/** Java reads all its options from this variable, so others may be there already. */
const VARIABLE = 'JAVA_TOOL_OPTIONS';

export interface JavaChange {
  /** The variable to add, where the container has none. */
  readonly variable?: { readonly name: string; readonly value: string };
  /** The list with the options in a variable that the container has. */
  readonly merged?: readonly Json[];
  /** Why nothing changes: what the container sets already. */
  readonly kept?: string;
}

/** Adds options of Java to a list of variables. Options that the container sets itself stay, and with them all others. */
export function addJavaOptions(env: Json | undefined, options: string): JavaChange {
  const list = itemsOf(env);
  // The last one counts.
  const index = list.findLastIndex(isVariable);
  if (index < 0) return { variable: { name: VARIABLE, value: options } };
  const value = getIn(list, [index, 'value']);
  if (typeof value !== 'string') return { kept: VARIABLE };
  const own = new Set(propertiesIn(value));
  const present = propertiesIn(options).find((property) => own.has(property));
  if (present !== undefined) return { kept: `${present} in ${VARIABLE}` };
  return { merged: list.with(index, { ...objectsOf([list[index] ?? {}])[0], value: `${value} ${options}` }) };
}

/** Removes options that were added to a variable of the container. */
export function removeJavaOptions(env: readonly Json[], options: string): readonly Json[] {
  const index = env.findLastIndex(isVariable);
  const value = textOf(getIn(env, [index, 'value']));
  const added = ` ${options}`;
  if (value?.includes(added) !== true) return env;
  return env.with(index, { ...objectsOf([env[index] ?? {}])[0], value: value.replace(added, () => '') });
}

function isVariable(one: Json): boolean {
  return getIn(one, ['name']) === VARIABLE;
}

/** The names of the properties in the options of Java. */
function propertiesIn(options: string): string[] {
  return [...options.matchAll(/-D([\w.]+)=/g)].flatMap(([, name]) => name ?? []);
}
