import { LOG_LEVELS } from '../config/config.ts';
import { readHostPattern } from '../config/match.ts';
import { parseDuration } from '../config/units.ts';
import { quote } from './json.ts';

/**
 * @param placeholder of the value in `--help`; a flag without one takes no value
 * @param fallback the default; `none`: no value
 */
function option<Default extends string | undefined = undefined>(
  placeholder: string | undefined,
  help: string,
  fallback = undefined as Default,
) {
  return { type: placeholder === undefined ? 'boolean' : 'string', placeholder, help, default: fallback } as const;
}

/** Every option by name: the flag is `--<name>`, the annotation of a pod `cambist.dev/<name>`. */
export const OPTIONS = {
  image: option('IMAGE', 'the image of cambist; required'),
  'image-pull-policy': option('POLICY', 'Always, IfNotPresent or Never'),
  'config-map': option('NAME', 'the ConfigMap that contains cambist.yaml', 'cambist'),
  secret: option('NAME', 'a Secret; its keys become files in /var/run/secrets/cambist', 'none'),
  'token-audience': option('AUDIENCE', 'the audience of a projected token in /var/run/secrets/tokens/cambist', 'none'),
  port: option('PORT', 'the port of listen in the config', '8180'),
  'admin-port': option('PORT', 'the port of admin in the config', '9180'),
  inbound: option('PORT', 'the port where callers reach the agent; cambist takes it over', 'none'),
  'agent-port': option('PORT', 'the port that the agent moves to; by default, the one after inbound'),
  'log-level': option('LEVEL', 'overrides log.level of the config'),
  sidecar: option('FORM', 'native (Kubernetes 1.29 or later) or classic', 'native'),
  'cpu-request': option('CPU', 'the CPU request; a lower limit lowers it', '50m'),
  'memory-request': option('MEMORY', 'the memory request; a lower limit lowers it', '64Mi'),
  'cpu-limit': option('CPU', 'the CPU limit', 'none'),
  'memory-limit': option('MEMORY', 'the memory limit', '256Mi'),
  'termination-grace-period': option(
    'TIME',
    "raises the pod's grace period; must cover agent and shutdown_grace",
    '60s',
  ),
  intercept: option('WAY', 'intercepts calls to https URLs, by proxy, names or packets', 'none'),
  'intercept-hosts': option('HOSTS', 'the hosts of the routes, with commas, if the config is unknown', 'none'),
  'redirect-image': option('IMAGE', 'the image that redirects packets; required for packets'),
  'proxy-env': option(undefined, "sets HTTP_PROXY and NO_PROXY on the pod's other containers", 'disabled'),
};

export type OptionName = keyof typeof OPTIONS;

export const OPTION_NAMES = Object.keys(OPTIONS) as readonly OptionName[];

/** Options by name, as flags or annotations give them, not yet checked. */
export type RawOptions = Readonly<Partial<Record<OptionName, string>>>;

/** An invalid option. The message names the option, and says what is valid. */
export class OptionError extends Error {}

/** The factors of the suffixes, in the spelling of Kubernetes. */
const FACTORS: Readonly<Record<string, number>> = {
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  Ti: 1024 ** 4,
  Pi: 1024 ** 5,
};

/**
 * Parses a quantity such as `50m` or `128Mi`.
 * @returns undefined for an invalid quantity
 * @see https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
 */
export function quantityOf(text: string): number | undefined {
  const [, digits, suffix = ''] = /^((?:0|[1-9]\d{0,11})(?:\.\d{1,3})?)(m|[kMGTP]i?|Ki)?$/.exec(text) ?? [];
  const factor = FACTORS[suffix];
  return digits === undefined || factor === undefined ? undefined : Number(digits) * factor;
}

/** A DNS subdomain, the form of most object names. */
const OBJECT_NAME = /^(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;

type OptionReaders = ReturnType<typeof optionReaders>;

/** Functions that read an option by name, with its default. Each throws an `OptionError` if the value is invalid. */
function optionReaders(raw: RawOptions, nameOf: (name: OptionName) => string) {
  const text = (name: OptionName): string | undefined => raw[name] ?? OPTIONS[name].default;
  /** @param wanted what is valid @param value shown in place of the option's own value */
  const fail = (name: OptionName, wanted: string, value = text(name) ?? ''): never => {
    throw new OptionError(`${nameOf(name)} is ${quote(value)}: ${wanted}`);
  };
  const match = (name: OptionName, pattern: RegExp, wanted: string): string => {
    const value = text(name) ?? '';
    return pattern.test(value) ? value : fail(name, wanted);
  };
  return {
    text,
    fail,
    match,
    /** An option that is `none`, or was not given and has no default, has no value. */
    optional<T>(name: OptionName, read: (name: OptionName) => T): T | undefined {
      const value = text(name);
      return value === undefined || value === 'none' ? undefined : read(name);
    },
    oneOf: <T extends string>(name: OptionName, allowed: readonly T[]): T =>
      allowed.find((candidate) => candidate === text(name)) ?? fail(name, `must be one of ${allowed.join(', ')}`),
    port(name: OptionName): number {
      const value = Number(match(name, /^[1-9]\d{0,4}$/, 'must be a port from 1 to 65535'));
      return value <= 65535 ? value : fail(name, 'must be a port from 1 to 65535');
    },
    quantity(name: OptionName): string {
      const value = text(name) ?? '';
      return quantityOf(value) === undefined ? fail(name, 'must be a quantity such as 50m or 128Mi') : value;
    },
    objectName: (name: OptionName) => match(name, OBJECT_NAME, 'must be the name of a Kubernetes object'),
    /** @param wanted the image that is missing, for the message */
    image(name: OptionName, wanted: string): string {
      if (raw[name] === undefined) throw new OptionError(`${nameOf(name)} is missing: set it to ${wanted}`);
      return match(name, /^[a-z0-9][\w.:/@-]{0,511}$/i, 'must be the name of an image');
    },
  };
}

/** The ways by which an agent's connections get to cambist. */
export const INTERCEPT_WAYS = ['proxy', 'names', 'packets'] as const;
export type InterceptWay = (typeof INTERCEPT_WAYS)[number];

/** The port that callers use, which cambist takes over, and the port that the agent moves to. */
export interface InboundPorts {
  readonly inbound: number;
  readonly agent: number;
}

/** The pod's author chooses how many there are. */
const MAX_HOSTS = 200;

/**
 * Reads hosts that are separated by commas.
 * @returns the problem with the first invalid one, or the hosts
 */
function readInterceptHosts(text: string | undefined, way: InterceptWay): string | readonly string[] {
  if (text === undefined) return [];
  const written = text.split(',', MAX_HOSTS + 1).map((host) => host.trim());
  if (written.length > MAX_HOSTS) return `must name ${MAX_HOSTS} hosts at most`;
  const hosts: string[] = [];
  for (const host of written) {
    const reading = readHostPattern(host);
    const problem = 'problem' in reading ? reading.problem : way === 'names' ? whyNoAlias(reading.value) : undefined;
    if (problem !== undefined) return `${quote(host)} ${problem}`;
    if ('value' in reading) hosts.push(reading.value);
  }
  return hosts;
}

/** @returns why a host cannot be an entry of `hostAliases` */
export function whyNoAlias(host: string): string | undefined {
  if (host.startsWith('*')) {
    return 'is a wildcard, and hostAliases takes whole names only: name each host, or use --intercept proxy';
  }
  if (host.startsWith('[') || /^[\d.]+$/.test(host)) {
    return 'is an address, which no name leads to: use --intercept proxy or packets';
  }
  return host.includes('_') ? 'contains "_", which hostAliases refuses: use --intercept proxy or packets' : undefined;
}

/** The options of an injection, checked and with defaults. */
export type InjectionOptions = Readonly<ReturnType<typeof parseOptions>>;

/**
 * Checks options and adds the defaults.
 * @param nameOf returns the name of an option at its source, for messages
 * @throws {OptionError}
 */
export function parseOptions(raw: RawOptions, nameOf = (name: OptionName): string => name) {
  const read = optionReaders(raw, nameOf);
  const { fail, match, optional, oneOf, port, objectName } = read;
  const image = read.image('image', 'the image of cambist');
  const cpuLimit = optional('cpu-limit', read.quantity);
  const memoryLimit = optional('memory-limit', read.quantity);
  const graceMs = parseDuration(read.text('termination-grace-period') ?? '') ?? 0;
  const options = {
    image,
    imagePullPolicy: optional('image-pull-policy', (name) => oneOf(name, ['Always', 'IfNotPresent', 'Never'])),
    configMap: objectName('config-map'),
    secret: optional('secret', objectName),
    tokenAudience: optional('token-audience', (name) =>
      match(name, /^[!-~]{1,512}$/, 'must be an audience without spaces'),
    ),
    port: port('port'),
    adminPort: port('admin-port'),
    logLevel: optional('log-level', (name) => oneOf(name, LOG_LEVELS)),
    sidecar: oneOf('sidecar', ['native', 'classic']),
    cpuRequest: requestWithin(cpuLimit, read.quantity('cpu-request')),
    memoryRequest: requestWithin(memoryLimit, read.quantity('memory-request')),
    cpuLimit,
    memoryLimit,
    terminationGracePeriodSeconds:
      graceMs > 0
        ? Math.ceil(graceMs / 1000)
        : fail('termination-grace-period', 'must be a duration such as 60s or 2m'),
    proxyEnv: oneOf('proxy-env', ['enabled', 'disabled']) === 'enabled',
    /** The ports of `inbound`. Undefined: callers connect to the agent itself. */
    inbound: optional('inbound', (name): InboundPorts => {
      const inbound = port(name);
      return { inbound, agent: raw['agent-port'] ? port('agent-port') : inbound + 1 };
    }),
    /** The way in which connections of the agent are intercepted. Undefined: it calls cambist's URLs itself. */
    intercept: optional('intercept', () => readIntercept(read)),
  };
  checkPorts(options, read, raw['agent-port'] !== undefined);
  return options;
}

/** @returns the request, or the limit if that is lower: the API server refuses a request above the limit */
function requestWithin(limit: string | undefined, request: string): string {
  return limit !== undefined && (quantityOf(limit) ?? 0) < (quantityOf(request) ?? 0) ? limit : request;
}

/** @returns the way, the hosts that are intercepted beside those of the config, and the image that redirects packets, for its way */
function readIntercept({ oneOf, optional, text, image, fail }: OptionReaders) {
  const way = oneOf('intercept', INTERCEPT_WAYS);
  const hosts = readInterceptHosts(optional('intercept-hosts', text), way);
  if (typeof hosts === 'string') return fail('intercept-hosts', hosts);
  if (way !== 'packets') return { way, hosts, redirectImage: undefined };
  return { way, hosts, redirectImage: image('redirect-image', 'the image cambist-redirect') };
}

/** No two of the ports may be the same. */
function checkPorts(
  { port, adminPort, inbound }: { port: number; adminPort: number; inbound: InboundPorts | undefined },
  { fail }: OptionReaders,
  hasAgentPort: boolean,
): void {
  if (port === adminPort) fail('admin-port', 'port and admin-port must differ');
  if (inbound === undefined) {
    if (hasAgentPort) fail('agent-port', 'has no effect without inbound: remove it');
    return;
  }
  const own = [port, adminPort];
  if (own.includes(inbound.inbound)) fail('inbound', 'must differ from port and admin-port');
  if (own.includes(inbound.agent) || inbound.agent === inbound.inbound || inbound.agent > 65535) {
    fail('agent-port', 'must be a port other than those of cambist', String(inbound.agent));
  }
}
