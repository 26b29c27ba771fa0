import type { ExpectedAudience } from './config.ts';
import type { Place } from './place.ts';
import { toList, type Written } from './targets.ts';

/** `expect_audience` as the schema admits it. */
export type WrittenExpectAudience = Written | { only?: Written };

export function readExpectAudience(written: WrittenExpectAudience, place: Place): ExpectedAudience | undefined {
  if (typeof written !== 'object' || Array.isArray(written)) return readAudiences(written, place);
  const only = readList(written.only, place.at('only'));
  return only && { only };
}

/** Audiences of which a token must have one, or `any`. */
export function readAudiences(written: Written, place: Place): readonly string[] | 'any' | undefined {
  return written === 'any' ? 'any' : readList(written, place);
}

function readList(written: Written, place: Place): readonly string[] | undefined {
  const list = toList(written);
  if (list?.includes('any')) place.error('contains "any": to turn the check off, write the single value any');
  if (list?.length === 0) place.error('must not be empty: name an audience, or write any to turn the check off');
  return list;
}
