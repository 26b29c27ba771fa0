import * as z from 'zod';
import { getIn, type Json, type JsonObject, type Path, setIn, textOf } from './json.ts';
import { toPointer } from './json-patch.ts';
import type { PodLayout } from './pod-layout.ts';

/**
 * Says that a pod has been injected, by which version and for which ports, and what was there before: as JSON in an annotation.
 * Whoever writes the pod can write it as well, so that it proves nothing.
 */
export const STATUS_ANNOTATION = 'cambist.dev/status';

const STATUS = z.strictObject({
  version: z.string(),
  /** The ports of `listen` and `admin` that it was injected for. */
  port: z.number(),
  adminPort: z.number(),
  /** The pod's time to end, before and after; null where it had none of its own. */
  gracePeriod: z.strictObject({ before: z.number().nullable(), after: z.number() }).optional(),
  /** The variables that were set, by container. */
  proxyEnv: z.record(z.string(), z.array(z.string())).optional(),
  /** What stood, empty or null, where there is something now; by JSON Pointer. */
  empty: z.record(z.string(), z.custom<Json>()).optional(),
});

export type InjectionStatus = z.infer<typeof STATUS>;

/** The status of a pod: undefined where it has none, `unreadable` where it is not one of ours. */
export function readStatus(template: JsonObject, layout: PodLayout): InjectionStatus | 'unreadable' | undefined {
  const text = getIn(template, [...layout.annotations, STATUS_ANNOTATION]);
  if (text === undefined) return undefined;
  try {
    return STATUS.parse(JSON.parse(textOf(text) ?? ''));
  } catch {
    return 'unreadable';
  }
}

export function writeStatus(template: JsonObject, layout: PodLayout, status: InjectionStatus): JsonObject {
  return setIn(template, [...layout.annotations, STATUS_ANNOTATION], JSON.stringify(status));
}

/** The empty list, map or null that was at a path before the injection; undefined where there was nothing. */
export function emptyBefore(empty: NonNullable<InjectionStatus['empty']>, path: Path): Json | undefined {
  const pointer = toPointer(path);
  return Object.hasOwn(empty, pointer) ? empty[pointer] : undefined;
}
