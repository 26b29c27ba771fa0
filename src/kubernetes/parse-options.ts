import { LOG_LEVELS, type LogLevel } from '../config/log-levels.ts';
import { parseDuration } from '../config/units.ts';
import type { InboundPorts } from './agent-port.ts';
import { INTERCEPT_WAYS } from './check-pod-intercept.ts';
import { type InterceptOptions, readInterceptHosts } from './intercept-options.ts';
import { type OptionReaders, optionReaders } from './option-readers.ts';
import type { OptionName, RawOptions } from './options.ts';
import { quantityOf } from './quantity.ts';

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
