import { nearest } from '../config/nearest.ts';
import { getIn, isObject, type JsonObject } from './json.ts';
import { OPTION_NAMES, OptionError, type OptionName, type WrittenOptions } from './options.ts';
import type { PodLayout } from './pod-layout.ts';
import { quote } from './quote.ts';
import { STATUS_ANNOTATION } from './status.ts';

const PREFIX = 'cambist.dev/';

/** Opts a pod in (`enabled`) or out (`disabled`). */
export const INJECT_LABEL = `${PREFIX}inject`;

/** What the label of a pod says; the annotation of that name is understood, but the webhook is never asked for it. */
export type Consent = 'enabled' | 'disabled' | 'silent' | { readonly unknown: string };

export function consentOf(template: JsonObject, { labels, annotations }: Pick<PodLayout, 'labels' | 'annotations'>) {
  const label = getIn(template, [...labels, INJECT_LABEL]);
  const annotation = getIn(template, [...annotations, INJECT_LABEL]);
  const consents = [label, annotation].map((value): Consent => {
    if (value === undefined || value === null) return 'silent';
    return value === 'enabled' || value === 'disabled' ? value : { unknown: String(value) };
  });
  const unknown = consents.find((consent) => typeof consent === 'object');
  // Who opts out anywhere is out.
  const said = (['disabled', 'enabled'] as const).find((word) => consents.includes(word));
  return { consent: unknown ?? said ?? 'silent', label };
}

/** How an option is called among the annotations. */
export const annotationOf = (name: OptionName): string => `${PREFIX}${name}`;

/**
 * The options that a pod's annotations give.
 * @throws {OptionError} at an annotation of ours that no option has, so that a slip of the pen never passes for one
 */
export function annotatedOptions(template: JsonObject, layout: PodLayout): WrittenOptions {
  const annotations = getIn(template, layout.annotations);
  const options: Partial<Record<OptionName, string>> = {};
  for (const [key, value] of Object.entries(isObject(annotations) ? annotations : {})) {
    if (!key.startsWith(PREFIX) || key === STATUS_ANNOTATION || key === INJECT_LABEL) continue;
    const written = key.slice(PREFIX.length);
    const name = OPTION_NAMES.find((candidate) => candidate === written);
    if (name === undefined) throw new OptionError(unknownAnnotation(key, written));
    if (typeof value !== 'string') throw new OptionError(`annotation ${key} is no text: put it into quotes`);
    options[name] = value;
  }
  return options;
}

function unknownAnnotation(key: string, written: string): string {
  const meant = nearest(written, OPTION_NAMES);
  const hint =
    meant === undefined ? `there is ${OPTION_NAMES.map(annotationOf).join(', ')}` : `did you mean "${PREFIX}${meant}"?`;
  return `unknown annotation ${quote(key)}: ${hint}`;
}
