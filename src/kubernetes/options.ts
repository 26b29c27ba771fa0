import { INTERCEPT_WAYS } from '../config/check-pod-intercept.ts';
import { LOG_LEVELS, type LogLevel } from '../config/log-levels.ts';
import { parseDuration } from '../config/units.ts';
import type { InboundPorts } from './agent-port.ts';
import { type InterceptOptions, readInterceptHosts } from './intercept-options.ts';
import { quantityOf } from './quantity.ts';
import { quote } from './quote.ts';

/** The options of an injection, checked and with defaults. */
export interface InjectionOptions {
  readonly image: string;
  readonly imagePullPolicy: string | undefined;
  /** The ConfigMap that contains `cambist.yaml`. */
  readonly configMap: string;
  /** The Secret whose keys become files; optional. */
  readonly secret: string | undefined;
  /** The audience of the projected service account token; optional. */
  readonly tokenAudience: string | undefined;
  /** The ports of `listen` and `admin` in the config. */
  readonly port: number;
  readonly adminPort: number;
  readonly logLevel: LogLevel | undefined;
  readonly sidecar: 'native' | 'classic';
  readonly cpuRequest: string;
  readonly memoryRequest: string;
  readonly cpuLimit: string | undefined;
  readonly memoryLimit: string | undefined;
  readonly terminationGracePeriodSeconds: number;
  readonly proxyEnv: boolean;
  /** The port that callers use, and the one that the agent moves to. Undefined: callers connect to the agent itself. */
  readonly inbound: InboundPorts | undefined;
  /** Undefined: the agent calls cambist's URLs itself. */
  readonly intercept: InterceptOptions | undefined;
}

interface OptionText {
  /** The placeholder of the value in `--help`; a flag without a placeholder takes no value. */
  readonly placeholder?: string;
  /** The default. */
  readonly fallback?: string;
  readonly help: string;
}

/** Every option by name: the flag is `--<name>`, the annotation of a pod `cambist.dev/<name>`. */
export const OPTIONS = {
  image: { placeholder: 'IMAGE', help: 'the image of cambist; required' },
  'image-pull-policy': { placeholder: 'POLICY', help: 'Always, IfNotPresent or Never' },
  'config-map': { placeholder: 'NAME', fallback: 'cambist', help: 'the ConfigMap that contains cambist.yaml' },
  secret: {
    placeholder: 'NAME',
    fallback: 'none',
    help: 'a Secret; its keys become files in /var/run/secrets/cambist',
  },
  'token-audience': {
    placeholder: 'AUDIENCE',
    fallback: 'none',
    help: 'the audience of a projected token in /var/run/secrets/tokens/cambist',
  },
  port: { placeholder: 'PORT', fallback: '8180', help: 'the port of listen in the config' },
  'admin-port': { placeholder: 'PORT', fallback: '9180', help: 'the port of admin in the config' },
  inbound: {
    placeholder: 'PORT',
    fallback: 'none',
    help: 'the port where callers reach the agent; cambist takes it over',
  },
  'agent-port': { placeholder: 'PORT', help: 'the port that the agent moves to; by default, the one after inbound' },
  'log-level': { placeholder: 'LEVEL', help: 'overrides log.level of the config' },
  sidecar: { placeholder: 'FORM', fallback: 'native', help: 'native (Kubernetes 1.29 or later) or classic' },
  'cpu-request': { placeholder: 'CPU', fallback: '50m', help: 'the CPU request' },
  'memory-request': { placeholder: 'MEMORY', fallback: '128Mi', help: 'the memory request' },
  'cpu-limit': { placeholder: 'CPU', fallback: 'none', help: 'the CPU limit' },
  'memory-limit': { placeholder: 'MEMORY', fallback: '256Mi', help: 'the memory limit' },
  'termination-grace-period': {
    placeholder: 'TIME',
    fallback: '60s',
    help: "raises the pod's grace period; must cover agent and shutdown_grace",
  },
  intercept: {
    placeholder: 'WAY',
    fallback: 'none',
    help: 'intercepts calls to https URLs, by proxy, names or packets',
  },
  'intercept-hosts': {
    placeholder: 'HOSTS',
    fallback: 'none',
    help: 'the hosts of the routes, with commas, if the config is unknown',
  },
  'redirect-image': { placeholder: 'IMAGE', help: 'the image that redirects packets; required for packets' },
  'proxy-env': { fallback: 'disabled', help: "sets HTTP_PROXY and NO_PROXY on the pod's other containers" },
} as const satisfies Record<string, OptionText>;

export type OptionName = keyof typeof OPTIONS;

/** OPTIONS with every field optional, for loops over all options. */
export const OPTION_TEXTS: Readonly<Record<OptionName, OptionText>> = OPTIONS;

export const OPTION_NAMES = Object.keys(OPTIONS) as readonly OptionName[];

/** Options by name, as flags or annotations give them, not yet checked. */
export type RawOptions = Readonly<Partial<Record<OptionName, string>>>;

/** An invalid option. The message names the option, and says what is valid. */
export class OptionError extends Error {}

/** A DNS subdomain, the form of most object names. */
const OBJECT_NAME = /^(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;

/**
 * Checks options and adds the defaults.
 * @param nameOf returns the name of an option at its source, for messages
 * @throws {OptionError}
 */
export function parseOptions(raw: RawOptions, nameOf = (name: OptionName): string => name): InjectionOptions {
  const text = (name: OptionName): string | undefined => raw[name] ?? OPTION_TEXTS[name].fallback;
  const fail = (name: OptionName, wanted: string): never => {
    throw new OptionError(`${nameOf(name)} is ${quote(text(name) ?? '')}: ${wanted}`);
  };
  const match = (name: OptionName, pattern: RegExp, wanted: string): string => {
    const value = text(name) ?? '';
    return pattern.test(value) ? value : fail(name, wanted);
  };
  const optional = <T>(name: OptionName, read: () => T): T | undefined => {
    const value = text(name);
    return value === undefined || value === 'none' ? undefined : read();
  };
  const oneOf = <T extends string>(name: OptionName, allowed: readonly T[]): T =>
    allowed.find((candidate) => candidate === text(name)) ?? fail(name, `must be one of ${allowed.join(', ')}`);
  const port = (name: OptionName): number => {
    const value = Number(match(name, /^[1-9]\d{0,4}$/, 'must be a port from 1 to 65535'));
    return value <= 65535 ? value : fail(name, 'must be a port from 1 to 65535');
  };
  const image = (name: OptionName): string =>
    match(name, /^[a-z0-9][\w.:/@-]{0,511}$/i, 'must be the name of an image');
  const intercept = (): InterceptOptions => {
    const way = oneOf('intercept', INTERCEPT_WAYS);
    const hosts = readInterceptHosts(
      optional('intercept-hosts', () => text('intercept-hosts')),
      way,
    );
    if (typeof hosts === 'string') return fail('intercept-hosts', hosts);
    if (way !== 'packets') return { way, hosts, redirectImage: undefined };
    if (raw['redirect-image'] === undefined) {
      throw new OptionError(`${nameOf('redirect-image')} is missing: set it to the image cambist-redirect`);
    }
    return { way, hosts, redirectImage: image('redirect-image') };
  };
  const quantity = (name: OptionName): string => {
    const value = text(name) ?? '';
    return quantityOf(value) === undefined ? fail(name, 'must be a quantity such as 50m or 128Mi') : value;
  };
  const objectName = (name: OptionName): string => match(name, OBJECT_NAME, 'must be the name of a Kubernetes object');
  const atMost = (request: OptionName, limit: string | undefined): string => {
    const value = quantity(request);
    const most = limit === undefined ? undefined : quantityOf(limit);
    return most !== undefined && (quantityOf(value) ?? 0) > most
      ? fail(request, `must not exceed the limit ${limit}`)
      : value;
  };
  const graceMs = parseDuration(text('termination-grace-period') ?? '') ?? 0;

  if (raw.image === undefined) throw new OptionError(`${nameOf('image')} is missing: set it to the image of cambist`);
  const cpuLimit = optional('cpu-limit', () => quantity('cpu-limit'));
  const memoryLimit = optional('memory-limit', () => quantity('memory-limit'));
  const options: InjectionOptions = {
    image: image('image'),
    imagePullPolicy: optional('image-pull-policy', () =>
      oneOf('image-pull-policy', ['Always', 'IfNotPresent', 'Never']),
    ),
    configMap: objectName('config-map'),
    secret: optional('secret', () => objectName('secret')),
    tokenAudience: optional('token-audience', () =>
      match('token-audience', /^[!-~]{1,512}$/, 'must be an audience without spaces'),
    ),
    port: port('port'),
    adminPort: port('admin-port'),
    logLevel: optional('log-level', () => oneOf('log-level', LOG_LEVELS)),
    sidecar: oneOf('sidecar', ['native', 'classic']),
    cpuRequest: atMost('cpu-request', cpuLimit),
    memoryRequest: atMost('memory-request', memoryLimit),
    cpuLimit,
    memoryLimit,
    terminationGracePeriodSeconds: graceMs > 0 ? Math.ceil(graceMs / 1000) : fail('termination-grace-period', TIME),
    proxyEnv: oneOf('proxy-env', ['enabled', 'disabled']) === 'enabled',
    inbound: optional('inbound', () => inboundPorts(port('inbound'), raw['agent-port'] && port('agent-port'))),
    intercept: optional('intercept', intercept),
  };
  if (options.port === options.adminPort) return fail('admin-port', 'port and admin-port must differ');
  const { inbound } = options;
  if (inbound === undefined) {
    return raw['agent-port'] === undefined ? options : fail('agent-port', 'has no effect without inbound: remove it');
  }
  const own = [options.port, options.adminPort];
  if (own.includes(inbound.inbound)) fail('inbound', 'must differ from port and admin-port');
  if (own.includes(inbound.agent) || inbound.agent === inbound.inbound || inbound.agent > 65535) {
    throw new OptionError(`${nameOf('agent-port')} is ${inbound.agent}: must be a port other than those of cambist`);
  }
  return options;
}

function inboundPorts(inbound: number, agent: number | '' | undefined): InboundPorts {
  return { inbound, agent: agent || inbound + 1 };
}

const TIME = 'must be a duration such as 60s or 2m';
