import type * as z from 'zod';
import { nearest } from './nearest.ts';

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
