import * as z from 'zod';
import { getIn, isEmpty, type Json, type JsonObject, sameJson, setIn, textOf } from './json.ts';
import { INTERCEPT_WAYS } from './options.ts';
import type { PodLayout } from './pod-layout.ts';

/**
 * Records an injection, as JSON: the version, the ports, and the values to restore. The author of a pod can write this annotation
 * as well, so it proves nothing.
 */
export const STATUS_ANNOTATION = 'cambist.dev/status';

/** Null, or a list or map without entries. Any other value could add something to a pod. */
const EMPTY = z.custom<Json>((value) => isEmpty(value as Json));

/** The places where a container names a port that something connects to. */
export const PORT_PATHS: readonly (readonly string[])[] = [
  ...['startupProbe', 'readinessProbe', 'livenessProbe'].flatMap((probe) =>
    ['httpGet', 'tcpSocket', 'grpc'].map((kind) => [probe, kind, 'port']),
  ),
  ...['postStart', 'preStop'].flatMap((hook) =>
    ['httpGet', 'tcpSocket'].map((kind) => ['lifecycle', hook, kind, 'port']),
  ),
];

/** One of these. Any other path could change something else in a container. */
const PORT_PATH = z
  .array(z.string())
  .readonly()
  .refine((path) => PORT_PATHS.some((one) => sameJson(one, path)));

/** Most empty values: two for each container of a pod at the limit, and a few of the pod itself. */
const MAX_EMPTY = 1100;

const STATUS = z.strictObject({
  version: z.string(),
  port: z.number(),
  adminPort: z.number(),
  /** The pod's grace period before and after; null if it had none. */
  gracePeriod: z.strictObject({ before: z.number().nullable(), after: z.number() }).optional(),
  /** The names of the variables that were set, by container. */
  env: z.record(z.string(), z.array(z.string())).optional(),
  /** The options of Java in these variables, and the containers whose own variable got them added. */
  java: z.strictObject({ options: z.string(), merged: z.array(z.string()).readonly() }).optional(),
  intercept: z
    .strictObject({
      way: z.enum(INTERCEPT_WAYS),
      /** The ports that cambist listens on beside those above. */
      ports: z.array(z.number()).readonly(),
      /** The names that were added to `hostAliases`; into an entry that the pod had, unless it is new. */
      aliases: z
        .array(z.strictObject({ ip: z.string(), hostnames: z.array(z.string()), isNew: z.boolean() }))
        .readonly()
        .optional(),
      /** The value of `net.ipv4.ip_unprivileged_port_start`, where it was added. */
      sysctl: z.string().optional(),
    })
    .optional(),
  /** The move of the agent to another port, and the values that it replaced. */
  inbound: z
    .strictObject({
      container: z.string(),
      inbound: z.number(),
      agent: z.number(),
      /** The value of the variable PORT; null if it was not set. */
      portBefore: z.string().nullable(),
      /** The ports of probes and hooks, by their path in the container. */
      probes: z.array(z.strictObject({ path: PORT_PATH, before: z.union([z.string(), z.number()]) })).readonly(),
    })
    .optional(),
  /** The values that were empty or null before, and that a removal of the injection alone would not give back. */
  empty: z
    .array(
      z.strictObject({
        path: z
          .array(z.union([z.string(), z.number()]))
          .max(8)
          .readonly(),
        value: EMPTY,
      }),
    )
    .max(MAX_EMPTY)
    .readonly()
    .optional(),
});

export type InjectionStatus = z.infer<typeof STATUS>;

export type MoveRecord = NonNullable<InjectionStatus['inbound']>;

export const INVALID_STATUS = `annotation ${STATUS_ANNOTATION} is invalid: remove it`;

/** @returns undefined for a pod without a status, `invalid` for a status that cambist did not write */
export function readStatus(template: JsonObject, layout: PodLayout): InjectionStatus | 'invalid' | undefined {
  const text = getIn(template, [...layout.annotations, STATUS_ANNOTATION]);
  if (text === undefined) return undefined;
  try {
    return STATUS.parse(JSON.parse(textOf(text) ?? ''));
  } catch {
    return 'invalid';
  }
}

export function writeStatus(template: JsonObject, layout: PodLayout, status: InjectionStatus): JsonObject {
  return setIn(template, [...layout.annotations, STATUS_ANNOTATION], JSON.stringify(status));
}
