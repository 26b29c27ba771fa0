interface OptionText {
  readonly placeholder?: string;
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
