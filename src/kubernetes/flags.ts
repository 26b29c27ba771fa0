import { annotationOf } from './annotations.ts';
import { OPTION_NAMES, OPTION_TEXTS, type OptionName, type RawOptions } from './options.ts';

/** The injection options as flags for `parseArgs`. */
export const INJECTION_FLAGS = Object.fromEntries(
  OPTION_NAMES.map((name) => [name, { type: OPTION_TEXTS[name].placeholder === undefined ? 'boolean' : 'string' }]),
) as Record<OptionName, { type: 'boolean' | 'string' }>;

/** Reads the options from parsed flags. */
export function optionsFromFlags(values: Readonly<Record<string, unknown>>): RawOptions {
  const options: Partial<Record<OptionName, string>> = {};
  for (const name of OPTION_NAMES) {
    const value = values[name];
    if (value === true) options[name] = 'enabled';
    else if (typeof value === 'string') options[name] = value;
  }
  return options;
}

/** The part of `--help` that `inject` and `webhook` share. */
export function describeInjection(): string {
  const rows = OPTION_NAMES.map((name) => {
    const { placeholder, fallback, help } = OPTION_TEXTS[name];
    const shown = fallback === undefined || placeholder === undefined ? help : `${help} (${fallback})`;
    return [`--${name}${placeholder === undefined ? '' : ` ${placeholder}`}`, shown] as const;
  });
  const width = Math.max(...rows.map(([flag]) => flag.length));
  return `Injection options, with their defaults:
${rows.map(([flag, help]) => `  ${flag.padEnd(width)}  ${help}`).join('\n')}

Each option is also an annotation of the pod, which overrides the flag. "none" unsets an optional value.
${OPTION_NAMES.map((name) => `  ${annotationOf(name)}`).join('\n')}
(cambist.dev/proxy-env is "enabled" or "disabled".)
The label cambist.dev/inject: disabled on the pod or the workload opts out.
`;
}
