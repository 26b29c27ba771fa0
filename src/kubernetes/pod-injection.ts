import { type Move, moveAgent } from './agent-port.ts';
import { annotationOf, INJECT_LABEL, optionsFromAnnotations, readConsent } from './annotations.ts';
import { conflicts, invalidSidecar, portConflicts, unsupported } from './conflicts.ts';
import { getIn, isArray, isEmpty, isObject, type Json, type JsonObject, type Path, sameJson, setIn } from './json.ts';
import { toPointer } from './json-patch.ts';
import { type InjectionOptions, OptionError, parseOptions, type RawOptions } from './options.ts';
import { allContainers, type PodLayout } from './pod-layout.ts';
import { exceededLimits } from './pod-limits.ts';
import { collectionsOf, uninjectPod } from './pod-restoration.ts';
import { addProxyEnv } from './proxy-env.ts';
import { quote } from './quote.ts';
import { SIDECAR_NAME, sidecarContainer, sidecarVolumes } from './sidecar.ts';
import { INVALID_STATUS, type InjectionStatus, readStatus, writeStatus } from './status.ts';

export interface InjectionRequest {
  /** The options of the flags. An annotation of the pod overrides its flag. */
  readonly flags: RawOptions;
  readonly layout: PodLayout;
  /** The version of cambist, for the status. */
  readonly version: string;
  /** Injects only pods with the label. */
  readonly optIn: boolean;
  /** Updates an existing sidecar; otherwise it stays unchanged. */
  readonly update: boolean;
  /** Tells why the config does not suit the pod. */
  readonly check?: (options: InjectionOptions) => readonly string[];
}

export interface Injection {
  /** `unchanged`: already injected. `skipped`: not to be injected. `refused`: cannot be injected. */
  readonly outcome: 'injected' | 'unchanged' | 'skipped' | 'refused';
  /** The given template, unless the outcome is `injected`. */
  readonly template: JsonObject;
  readonly reasons: readonly string[];
  /** The ConfigMap that the pod mounts, where the config was checked. */
  readonly configMap?: string;
}

/** The grace period of Kubernetes for a pod without its own. */
const DEFAULT_GRACE_SECONDS = 30;

/** The grace period of kagent's pods, which cannot be set. */
const KAGENT_GRACE_SECONDS = DEFAULT_GRACE_SECONDS;

/** Injects cambist into a pod or a pod template. The given template is not changed. */
export function injectPod(template: JsonObject, request: InjectionRequest): Injection {
  const { layout, optIn, update, check } = request;
  const leave = (outcome: 'unchanged' | 'skipped' | 'refused', ...reasons: string[]): Injection => {
    return { outcome, template, reasons };
  };
  const { consent, label } = readConsent(template, layout);
  if (typeof consent === 'object') {
    return leave('refused', `${INJECT_LABEL} is ${quote(consent.invalid)}: must be "enabled" or "disabled"`);
  }
  if (consent === 'disabled') return leave('skipped', `opted out: ${INJECT_LABEL} is "disabled"`);
  if (optIn && label !== 'enabled') return leave('skipped', `not opted in: no label ${INJECT_LABEL}: enabled`);
  const problems = unsupported(template);
  if (problems.length > 0) return leave(label === 'enabled' ? 'refused' : 'skipped', ...problems);
  const status = readStatus(template, layout);
  if (status === 'invalid') return leave('refused', INVALID_STATUS);
  const exceeded = exceededLimits(template, layout, status !== undefined);
  if (exceeded.length > 0) return leave('refused', ...exceeded);
  let options: InjectionOptions;
  try {
    options = optionsFor(template, request);
  } catch (error) {
    if (error instanceof OptionError) return leave('refused', error.message);
    throw error;
  }
  const unsuited = check?.(options) ?? [];
  if (unsuited.length > 0) return leave('refused', ...unsuited);
  if (status !== undefined && !update && hasSidecar(template, layout)) {
    return completeInjection(template, status, options, layout);
  }
  const original = status === undefined ? template : uninjectPod(template, layout).template;
  const found = conflicts(original, options, layout);
  if (found.length > 0) return leave('refused', ...found);
  const move = options.inbound && moveAgent(original, layout, options.inbound);
  if (isRefusal(move)) return leave('refused', ...move);
  const { result, notes } = addSidecar(original, template, options, request, move);
  const mounted = check === undefined ? {} : { configMap: options.configMap };
  return sameJson(result, template)
    ? { ...leave('unchanged', 'already injected'), ...mounted }
    : { outcome: 'injected', template: result, reasons: notes, ...mounted };
}

function isRefusal(move: Move | readonly string[] | undefined): move is readonly string[] {
  return isArray(move as Json | undefined);
}

function optionsFor(template: JsonObject, { flags, layout }: InjectionRequest): InjectionOptions {
  const annotated = optionsFromAnnotations(template, layout);
  const options = parseOptions({ ...flags, ...annotated }, (name) =>
    name in annotated ? `annotation ${annotationOf(name)}` : `--${name}`,
  );
  return layout.initContainers === undefined ? { ...options, sidecar: 'classic' } : options;
}

function hasSidecar(template: JsonObject, layout: PodLayout): boolean {
  return allContainers(template, layout).some(({ name }) => name === SIDECAR_NAME);
}

/** @param current the pod as it is now: a sidecar or volume that it already has keeps its position */
function addSidecar(
  original: JsonObject,
  current: JsonObject,
  options: InjectionOptions,
  { layout, version }: InjectionRequest,
  move: Move | undefined,
) {
  const grace = gracePeriod(original, options, layout);
  const initContainers = options.sidecar === 'native' ? layout.initContainers : undefined;
  const container = sidecarContainer(options, grace?.after ?? graceOf(original, layout));
  const moved = move?.template ?? original;
  const proxied = options.proxyEnv ? addProxyEnv(moved, layout, options.port) : undefined;
  let result = proxied?.template ?? moved;
  // First among the init containers, because those may call cambist; last among the containers, where the first is the main one.
  result =
    initContainers === undefined
      ? insert(result, layout.containers, [container], current, 'last')
      : insert(result, initContainers, [container], current, 'first');
  result = insert(result, layout.volumes, sidecarVolumes(options), current, 'last');
  if (grace !== undefined && layout.gracePeriod !== undefined) result = setIn(result, layout.gracePeriod, grace.after);
  const set = proxied?.set ?? {};
  const status: InjectionStatus = {
    version,
    port: options.port,
    adminPort: options.adminPort,
    ...(grace === undefined ? {} : { gracePeriod: grace }),
    ...(Object.keys(set).length === 0 ? {} : { proxyEnv: set }),
    ...(move === undefined ? {} : { inbound: move.record }),
  };
  const empty = { ...proxied?.empty, ...formerlyEmpty(original, writeStatus(result, layout, status), layout) };
  return {
    result: writeStatus(result, layout, withEmpty(status, empty)),
    notes: [...(move?.notes ?? []), ...(proxied?.notes ?? [])],
  };
}

/**
 * Completes a pod that the webhook injected and sees again, because other webhooks have changed it since. New containers get
 * the proxy variables, and must not use cambist's ports. The sidecar stays as the other webhooks left it.
 */
function completeInjection(
  template: JsonObject,
  status: InjectionStatus,
  { proxyEnv }: InjectionOptions,
  layout: PodLayout,
): Injection {
  const problems = [...invalidSidecar(template, layout), ...portConflicts(template, status, layout)];
  if (problems.length > 0) return { outcome: 'refused', template, reasons: problems };
  const { template: proxied, set, empty } = addProxyEnv(template, layout, status.port);
  if (!proxyEnv || Object.keys(set).length === 0) {
    return { outcome: 'unchanged', template, reasons: ['already injected: left unchanged'] };
  }
  const completed = withEmpty({ ...status, proxyEnv: { ...status.proxyEnv, ...set } }, { ...status.empty, ...empty });
  return { outcome: 'injected', template: writeStatus(proxied, layout, completed), reasons: [] };
}

function withEmpty(status: InjectionStatus, empty: Readonly<Record<string, Json>>): InjectionStatus {
  return Object.keys(empty).length === 0 ? status : { ...status, empty };
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

/** Inserts items into a list: at the position of the first of them in `current`, otherwise first or last. */
function insert(
  template: JsonObject,
  path: Path,
  items: readonly JsonObject[],
  current: JsonObject,
  otherwise: 'first' | 'last',
): JsonObject {
  const list = getIn(template, path);
  const others = isArray(list) ? list : [];
  const existing = getIn(current, path);
  const found = isArray(existing) ? existing.findIndex((item) => isObject(item) && item.name === items[0]?.name) : -1;
  const position = found < 0 ? (otherwise === 'first' ? 0 : others.length) : Math.min(found, others.length);
  return setIn(template, path, [...others.slice(0, position), ...items, ...others.slice(position)]);
}

/** The lists and maps that were empty, or null, before the injection filled them. */
function formerlyEmpty(before: JsonObject, after: JsonObject, layout: PodLayout): Record<string, Json> {
  const filled = collectionsOf(layout).flatMap((path): [string, Json][] => {
    const value = getIn(before, path);
    if (value === undefined || !isEmpty(value) || sameJson(value, getIn(after, path))) return [];
    return [[toPointer(path), value]];
  });
  return Object.fromEntries(filled);
}
