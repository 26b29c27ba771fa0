import { nearest } from '../documents/nearest.ts';
import { STATUS_ANNOTATION } from './injection-status.ts';
import { getIn, isObject, type JsonObject, quote } from './json.ts';
import { OPTION_NAMES, OPTIONS, OptionError, type OptionName, type RawOptions } from './options.ts';
import type { PodLayout } from './pod-layout.ts';

const PREFIX = 'cambist.dev/';

/** Opts a pod in (`enabled`) or out (`disabled`). */
export const INJECT_LABEL = `${PREFIX}inject`;

/** Tells whether a pod opted in or out. */
type Consent = 'enabled' | 'disabled' | 'unset' | { readonly invalid: string };

/**
 * Reads the label of a pod, and the annotation of the same name. Opting out in either place wins.
 * @returns the consent, and the value of the label alone: the API server calls the webhook by label
 */
export function readConsent(template: JsonObject, { labels, annotations }: Pick<PodLayout, 'labels' | 'annotations'>) {
  const label = getIn(template, [...labels, INJECT_LABEL]);
  const annotation = getIn(template, [...annotations, INJECT_LABEL]);
  const consents = [label, annotation].map((value): Consent => {
    if (value === undefined || value === null) return 'unset';
    return value === 'enabled' || value === 'disabled' ? value : { invalid: String(value) };
  });
  const invalid = consents.find((consent) => typeof consent === 'object');
  const valid = (['disabled', 'enabled'] as const).find((value) => consents.includes(value));
  return { consent: invalid ?? valid ?? 'unset', label };
}

export const annotationOf = (name: OptionName): string => `${PREFIX}${name}`;

/**
 * Reads the options from a pod's annotations.
 * @throws {OptionError} for an unknown annotation with cambist's prefix, so that a typing error is not ignored
 */
export function optionsFromAnnotations(template: JsonObject, layout: PodLayout): RawOptions {
  const annotations = getIn(template, layout.annotations);
  const options: Partial<Record<OptionName, string>> = {};
  for (const [key, value] of Object.entries(isObject(annotations) ? annotations : {})) {
    if (!key.startsWith(PREFIX) || key === STATUS_ANNOTATION || key === INJECT_LABEL) continue;
    const written = key.slice(PREFIX.length);
    const name = OPTION_NAMES.find((candidate) => candidate === written);
    if (name === undefined) {
      const meant = nearest(written, OPTION_NAMES);
      const hint = meant === undefined ? 'see cambist inject --help' : `did you mean "${PREFIX}${meant}"?`;
      throw new OptionError(`unknown annotation ${quote(key)}: ${hint}`);
    }
    if (typeof value !== 'string') throw new OptionError(`annotation ${key} is not a string: put it in quotes`);
    options[name] = value;
  }
  return options;
}

export const INJECTION_FLAGS = Object.fromEntries(
  OPTION_NAMES.map((name) => [name, { type: OPTIONS[name].type }]),
) as Record<OptionName, { type: 'boolean' | 'string' }>;

export function optionsFromFlags(values: Readonly<Record<string, unknown>>): RawOptions {
  const options: Partial<Record<OptionName, string>> = {};
  for (const name of OPTION_NAMES) {
    const value = values[name];
    if (value === true) options[name] = 'enabled';
    else if (typeof value === 'string') options[name] = value;
  }
  return options;
}
