import { addAgentEnv, agentEnv, joinEnvRecords } from './agent-env.ts';
import { type Move, moveAgent } from './agent-port.ts';
import { conflicts, exceededLimits, invalidSidecar, portConflicts, unsupported } from './conflicts.ts';
import { INVALID_STATUS, type InjectionStatus, readStatus, writeStatus } from './injection-status.ts';
import { applyIntercept, type InterceptPlan, interceptNotes, planIntercept } from './intercept-plan.ts';
import { getIn, isEmpty, itemsOf, type Json, type JsonObject, type Path, quote, sameJson, setIn } from './json.ts';
import { toPointer } from './json-patch.ts';
import { annotationOf, INJECT_LABEL, optionsFromAnnotations, readConsent } from './option-sources.ts';
import { type InjectionOptions, OPTIONS, OptionError, parseOptions, type RawOptions } from './options.ts';
import type { PodConfig } from './pod-config.ts';
import { allContainers, OWN_CONTAINERS, type PodLayout, SIDECAR_NAME } from './pod-layout.ts';
import { collectionsOf, uninjectPod } from './pod-restoration.ts';
import { addTrustMounts, sidecarContainer, sidecarVolumes, VOLUME_NAMES } from './sidecar.ts';

export interface InjectionRequest {
  /** The options of the flags. An annotation of the pod overrides its flag. */
  readonly flags: RawOptions;
  readonly layout: PodLayout;
  readonly version: string;
  /** Injects only pods with the label. */
  readonly optIn: boolean;
  /** Updates an existing sidecar; otherwise it stays unchanged. */
  readonly update: boolean;
  /** The config in a ConfigMap, by its name. Undefined where it is unknown. */
  readonly configOf?: (configMap: string) => PodConfig | undefined;
}

export interface Injection {
  /** `unchanged`: already injected. `skipped`: not to be injected. `refused`: cannot be injected. */
  readonly outcome: 'injected' | 'unchanged' | 'skipped' | 'refused';
  /** The given template, unless the outcome is `injected`. */
  readonly template: JsonObject;
  readonly reasons: readonly string[];
  /** The ConfigMap that the pod mounts, where its config is known. */
  readonly configMap?: string;
}

/** The grace period of Kubernetes for a pod without its own. */
const DEFAULT_GRACE_SECONDS = 30;

/** Injects cambist into a pod or a pod template. The given template is not changed. */
export function injectPod(template: JsonObject, request: InjectionRequest): Injection {
  const { layout, optIn, update } = request;
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
  let config: PodConfig | undefined;
  try {
    ({ options, config } = optionsFor(template, request));
  } catch (error) {
    if (error instanceof OptionError) return leave('refused', error.message);
    throw error;
  }
  const unsuited = config?.check(options) ?? [];
  if (unsuited.length > 0) return leave('refused', ...unsuited);
  if (status !== undefined && !update && hasSidecar(template, layout)) {
    return completeInjection(template, status, options, layout);
  }
  const original = status === undefined ? template : uninjectPod(template, layout).template;
  const plan = planIntercept(options, config?.intercept);
  const found = conflicts(original, options, layout, plan);
  if (found.length > 0) return leave('refused', ...found);
  const move = options.inbound && moveAgent(original, layout, options.inbound);
  if (move !== undefined && !('record' in move)) return leave('refused', ...move);
  const { result, notes: told } = addSidecar(original, template, { options, plan, move }, request);
  const limits = plan === undefined ? [] : interceptNotes(original, layout, plan, options.sidecar, config?.intercept);
  const notes = [...told, ...limits];
  const mounted = config === undefined ? {} : { configMap: options.configMap };
  return sameJson(result, template)
    ? { ...leave('unchanged', 'already injected'), ...mounted }
    : { outcome: 'injected', template: result, reasons: notes, ...mounted };
}

function optionsFor(template: JsonObject, { flags, layout, configOf }: InjectionRequest) {
  const annotated = optionsFromAnnotations(template, layout);
  const configMap = { ...flags, ...annotated }['config-map'] ?? OPTIONS['config-map'].fallback;
  const config = configOf?.(configMap);
  const options = parseOptions({ ...config?.ports, ...flags, ...annotated }, (name) =>
    name in annotated ? `annotation ${annotationOf(name)}` : `--${name}`,
  );
  const isNative = layout.initContainers !== undefined;
  return { config, options: isNative ? options : { ...options, sidecar: 'classic' as const } };
}

function hasSidecar(template: JsonObject, layout: PodLayout): boolean {
  return allContainers(template, layout).some(({ name }) => name === SIDECAR_NAME);
}

/** @param current the pod as it is now: a sidecar or volume that it already has keeps its position */
function addSidecar(
  original: JsonObject,
  current: JsonObject,
  { options, plan, move }: { options: InjectionOptions; plan: InterceptPlan | undefined; move: Move | undefined },
  { layout, version }: InjectionRequest,
) {
  const grace = gracePeriod(original, options, layout);
  const container = sidecarContainer(options, grace?.after ?? graceOf(original, layout));
  const isNative = options.sidecar === 'native' && layout.initContainers !== undefined;
  // First among the init containers, because those may call cambist; last among the containers, where the first is the main one.
  const early = [...(plan?.redirect === undefined ? [] : [plan.redirect]), ...(isNative ? [container] : [])];
  let result = move?.template ?? original;
  if (early.length > 0 && layout.initContainers !== undefined) {
    // An init container before the redirection bypasses it, so the redirection is always the first.
    result = insert(result, layout.initContainers, early, plan?.redirect === undefined ? current : {}, 'first');
  }
  if (!isNative) result = insert(result, layout.containers, [container], current, 'last');
  result = insert(result, layout.volumes, sidecarVolumes(options), current, 'last');
  if (grace !== undefined && layout.gracePeriod !== undefined) result = setIn(result, layout.gracePeriod, grace.after);
  const applied = plan === undefined ? undefined : applyIntercept(result, layout, plan);
  const prepared = prepareAgent(applied?.template ?? result, options, layout);
  const status: InjectionStatus = {
    version,
    port: options.port,
    adminPort: options.adminPort,
    ...(grace === undefined ? {} : { gracePeriod: grace }),
    ...prepared.record,
    ...(applied === undefined ? {} : { intercept: applied.record }),
    ...(move === undefined ? {} : { inbound: move.record }),
  };
  const after = writeStatus(prepared.template, layout, status);
  const paths = [...collectionsOf(layout), ...(layout.gracePeriod === undefined ? [] : [layout.gracePeriod])];
  const empty = { ...prepared.empty, ...formerlyEmpty(paths, original, after) };
  return {
    result: writeStatus(prepared.template, layout, withEmpty(status, empty)),
    notes: [...(move?.notes ?? []), ...prepared.notes],
  };
}

/** Gives the agent's containers their variables, and the trust folder. Those that have them already stay unchanged. */
function prepareAgent(template: JsonObject, options: InjectionOptions, layout: PodLayout) {
  const { template: set, record, notes } = addAgentEnv(template, layout, agentEnv(options));
  const result = options.intercept === undefined ? set : addTrustMounts(set, layout);
  const paths: Path[] = [];
  for (const key of ['env', 'volumeMounts'] as const) {
    layout.changeContainers(template, key, (_container, list, path) => {
      paths.push(path);
      return list;
    });
  }
  return { template: result, record, notes, empty: formerlyEmpty(paths, template, result) };
}

/**
 * Completes a pod that the webhook injected and sees again, because other webhooks have changed it since. New containers get
 * their variables and the trust folder, and must not use cambist's ports. The sidecar stays as the other webhooks left it.
 */
function completeInjection(
  template: JsonObject,
  status: InjectionStatus,
  options: InjectionOptions,
  layout: PodLayout,
): Injection {
  const problems = [
    ...invalidSidecar(template, layout),
    ...portConflicts(template, status, layout, status.intercept?.ports ?? []),
  ];
  if (problems.length > 0) return { outcome: 'refused', template, reasons: problems };
  const intercept = status.intercept === undefined ? undefined : options.intercept;
  const prepared = prepareAgent(template, { ...options, port: status.port, intercept }, layout);
  if (prepared.template === template) {
    return { outcome: 'unchanged', template, reasons: ['already injected: left unchanged'] };
  }
  const completed = withEmpty(
    { ...status, ...joinEnvRecords(status, prepared.record) },
    { ...status.empty, ...prepared.empty },
  );
  return { outcome: 'injected', template: writeStatus(prepared.template, layout, completed), reasons: [] };
}

function withEmpty(status: InjectionStatus, empty: Readonly<Record<string, Json>>): InjectionStatus {
  return Object.keys(empty).length === 0 ? status : { ...status, empty };
}

function gracePeriod(template: JsonObject, options: InjectionOptions, layout: PodLayout) {
  if (layout.gracePeriod === undefined) return undefined;
  const before = getIn(template, layout.gracePeriod);
  const after = options.terminationGracePeriodSeconds;
  if (typeof before === 'number') return before < after ? { before, after } : undefined;
  // The API server refuses any other type.
  const isUnset = before === undefined || before === null;
  return isUnset && after > DEFAULT_GRACE_SECONDS ? { before: null, after } : undefined;
}

function graceOf(template: JsonObject, layout: PodLayout): number {
  // That of kagent's pods cannot be set.
  const own = layout.gracePeriod && getIn(template, layout.gracePeriod);
  return typeof own === 'number' ? own : DEFAULT_GRACE_SECONDS;
}

/** Inserts items into a list: where `current` has the first of the containers or volumes that cambist adds, otherwise first or last. */
function insert(
  template: JsonObject,
  path: Path,
  items: readonly JsonObject[],
  current: JsonObject,
  otherwise: 'first' | 'last',
): JsonObject {
  const others = itemsOf(getIn(template, path));
  const found = itemsOf(getIn(current, path)).findIndex(isOwn);
  const position = found < 0 ? (otherwise === 'first' ? 0 : others.length) : Math.min(found, others.length);
  return setIn(template, path, [...others.slice(0, position), ...items, ...others.slice(position)]);
}

function isOwn(item: Json): boolean {
  const name = getIn(item, ['name']);
  return [...OWN_CONTAINERS, ...VOLUME_NAMES].some((own) => own === name);
}

/** The values that were empty, or null, before the injection filled them, by JSON Pointer. */
function formerlyEmpty(paths: readonly Path[], before: JsonObject, after: JsonObject): Record<string, Json> {
  const filled = paths.flatMap((path): [string, Json][] => {
    const value = getIn(before, path);
    if (value === undefined || !isEmpty(value) || sameJson(value, getIn(after, path))) return [];
    return [[toPointer(path), value]];
  });
  return Object.fromEntries(filled);
}
