import { annotatedOptions, annotationOf, consentOf, INJECT_LABEL } from './annotations.ts';
import { getIn, isArray, isEmpty, isObject, type Json, type JsonObject, type Path, sameJson, setIn } from './json.ts';
import { toPointer } from './json-patch.ts';
import { collisions, falseSidecar, takenPorts, unsuitable } from './obstacles.ts';
import { type InjectionOptions, OptionError, parseOptions, type WrittenOptions } from './options.ts';
import { allContainers, type PodLayout } from './pod-layout.ts';
import { exceededLimits } from './pod-limits.ts';
import { collectionsOf, uninjectPod } from './pod-restoration.ts';
import { addProxyEnv } from './proxy-env.ts';
import { quote } from './quote.ts';
import { SIDECAR_NAME, sidecarContainer, sidecarVolumes } from './sidecar.ts';
import { type InjectionStatus, readStatus, STATUS_ANNOTATION, writeStatus } from './status.ts';

export interface InjectionRequest {
  /** What the flags said; an annotation of the pod itself goes before. */
  readonly written: WrittenOptions;
  readonly layout: PodLayout;
  /** The version of this program, for the status. */
  readonly version: string;
  /** Only a pod that bears the label is changed. */
  readonly optIn: boolean;
  /** A sidecar that is there is brought up to date; otherwise it stays as it is. */
  readonly update: boolean;
}

export interface Injection {
  /**
   * `unchanged` is injected already, `skipped` was not meant, `refused` cannot be done as asked. With all but the first the
   * template is the one that was given.
   */
  readonly outcome: 'injected' | 'unchanged' | 'skipped' | 'refused';
  readonly template: JsonObject;
  /** Sentences for a person. */
  readonly reasons: readonly string[];
}

/** What a pod has to end unless it says otherwise. */
const DEFAULT_GRACE_SECONDS = 30;

/** kagent lets nobody change its pods' time. */
const KAGENT_GRACE_SECONDS = DEFAULT_GRACE_SECONDS;

/** Puts cambist into a pod, or into what one is made from. Pure: the template that is given stays as it is. */
export function injectPod(template: JsonObject, request: InjectionRequest): Injection {
  const { layout, optIn, update } = request;
  const because = (outcome: 'unchanged' | 'skipped' | 'refused', ...reasons: string[]): Injection => {
    return { outcome, template, reasons };
  };
  const { consent, label } = consentOf(template, layout);
  if (typeof consent === 'object') {
    return because('refused', `${INJECT_LABEL} is ${quote(consent.unknown)}: write "enabled" or "disabled"`);
  }
  if (consent === 'disabled') return because('skipped', `opted out: ${INJECT_LABEL} is "disabled"`);
  if (optIn && label !== 'enabled') return because('skipped', `not opted in: it has no label ${INJECT_LABEL}: enabled`);
  const unfit = unsuitable(template);
  if (unfit.length > 0) return because(label === 'enabled' ? 'refused' : 'skipped', ...unfit);
  const status = readStatus(template, layout);
  if (status === 'unreadable') {
    return because('refused', `annotation ${STATUS_ANNOTATION} is not one of cambist's: take it away`);
  }
  const exceeded = exceededLimits(template, layout, status !== undefined);
  if (exceeded.length > 0) return because('refused', ...exceeded);
  let options: InjectionOptions;
  try {
    options = optionsFor(template, request);
  } catch (error) {
    if (error instanceof OptionError) return because('refused', error.message);
    throw error;
  }
  if (status !== undefined && !update && hasSidecar(template, layout))
    return completed(template, status, options, request);
  const original = status === undefined ? template : uninjectPod(template, layout).template;
  const obstacles = collisions(original, options, layout);
  if (obstacles.length > 0) return because('refused', ...obstacles);
  const { result, notes } = withSidecar(original, template, options, request);
  return sameJson(result, template)
    ? because('unchanged', 'injected already')
    : { outcome: 'injected', template: result, reasons: notes };
}

function optionsFor(template: JsonObject, { written, layout }: InjectionRequest): InjectionOptions {
  const annotated = annotatedOptions(template, layout);
  const options = parseOptions({ ...written, ...annotated }, (name) =>
    name in annotated ? `annotation ${annotationOf(name)}` : `--${name}`,
  );
  return layout.initContainers === undefined ? { ...options, sidecar: 'classic' } : options;
}

function hasSidecar(template: JsonObject, layout: PodLayout): boolean {
  return allContainers(template, layout).some(({ name }) => name === SIDECAR_NAME);
}

/** @param current what is there now: whatever of ours is in it keeps its place */
function withSidecar(original: JsonObject, current: JsonObject, options: InjectionOptions, request: InjectionRequest) {
  const { layout, version } = request;
  const grace = gracePeriod(original, options, layout);
  const containers = options.sidecar === 'native' ? layout.initContainers : undefined;
  const path = containers ?? layout.containers;
  const container = sidecarContainer(options, grace?.after ?? graceOf(original, layout));
  // First among the init containers, since those may need it; last among the others, where the first is the main one.
  const proxied = options.proxyEnv ? addProxyEnv(original, layout, options.port) : undefined;
  const where = containers === undefined ? 'last' : 'first';
  let result = insert(proxied?.template ?? original, path, [container], current, where);
  result = insert(result, layout.volumes, sidecarVolumes(options), current, 'last');
  if (grace !== undefined && layout.gracePeriod !== undefined) result = setIn(result, layout.gracePeriod, grace.after);
  const set = proxied?.set ?? {};
  const status: InjectionStatus = {
    version,
    port: options.port,
    adminPort: options.adminPort,
    ...(grace === undefined ? {} : { gracePeriod: grace }),
    ...(Object.keys(set).length === 0 ? {} : { proxyEnv: set }),
  };
  const empty = { ...proxied?.empty, ...emptied(original, writeStatus(result, layout, status), layout) };
  const whole = Object.keys(empty).length === 0 ? status : { ...status, empty };
  return { result: writeStatus(result, layout, whole), notes: proxied?.notes ?? [] };
}

/**
 * A webhook sees its own pods again, when others have changed them. Containers that they added want the proxy's variables as
 * well, and may have taken a port of cambist's; its sidecar stays as they left it.
 */
function completed(
  template: JsonObject,
  status: InjectionStatus,
  { proxyEnv }: InjectionOptions,
  { layout }: InjectionRequest,
): Injection {
  const obstacles = [...falseSidecar(template, layout), ...takenPorts(template, status, layout)];
  if (obstacles.length > 0) return { outcome: 'refused', template, reasons: obstacles };
  const { template: proxied, set, empty } = addProxyEnv(template, layout, status.port);
  if (!proxyEnv || Object.keys(set).length === 0) {
    return { outcome: 'unchanged', template, reasons: ['injected already: left as it is'] };
  }
  const both = { ...status.empty, ...empty };
  const more = {
    ...status,
    proxyEnv: { ...status.proxyEnv, ...set },
    ...(Object.keys(both).length === 0 ? {} : { empty: both }),
  };
  return { outcome: 'injected', template: writeStatus(proxied, layout, more), reasons: [] };
}

function gracePeriod(template: JsonObject, options: InjectionOptions, layout: PodLayout) {
  if (layout.gracePeriod === undefined) return undefined;
  const before = getIn(template, layout.gracePeriod);
  const after = options.terminationGracePeriodSeconds;
  if (typeof before === 'number') return before < after ? { before, after } : undefined;
  return after > DEFAULT_GRACE_SECONDS ? { before: null, after } : undefined;
}

function graceOf(template: JsonObject, layout: PodLayout): number {
  const own = layout.gracePeriod === undefined ? KAGENT_GRACE_SECONDS : getIn(template, layout.gracePeriod);
  return typeof own === 'number' ? own : DEFAULT_GRACE_SECONDS;
}

/** Puts items into a list: where the first of their names stands already, else first or last. */
function insert(
  template: JsonObject,
  path: Path,
  items: readonly JsonObject[],
  current: JsonObject,
  otherwise: 'first' | 'last',
): JsonObject {
  const list = getIn(template, path);
  const others = isArray(list) ? list : [];
  const there = getIn(current, path);
  const found = isArray(there) ? there.findIndex((item) => isObject(item) && item.name === items[0]?.name) : -1;
  const place = found < 0 ? (otherwise === 'first' ? 0 : others.length) : Math.min(found, others.length);
  return setIn(template, path, [...others.slice(0, place), ...items, ...others.slice(place)]);
}

/** The lists and maps that were empty, or null, before the injection filled them: uninjecting restores them. */
function emptied(before: JsonObject, after: JsonObject, layout: PodLayout): Record<string, Json> {
  const filled = collectionsOf(layout).flatMap((path): [string, Json][] => {
    const value = getIn(before, path);
    if (value === undefined || !isEmpty(value) || sameJson(value, getIn(after, path))) return [];
    return [[toPointer(path), value]];
  });
  return Object.fromEntries(filled);
}
