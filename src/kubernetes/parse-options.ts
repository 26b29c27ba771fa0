import { LOG_LEVELS, type LogLevel } from '../config/config.ts';
import { readHostPattern } from '../config/match.ts';
import { parseDuration } from '../config/units.ts';
import type { InboundPorts } from './agent-port.ts';
import { INTERCEPT_WAYS, type InterceptWay, whyNoAlias } from './check-pod.ts';
import { quote } from './json.ts';
import { OPTION_TEXTS, OptionError, type OptionName, type RawOptions } from './options.ts';

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

/** Functions that read an option by name, with its default. Each throws an `OptionError` that names the option if its value is invalid. */
interface OptionReaders {
  /** The text is as it was given. */
  text(name: OptionName): string | undefined;
  /** An option that is `none`, or was not given and has no default, has no value. */
  optional<T>(name: OptionName, read: (name: OptionName) => T): T | undefined;
  /** @param wanted what is valid, for the message */
  match(name: OptionName, pattern: RegExp, wanted: string): string;
  oneOf<T extends string>(name: OptionName, allowed: readonly T[]): T;
  port(name: OptionName): number;
  quantity(name: OptionName): string;
  objectName(name: OptionName): string;
  /** @param wanted the image that is missing, for the message */
  image(name: OptionName, wanted: string): string;
  /** Throws the error. @param value shown in place of the option's own value */
  fail(name: OptionName, wanted: string, value?: string): never;
}

/** A DNS subdomain, the form of most object names. */
const OBJECT_NAME = /^(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;

/** @param nameOf returns the name of an option at its source, for messages */
function optionReaders(raw: RawOptions, nameOf: (name: OptionName) => string): OptionReaders {
  const text = (name: OptionName): string | undefined => raw[name] ?? OPTION_TEXTS[name].fallback;
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
    optional(name, read) {
      const value = text(name);
      return value === undefined || value === 'none' ? undefined : read(name);
    },
    oneOf: (name, allowed) =>
      allowed.find((candidate) => candidate === text(name)) ?? fail(name, `must be one of ${allowed.join(', ')}`),
    port(name) {
      const value = Number(match(name, /^[1-9]\d{0,4}$/, 'must be a port from 1 to 65535'));
      return value <= 65535 ? value : fail(name, 'must be a port from 1 to 65535');
    },
    quantity(name) {
      const value = text(name) ?? '';
      return quantityOf(value) === undefined ? fail(name, 'must be a quantity such as 50m or 128Mi') : value;
    },
    objectName: (name) => match(name, OBJECT_NAME, 'must be the name of a Kubernetes object'),
    image(name, wanted) {
      if (raw[name] === undefined) throw new OptionError(`${nameOf(name)} is missing: set it to ${wanted}`);
      return match(name, /^[a-z0-9][\w.:/@-]{0,511}$/i, 'must be the name of an image');
    },
  };
}

/** The way by which the agent's connections get to cambist. */
export interface InterceptOptions {
  readonly way: InterceptWay;
  /** Hosts that are intercepted beside those of the config. */
  readonly hosts: readonly string[];
  /** The image that redirects packets. Set where the way needs it. */
  readonly redirectImage: string | undefined;
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
  /** Without it, the agent calls cambist's URLs itself. */
  readonly intercept: InterceptOptions | undefined;
}

/**
 * Checks options and adds the defaults.
 * @param nameOf returns the name of an option at its source, for messages
 * @throws {OptionError}
 */
export function parseOptions(raw: RawOptions, nameOf = (name: OptionName): string => name): InjectionOptions {
  const read = optionReaders(raw, nameOf);
  const { fail, match, optional, oneOf, port, objectName } = read;
  const image = read.image('image', 'the image of cambist');
  const cpuLimit = optional('cpu-limit', read.quantity);
  const memoryLimit = optional('memory-limit', read.quantity);
  const graceMs = parseDuration(read.text('termination-grace-period') ?? '') ?? 0;
  const options: InjectionOptions = {
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
    cpuRequest: atMost(read, 'cpu-request', cpuLimit),
    memoryRequest: atMost(read, 'memory-request', memoryLimit),
    cpuLimit,
    memoryLimit,
    terminationGracePeriodSeconds:
      graceMs > 0
        ? Math.ceil(graceMs / 1000)
        : fail('termination-grace-period', 'must be a duration such as 60s or 2m'),
    proxyEnv: oneOf('proxy-env', ['enabled', 'disabled']) === 'enabled',
    inbound: optional('inbound', (name) => inboundPorts(port(name), raw['agent-port'] && port('agent-port'))),
    intercept: optional('intercept', () => readIntercept(read)),
  };
  checkPorts(options, read, raw['agent-port'] !== undefined);
  return options;
}

function atMost({ quantity, fail }: OptionReaders, request: OptionName, limit: string | undefined): string {
  const value = quantity(request);
  const most = limit === undefined ? undefined : quantityOf(limit);
  const isMore = most !== undefined && (quantityOf(value) ?? 0) > most;
  return isMore ? fail(request, `must not exceed the limit ${limit}`) : value;
}

function readIntercept({ oneOf, optional, text, image, fail }: OptionReaders): InterceptOptions {
  const way = oneOf('intercept', INTERCEPT_WAYS);
  const hosts = readInterceptHosts(optional('intercept-hosts', text), way);
  if (typeof hosts === 'string') return fail('intercept-hosts', hosts);
  if (way !== 'packets') return { way, hosts, redirectImage: undefined };
  return { way, hosts, redirectImage: image('redirect-image', 'the image cambist-redirect') };
}

function inboundPorts(inbound: number, agent: number | '' | undefined): InboundPorts {
  return { inbound, agent: agent || inbound + 1 };
}

/** No two of the ports may be the same. */
function checkPorts(
  { port, adminPort, inbound }: InjectionOptions,
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
