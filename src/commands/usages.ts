/** A flag as `parseArgs` takes it, with the words that `--help` has for it. */
interface Flag {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly multiple?: boolean;
  readonly default?: string;
  /** What stands for its value. */
  readonly placeholder?: string;
  readonly help: string;
}

/** How a command is used: its parser has its flags from here, and `--help` and the README's table their words. */
export interface Usage {
  /** What stands after the command's name. */
  readonly synopsis: string;
  /** One sentence without subject and full stop. */
  readonly does: string;
  /** What else is to be known, in lines as wide as a terminal. */
  readonly about?: string;
  readonly positionals?: Readonly<Record<string, string>>;
  readonly flags: Readonly<Record<string, Flag>>;
  /** What exit code 0 means, and 1 where that can be. */
  readonly exits: readonly [done: string, failed?: string];
  readonly example: string;
}

const CONFIG = {
  type: 'string',
  placeholder: 'FILE',
  help: 'the config file; else $CAMBIST_CONFIG, else /etc/cambist/cambist.yaml',
} as const;

const JSON_OUTPUT = { type: 'boolean', help: 'prints JSON, for a program' } as const;

const MANIFESTS = { 'FILE...': 'manifests in YAML or JSON; - is standard input' } as const;

/** Every command by its name, in the order of `cambist --help`. */
export const USAGES = {
  run: {
    synopsis: '[--config FILE] [--log-format FORMAT]',
    does: 'runs the proxy; the default',
    about: `Until SIGTERM or SIGINT: requests under way then have limits.shutdown_grace to end, and a second signal cuts them.
The config is loaded anew when its file changes, and on SIGHUP. $CAMBIST_LOG_LEVEL goes before log.level.`,
    flags: {
      config: CONFIG,
      'log-format': {
        type: 'string',
        default: 'auto',
        placeholder: 'FORMAT',
        help: 'json, text, or auto: text on a terminal, JSON elsewhere',
      },
    },
    exits: [
      'a signal ended it in order',
      'the config is wrong, it cannot listen, a second signal cut requests, or a fault of its own ended it',
    ],
    example: 'cambist run --config cambist.yaml',
  },
  validate: {
    synopsis: '[--config FILE] [--json]',
    does: 'says every problem of the config file at once',
    about: 'Each as file:line:column: key: what is wrong, and how to fix it. Nothing is sent.',
    flags: { config: CONFIG, json: JSON_OUTPUT },
    exits: ['it can be run, with warnings or without', 'it has errors'],
    example: 'cambist validate --config cambist.yaml',
  },
  explain: {
    synopsis: "[--config FILE] [--json] [-X METHOD] [-H 'NAME: VALUE']... URL",
    does: 'says which route a request takes, and to which token request it leads',
    about: `Also why no other route takes it, the upstream URL, and what the cache key is made of. Nothing is sent, and no secret
is shown.`,
    positionals: { URL: 'as the agent calls it; a path will do' },
    flags: {
      config: CONFIG,
      json: JSON_OUTPUT,
      request: { type: 'string', short: 'X', placeholder: 'METHOD', default: 'POST', help: 'of the request' },
      header: {
        type: 'string',
        short: 'H',
        multiple: true,
        placeholder: "'NAME: VALUE'",
        help: 'of the request; Mcp-Method and Mcp-Name say what its message is',
      },
    },
    exits: ['a route takes it', 'none does, or the config is wrong'],
    example: 'cambist explain --config cambist.yaml http://127.0.0.1:8180/mine',
  },
  doctor: {
    synopsis: '[--config FILE] [--subject-token-file FILE] [--route NAME] [--json]',
    does: 'really asks authorization servers and backends, and says why it fails',
    about: `TLS, metadata, clock, client authentication, keys to verify by, one exchange for each route, and whether what
comes back is for the backend. The secrets of the config must be there, as for run. Without a caller's token, no
exchange is tried that needs one.`,
    flags: {
      config: CONFIG,
      'subject-token-file': {
        type: 'string',
        placeholder: 'FILE',
        help: "holds a caller's token, as the agent's user gets it, 64 KiB at most; - is standard input",
      },
      route: { type: 'string', placeholder: 'NAME', help: 'examines this route alone' },
      json: JSON_OUTPUT,
    },
    exits: ['nothing is wrong; what could not be checked is said', 'something is, or the config is'],
    example: 'cambist doctor --config cambist.yaml --subject-token-file token',
  },
  inject: {
    synopsis: '[options] FILE...',
    does: 'puts cambist into the pods of Kubernetes manifests',
    about: `Into every pod, or pod template, of YAML of any number of documents, JSON and Lists: Pod, Deployment, StatefulSet,
DaemonSet, ReplicaSet, Job, CronJob, and kagent's Agent (v1alpha2). All else, and what is not changed, comes out as it
went in. What has been injected before is brought up to date. What was done is on standard error.`,
    positionals: MANIFESTS,
    flags: {},
    exits: ['the manifests are on standard output', 'one was refused or cannot be read: nothing is printed'],
    example: 'cambist inject --image registry.example.com/cambist:0.1.0 agent.yaml',
  },
  uninject: {
    synopsis: 'FILE...',
    does: 'takes out of the manifests what inject has put into them',
    about: 'And gives back what was there before. What was not injected comes out as it went in.',
    positionals: MANIFESTS,
    flags: {},
    exits: ['the manifests are on standard output', 'one cannot be read or changed: nothing is printed'],
    example: 'cambist uninject agent.yaml',
  },
  webhook: {
    synopsis: '--cert FILE --key FILE [options]',
    does: 'injects cambist into pods as they are created',
    about: `A mutating admission webhook, until SIGTERM or SIGINT, for pods with the label cambist.dev/inject: enabled.`,
    flags: {
      cert: { type: 'string', placeholder: 'FILE', help: 'its certificate in PEM; taken up anew when it changes' },
      key: { type: 'string', placeholder: 'FILE', help: "the certificate's key in PEM" },
      listen: {
        type: 'string',
        placeholder: 'ADDRESS',
        default: '0.0.0.0:8443',
        help: 'for the API server, HTTPS: POST /mutate',
      },
      admin: { type: 'string', placeholder: 'ADDRESS', default: '0.0.0.0:9180', help: '/livez, /readyz and /metrics' },
      drain: {
        type: 'string',
        placeholder: 'TIME',
        default: '5s',
        help: 'after SIGTERM, how long to serve on while not ready',
      },
    },
    exits: [
      'a signal ended it in order',
      'the certificate cannot be used, it cannot listen, or a second signal ended it',
    ],
    example: 'cambist webhook --cert tls.crt --key tls.key --image registry.example.com/cambist:0.1.0',
  },
  'gen-certs': {
    synopsis: '[options] [FILE...]',
    does: "makes the webhook's certificate, where there is no cert-manager",
    about: `Prints the manifests with caBundle filled in wherever the Service is called, and a Secret with tls.crt, tls.key and
ca.crt; without a file the Secret alone. The authority's own key is thrown away.`,
    positionals: MANIFESTS,
    flags: {
      service: { type: 'string', placeholder: 'NAME', default: 'cambist-webhook', help: "the webhook's Service" },
      namespace: { type: 'string', placeholder: 'NAME', default: 'cambist-system', help: 'where it is' },
      secret: { type: 'string', placeholder: 'NAME', default: 'cambist-webhook', help: 'what the Secret is called' },
      days: { type: 'string', placeholder: 'N', default: '365', help: 'how long the certificate is good' },
      trust: {
        type: 'string',
        placeholder: 'FILE',
        help: 'a certificate in PEM that stays trusted as well: the old ca.crt, when you renew',
      },
    },
    exits: ['all is on standard output', 'a file cannot be read, or no webhook in them calls the Service'],
    example: 'cambist gen-certs webhook.yaml | kubectl apply -f -',
  },
  schema: {
    synopsis: '',
    does: 'prints the JSON Schema of the config file',
    flags: {},
    exits: ['it is on standard output'],
    example: 'cambist schema > cambist.schema.json',
  },
  version: {
    synopsis: '',
    does: 'prints the version',
    flags: {},
    exits: ['it is on standard output'],
    example: 'cambist version',
  },
} as const satisfies Readonly<Record<string, Usage>>;

export type CommandName = keyof typeof USAGES;
