import { addAgentEnv, agentEnv, joinEnvRecords } from './agent-env.ts';
import { type Move, moveAgent } from './agent-port.ts';
import { conflicts, exceededLimits, invalidSidecar, portConflicts, unsupported } from './conflicts.ts';
import { INVALID_STATUS, type InjectionStatus, readStatus } from './injection-status.ts';
import { applyIntercept, type InterceptPlan, interceptNotes, planIntercept } from './intercept-plan.ts';
import { getIn, itemsOf, type JsonObject, type Path, quote, sameJson, setIn } from './json.ts';
import { annotationOf, INJECT_LABEL, optionsFromAnnotations, readConsent } from './option-sources.ts';
import { type InjectionOptions, OPTIONS, OptionError, parseOptions, type RawOptions } from './options.ts';
import type { PodConfig } from './pod-config.ts';
import { allContainers, type PodLayout, SIDECAR_NAME } from './pod-layout.ts';
import { recordInjection, uninjectPod } from './pod-restoration.ts';
import { addTrustMounts, sidecarContainer, sidecarVolumes } from './sidecar.ts';

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
  const { result, notes: told } = addSidecar(original, { options, plan, move }, request);
  const limits = plan === undefined ? [] : interceptNotes(original, layout, plan, options.sidecar, config?.intercept);
  const notes = [...told, ...limits];
  const mounted = config === undefined ? {} : { configMap: options.configMap };
  return sameJson(result, template)
    ? { ...leave('unchanged', 'already injected'), ...mounted }
    : { outcome: 'injected', template: result, reasons: notes, ...mounted };
}

function optionsFor(template: JsonObject, { flags, layout, configOf }: InjectionRequest) {
  const annotated = optionsFromAnnotations(template, layout);
  const configMap = { ...flags, ...annotated }['config-map'] ?? OPTIONS['config-map'].default;
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

function addSidecar(
  original: JsonObject,
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
    result = setIn(result, layout.initContainers, [...early, ...itemsOf(getIn(result, layout.initContainers))]);
  }
  if (!isNative) result = append(result, layout.containers, [container]);
  result = append(result, layout.volumes, sidecarVolumes(options));
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
  return {
    result: recordInjection(original, prepared.template, layout, status),
    notes: [...(move?.notes ?? []), ...prepared.notes],
  };
}

/** Gives the agent's containers their variables, and the trust folder. Those that have them already stay unchanged. */
function prepareAgent(template: JsonObject, options: InjectionOptions, layout: PodLayout) {
  const { template: set, record, notes } = addAgentEnv(template, layout, agentEnv(options));
  return { template: options.intercept === undefined ? set : addTrustMounts(set, layout), record, notes };
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
  const completed = { ...status, ...joinEnvRecords(status, prepared.record) };
  const original = uninjectPod(template, layout).template;
  return {
    outcome: 'injected',
    template: recordInjection(original, prepared.template, layout, completed),
    reasons: [],
  };
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

function append(template: JsonObject, path: Path, items: readonly JsonObject[]): JsonObject {
  return setIn(template, path, [...itemsOf(getIn(template, path)), ...items]);
}
