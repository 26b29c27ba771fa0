import * as z from 'zod';
import type { ConfigNode } from '../documents/config-node.ts';
import type { Listen } from './addresses.ts';
import type { Sources } from './sources.ts';

/** A config is parsed rarely. Compiling a parser would take longer than parsing. */
z.config({ jitless: true });

/** Other parts of the file that a key is read with. A section that refers to more of them declares it. */
export interface Scope {
  readonly sources: Sources;
  readonly listeners: Map<string, Listen>;
  /** The socket of the SPIFFE agent. */
  readonly spiffe: string | undefined;
}

/** A key of the file: its schema, its place in the docs, and how the written value becomes a value of the config. */
export interface Key<Written, Value, Unit extends string = ''> {
  readonly schema: z.ZodType;
  readonly about: About;
  /** Suffix of the property in the config: `max_age` becomes `maxAgeMs`. */
  readonly unit: Unit;
  readonly isRequired: boolean;
  /** The written value that applies without the key. Undefined: nothing. */
  readonly fallback: unknown;
  readonly keys: Keys | undefined;
  /** @returns undefined after an error, which is reported to `node` */
  read(written: Written, node: ConfigNode, scope: Scope): Value | undefined;
}

export interface About {
  /** Shown by editors and in the docs. */
  readonly default?: unknown;
  /** Shown by editors. */
  readonly examples?: readonly unknown[];
  /** The kind of value, for the docs. */
  readonly form?: string;
  /** The page and heading that explain the key, for the docs. */
  readonly page?: string;
  /** The default, for the docs, where it is not one value. */
  readonly without?: string;
  /** A change takes effect at the next restart; or only that the key is new or gone does. */
  readonly restart?: 'change' | 'presence';
}

export type Keys = Readonly<Record<string, Key<never, unknown, string>>>;

type WrittenOf<One> = One extends Key<infer Written, infer _Value, infer _Unit> ? Written : never;
export type ValueOf<One> = One extends Key<infer _Written, infer Value, infer _Unit> ? Value : never;
type UnitOf<One> = One extends Key<infer _Written, infer _Value, infer Unit> ? Unit : never;

type Camel<Name extends string> = Name extends `${infer Word}_${infer Rest}`
  ? `${Word}${Capitalize<Camel<Rest>>}`
  : Name;
type Property<Name extends string, One> = `${Camel<Name>}${UnitOf<One>}`;

/** A map as it is written, without the parts that have errors. */
export type Written<All extends Keys> = { readonly [Name in keyof All]?: WrittenOf<All[Name]> | undefined };

/** A map as the config has it. */
export type Values<All extends Keys> = {
  readonly [Name in keyof All & string as Property<Name, All[Name]>]: ValueOf<All[Name]>;
};

/** The same without the values that are missing or have errors. */
export type Draft<All extends Keys> = {
  readonly [Name in keyof All & string as Property<Name, All[Name]>]?: ValueOf<All[Name]> | undefined;
};

/** Defined where there is a default. */
type Filled<Value, Rules extends About> = Rules extends { readonly default: unknown } ? Value : Value | undefined;

/** A key that is one value. Undefined without a default where it is not in the file. */
export function valueKey<Written, Value, const Rules extends About, In extends Scope = Scope>(
  schema: z.ZodType,
  form: string,
  description: string,
  rules: Rules,
  read: (written: Written, node: ConfigNode, scope: In) => Value | undefined,
): Key<Written, Filled<Value, Rules>> {
  const { default: usual, examples } = rules;
  const shown = { description, ...(usual !== undefined && { default: usual }), ...(examples && { examples }) };
  return {
    schema: schema.meta({ ...shown, ...schema.meta() }),
    about: { form, ...rules },
    unit: '',
    isRequired: false,
    fallback: usual,
    keys: undefined,
    // `resolve.ts` reads every key with all that any of them declares.
    read: read as unknown as Key<Written, Filled<Value, Rules>>['read'],
  };
}

export function required<Written, Value, Unit extends string>(
  key: Key<Written, Value, Unit>,
): Key<Written, Exclude<Value, undefined>, Unit> {
  return { ...key, isRequired: true, fallback: undefined } as Key<Written, Exclude<Value, undefined>, Unit>;
}

/** A key that has this value without it, which neither editors nor the docs show as a default. */
export function withFallback<Written, Value, Unit extends string>(
  key: Key<Written, Value, Unit>,
  fallback: Written,
): Key<Written, Exclude<Value, undefined>, Unit> {
  return { ...key, fallback } as Key<Written, Exclude<Value, undefined>, Unit>;
}

/** A key that is undefined where it is not in the file. */
export function optional<Written, Value, Unit extends string>(
  key: Key<Written, Value, Unit>,
): Key<Written, Value | undefined, Unit> {
  return { ...key, isRequired: false, fallback: undefined };
}

export interface Place<In extends Scope = Scope> {
  readonly node: ConfigNode;
  readonly scope: In;
}

interface SectionRules<All extends Keys, Value, In extends Scope> extends About {
  /** Reports problems between keys. */
  check?(values: Draft<All>, place: Place<In>, written: Written<All>): void;
  /** Makes the value from those of all keys, if no required one is missing. By default, it is a map of them. */
  finish?(values: Values<All>, place: Place<In>, written: Written<All>): Value | undefined;
}

/** A map of keys. All its defaults apply where it is not in the file. */
export function section<const All extends Keys, Value = Values<All>, In extends Scope = Scope>(
  description: string,
  keys: All,
  rules: SectionRules<All, Value, In> = {},
): Key<Written<All>, Value> {
  const { check, finish, ...about } = rules;
  const read = (written: Written<All>, node: ConfigNode, scope: In) => {
    const place = { node, scope };
    const values = readAll(keys, written, node, scope);
    check?.(values, place, written);
    if (!isComplete(keys, values)) return undefined;
    return finish === undefined ? (values as Value) : finish(values, place, written);
  };
  const key = valueKey<Written<All>, Value, About, In>(schemaOf(keys), '', description, about, read);
  return { ...key, fallback: {}, keys } as Key<Written<All>, Value>;
}

/** A section that is off where it is not in the file. */
export function optionalSection<const All extends Keys, Value = Values<All>, In extends Scope = Scope>(
  description: string,
  keys: All,
  rules: SectionRules<All, Value, In> = {},
): Key<Written<All>, Value | undefined> {
  return optional(section(description, keys, rules));
}

/** Entries by name, in the order of the file. One with an error is left out. */
export function mapKey<Written, Value>(
  form: RegExp,
  error: string,
  description: string,
  entry: Key<Written, Value>,
  rules: About = {},
): Key<Readonly<Record<string, Written | undefined>>, readonly (Value & { readonly name: string })[]> {
  const schema = z.record(z.string().regex(form, { error }), entry.schema);
  const read = (all: Readonly<Record<string, Written | undefined>>, node: ConfigNode, scope: Scope) =>
    Object.entries(all).flatMap(([name, written]) => {
      const value = written === undefined ? undefined : entry.read(written, node.at(name), scope);
      return value === undefined ? [] : [{ ...value, name }];
    });
  return { ...valueKey(schema, '', description, rules, read), keys: { '*': entry } } as ReturnType<
    typeof mapKey<Written, Value>
  >;
}

export function schemaOf(keys: Keys) {
  const shape = Object.entries(keys).map(([name, { schema, isRequired }]) => [
    name,
    isRequired ? schema : schema.optional(),
  ]);
  return z.strictObject(Object.fromEntries(shape) as Record<string, z.ZodType>);
}

type Variants = Readonly<Record<string, Keys>>;
type KeysOf<All extends Variants> = All[keyof All] extends infer Each
  ? Each extends Keys
    ? Written<Each>
    : never
  : never;
type Merged<Union> = (Union extends unknown ? (each: Union) => void : never) extends (all: infer All) => void
  ? All
  : never;

/** A key that only some variants have. Those may require it, as the docs say. */
function asOption(key: Keys[string]): Keys[string] {
  const without = key.about.without ?? (key.isRequired ? 'required' : undefined);
  return { ...key, isRequired: false, about: { ...key.about, ...(without !== undefined && { without }) } };
}

/** A map whose first key names one of several sets of the others. */
export function variants<const Tag extends string, const All extends Variants>(
  tag: Tag,
  about: string,
  description: string,
  all: All,
): Key<
  { readonly [Name in Tag]?: (keyof All & string) | undefined } & Merged<KeysOf<All>>,
  { [Name in keyof All & string]: { readonly [Key in Tag]: Name } & Values<All[Name]> }[keyof All & string]
> {
  const words = Object.keys(all);
  const form = words.map((each) => `\`${each}\``).join(' ');
  const tagKey = required(valueKey(z.enum(words), form, about, {}, (written: string) => written));
  const others: Keys = Object.assign({}, ...Object.values(all));
  const keys = {
    [tag]: tagKey,
    ...Object.fromEntries(Object.entries(others).map(([name, key]) => [name, asOption(key)])),
  };
  const read = (written: Readonly<Record<string, unknown>>, node: ConfigNode, scope: Scope) => {
    const word = written[tag];
    const own = typeof word === 'string' ? all[word] : undefined;
    if (own === undefined) return undefined;
    for (const [name, { isRequired }] of Object.entries(own)) {
      if (isRequired && written[name] === undefined) node.missing(name, `${tag} "${word}" needs it`);
    }
    for (const name of Object.keys(written)) {
      if (name === tag || name in own || written[name] === undefined) continue;
      const owners = words.filter((each) => name in (all[each] ?? {}));
      const why = `has no meaning for ${tag} "${word}", only for ${owners.join(', ')}`;
      node.at(name).error(`${why}: remove it, or change the ${tag}`, 'key');
    }
    const values = readAll(own, written as never, node, scope);
    return isComplete(own, values) ? { [tag]: word, ...values } : undefined;
  };
  const key = valueKey(schemaOf(keys), '', description, {}, read);
  return { ...key, keys } as unknown as ReturnType<typeof variants<Tag, All>>;
}

/**
 * Reads all keys, in their order. Defaults apply to those that are not in the file.
 * @param earlier the values that apply in place of the defaults
 */
export function readAll<All extends Keys>(
  keys: All,
  written: Written<All>,
  node: ConfigNode,
  scope: Scope,
  earlier?: Draft<All>,
): Draft<All> {
  const entries = Object.entries(keys).map(([name, key]) => {
    const property = propertyOf(name, key);
    const usual = (earlier as Readonly<Record<string, unknown>> | undefined)?.[property];
    const one = written[name] ?? (earlier === undefined ? key.fallback : undefined);
    const value = one === undefined ? undefined : key.read(one as never, node.at(name), scope);
    return [property, value ?? usual];
  });
  return Object.fromEntries(entries) as Draft<All>;
}

function isComplete<All extends Keys>(keys: All, values: Draft<All>): values is Values<All> {
  const found = values as Readonly<Record<string, unknown>>;
  return Object.entries(keys).every(([name, key]) => !key.isRequired || found[propertyOf(name, key)] !== undefined);
}

/** The property of a key in the config. */
export function propertyOf(name: string, { unit }: { readonly unit: string }): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()) + unit;
}
