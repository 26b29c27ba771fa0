import type { LogLevel } from '../config/config.ts';
import { parseDuration } from '../config/units.ts';
import { quantityOf } from './quantity.ts';
import { quote } from './quote.ts';

/** What is put into a pod, and how. */
export interface InjectionOptions {
  readonly image: string;
  readonly imagePullPolicy: string | undefined;
  /** The ConfigMap that holds `cambist.yaml`. */
  readonly configMap: string;
  /** The Secret whose keys become files; undefined where none is needed. */
  readonly secret: string | undefined;
  /** Whom the projected service-account token is for; undefined where none is needed. */
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
}

interface OptionText {
  /** What stands for the value in `--help`; a flag without one takes none. */
  readonly placeholder?: string;
  /** Taken where neither an annotation nor a flag says otherwise. */
  readonly fallback?: string;
  readonly help: string;
}

/** Every option by its name: `--<name>` on the command line, `cambist.dev/<name>` among a pod's annotations. */
export const OPTIONS = {
  image: { placeholder: 'IMAGE', help: 'the image of cambist; must be given' },
  'image-pull-policy': { placeholder: 'POLICY', help: 'Always, IfNotPresent or Never' },
  'config-map': { placeholder: 'NAME', fallback: 'cambist', help: 'the ConfigMap that holds cambist.yaml' },
  secret: { placeholder: 'NAME', fallback: 'none', help: 'a Secret; its keys are files in /var/run/secrets/cambist' },
  'token-audience': {
    placeholder: 'AUDIENCE',
    fallback: 'none',
    help: 'whom a projected token in /var/run/secrets/tokens/cambist is for',
  },
  port: { placeholder: 'PORT', fallback: '8180', help: "the port of the config's listen" },
  'admin-port': { placeholder: 'PORT', fallback: '9180', help: "the port of the config's admin" },
  'log-level': { placeholder: 'LEVEL', help: "in place of the config's log.level" },
  sidecar: { placeholder: 'FORM', fallback: 'native', help: 'native (Kubernetes 1.29 or later) or classic' },
  'cpu-request': { placeholder: 'CPU', fallback: '50m', help: 'how much it is given at least' },
  'memory-request': { placeholder: 'MEMORY', fallback: '128Mi', help: 'how much it is given at least' },
  'cpu-limit': { placeholder: 'CPU', fallback: 'none', help: 'the most that it may take' },
  'memory-limit': { placeholder: 'MEMORY', fallback: '256Mi', help: 'the most that it may take' },
  'termination-grace-period': {
    placeholder: 'TIME',
    fallback: '60s',
    help: "raises the pod's to this: the agent's own time and shutdown_grace",
  },
  'proxy-env': { fallback: 'disabled', help: "sets HTTP_PROXY and NO_PROXY on the pod's other containers" },
} as const satisfies Record<string, OptionText>;

export type OptionName = keyof typeof OPTIONS;

/** The same with every field optional, for what walks over all of them. */
export const OPTION_TEXTS: Readonly<Record<OptionName, OptionText>> = OPTIONS;

export const OPTION_NAMES = Object.keys(OPTIONS) as readonly OptionName[];

/** Options as they were written, by name; what is missing has not been said. */
export type WrittenOptions = Readonly<Partial<Record<OptionName, string>>>;

/** An option that is not possible: the message says which, why, and what is. */
export class OptionError extends Error {}

const LOG_LEVELS: readonly LogLevel[] = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];

/** A DNS subdomain, as names of most objects are. */
const OBJECT_NAME = /^(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;

/**
 * The options that were written, checked, with the defaults of what was not.
 * @param nameOf how an option is called where it was written, for the message
 * @throws {OptionError}
 */
export function parseOptions(written: WrittenOptions, nameOf = (name: OptionName): string => name): InjectionOptions {
  const text = (name: OptionName): string | undefined => written[name] ?? OPTION_TEXTS[name].fallback;
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
    allowed.find((candidate) => candidate === text(name)) ?? fail(name, `write ${allowed.join(', ')}`);
  const port = (name: OptionName): number => {
    const value = Number(match(name, /^[1-9]\d{0,4}$/, 'write a port, 1 to 65535'));
    return value <= 65535 ? value : fail(name, 'write a port, 1 to 65535');
  };
  const quantity = (name: OptionName): string => {
    const value = text(name) ?? '';
    return quantityOf(value) === undefined ? fail(name, 'write a quantity, like 50m or 128Mi') : value;
  };
  const objectName = (name: OptionName): string => match(name, OBJECT_NAME, 'write the name of an object');
  const atMost = (request: OptionName, limit: string | undefined): string => {
    const value = quantity(request);
    const most = limit === undefined ? undefined : quantityOf(limit);
    return most !== undefined && (quantityOf(value) ?? 0) > most
      ? fail(request, `more than the limit ${limit}`)
      : value;
  };
  const graceMs = parseDuration(text('termination-grace-period') ?? '') ?? 0;

  if (written.image === undefined) throw new OptionError(`${nameOf('image')} is missing: name the image of cambist`);
  const cpuLimit = optional('cpu-limit', () => quantity('cpu-limit'));
  const memoryLimit = optional('memory-limit', () => quantity('memory-limit'));
  const options: InjectionOptions = {
    image: match('image', /^[a-z0-9][\w.:/@-]{0,511}$/i, 'write the name of an image'),
    imagePullPolicy: optional('image-pull-policy', () =>
      oneOf('image-pull-policy', ['Always', 'IfNotPresent', 'Never']),
    ),
    configMap: objectName('config-map'),
    secret: optional('secret', () => objectName('secret')),
    tokenAudience: optional('token-audience', () =>
      match('token-audience', /^[!-~]{1,512}$/, 'write the audience, without spaces'),
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
  };
  return options.port === options.adminPort ? fail('admin-port', 'port and admin-port must differ') : options;
}

const TIME = 'write a time, like 60s or 2m';
