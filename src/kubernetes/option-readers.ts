import { OPTION_TEXTS, OptionError, type OptionName, type RawOptions } from './options.ts';
import { quantityOf } from './quantity.ts';
import { quote } from './quote.ts';

/** Functions that read an option by name, with its default. Each throws an `OptionError` that names the option if its value is invalid. */
export interface OptionReaders {
  /** As it was given. */
  text(name: OptionName): string | undefined;
  /** Undefined where the option is `none`, or was not given and has no default. */
  optional<T>(name: OptionName, read: (name: OptionName) => T): T | undefined;
  /** @param wanted what is valid, for the message */
  match(name: OptionName, pattern: RegExp, wanted: string): string;
  oneOf<T extends string>(name: OptionName, allowed: readonly T[]): T;
  port(name: OptionName): number;
  quantity(name: OptionName): string;
  objectName(name: OptionName): string;
  /** @param wanted the image that is missing, for the message */
  image(name: OptionName, wanted: string): string;
  /** Throws the error. @param value shown in place of the option's own value */
  fail(name: OptionName, wanted: string, value?: string): never;
}

/** A DNS subdomain, the form of most object names. */
const OBJECT_NAME = /^(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;

/** @param nameOf returns the name of an option at its source, for messages */
export function optionReaders(raw: RawOptions, nameOf: (name: OptionName) => string): OptionReaders {
  const text = (name: OptionName): string | undefined => raw[name] ?? OPTION_TEXTS[name].fallback;
  const fail = (name: OptionName, wanted: string, value = text(name) ?? ''): never => {
    throw new OptionError(`${nameOf(name)} is ${quote(value)}: ${wanted}`);
  };
  const match = (name: OptionName, pattern: RegExp, wanted: string): string => {
    const value = text(name) ?? '';
    return pattern.test(value) ? value : fail(name, wanted);
  };
  return {
    text,
    fail,
    match,
    optional(name, read) {
      const value = text(name);
      return value === undefined || value === 'none' ? undefined : read(name);
    },
    oneOf: (name, allowed) =>
      allowed.find((candidate) => candidate === text(name)) ?? fail(name, `must be one of ${allowed.join(', ')}`),
    port(name) {
      const value = Number(match(name, /^[1-9]\d{0,4}$/, 'must be a port from 1 to 65535'));
      return value <= 65535 ? value : fail(name, 'must be a port from 1 to 65535');
    },
    quantity(name) {
      const value = text(name) ?? '';
      return quantityOf(value) === undefined ? fail(name, 'must be a quantity such as 50m or 128Mi') : value;
    },
    objectName: (name) => match(name, OBJECT_NAME, 'must be the name of a Kubernetes object'),
    image(name, wanted) {
      if (raw[name] === undefined) throw new OptionError(`${nameOf(name)} is missing: set it to ${wanted}`);
      return match(name, /^[a-z0-9][\w.:/@-]{0,511}$/i, 'must be the name of an image');
    },
  };
}
