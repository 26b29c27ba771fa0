interface Flag {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly multiple?: boolean;
  readonly default?: string | undefined;
  readonly placeholder?: string | undefined;
  readonly help: string;
}

/** The usage of a command. Its parser takes the flags from here; `--help` and the README take the text. */
export interface Usage {
  /** Follows the command's name. */
  readonly synopsis: string;
  /** One sentence without subject and full stop. */
  readonly does: string;
  /** Further explanation, in lines as wide as a terminal. */
  readonly about?: string;
  readonly positionals?: Readonly<Record<string, string>>;
  readonly flags: Readonly<Record<string, Flag>>;
  /** The meaning of exit code 0, and of 1 if the command can fail. */
  readonly exits: readonly [done: string, failed?: string];
  readonly example: string;
}

const value = (placeholder: string, help: string) => ({ type: 'string', placeholder, help }) as const;

const CONFIG = value('FILE', 'the config file; else $CAMBIST_CONFIG, else /etc/cambist/cambist.yaml');

const JSON_OUTPUT = { type: 'boolean', help: 'prints JSON, for a program' } as const;

const MANIFESTS = { 'FILE...': 'manifests in YAML or JSON; - is standard input' } as const;

/** Every command by its name, in the order of `cambist --help`. */
export const USAGES = {
  init: {
    synopsis: '[--config FILE] [--backend URL] [--issuer URL] [--client-id ID] [--audience NAME] [options]',
    does: 'writes a config file, after a few questions or from flags',
    about: `On a terminal, it asks for what the flags leave out. It never overwrites a file, checks what it writes, and names the
next command. Sends nothing.`,
    flags: {
      config: { ...value('FILE', 'the file to write'), default: 'cambist.yaml' },
      backend: value('URL', 'the URL of the backend, an MCP server'),
      issuer: value('URL', 'the issuer of the authorization server'),
      'client-id': value('ID', "the id of cambist's client there; otherwise cambist"),
      audience: value('NAME', "the server's name of the backend (Keycloak, Okta, Auth0); otherwise its URL"),
      scope: value('SCOPES', 'the scopes that the token needs, in one argument'),
      route: { ...value('NAME', 'the route, and the path that the agent calls'), default: 'mine' },
      'secret-env': value('NAME', 'the variable with the client secret; otherwise CAMBIST_CLIENT_SECRET'),
      'secret-file': value('FILE', 'the file with the client secret'),
      pod: { type: 'boolean', help: 'for a pod: a secret from a file, and an admin port that probes can reach' },
      gateway: value(
        'NAMESPACE/NAME',
        'for a gateway with TLS in place of a sidecar: the service account of its first agent',
      ),
    },
    exits: ['the file is written', 'the file exists, a value is invalid, or the questions were not answered'],
    example: 'cambist init --backend https://mcp.example.com/mcp --issuer https://idp.example.com/realms/agents',
  },
  run: {
    synopsis: '[--config FILE] [--log-format FORMAT]',
    does: 'runs the proxy; the default',
    about: `Runs until SIGTERM or SIGINT. Requests in flight then have limits.shutdown_grace to finish; a second signal closes
them. The config is reloaded when its file changes and on SIGHUP. $CAMBIST_LOG_LEVEL overrides log.level.`,
    flags: {
      config: CONFIG,
      'log-format': { ...value('FORMAT', 'json, text, or auto: text on a terminal, JSON elsewhere'), default: 'auto' },
    },
    exits: [
      'a signal stopped it and the shutdown completed',
      'the config is invalid, it cannot listen, a second signal closed requests, or an unexpected error stopped it',
    ],
    example: 'cambist run --config cambist.yaml',
  },
  exec: {
    synopsis: '[--config FILE] [--log FILE] -- COMMAND...',
    does: 'runs a command whose calls go through cambist',
    about: `Starts the proxy on available ports and runs the command with proxy and trust variables set, so that its calls to the
hosts of routes get their tokens. The config needs no intercept. Streams, terminal and signals are those of the command.
The exit code is that of the command, or 128 and the number of the signal that ended it. Variables with secrets of
cambist are removed from its environment. $CAMBIST_LOG_LEVEL overrides the level of the log.`,
    positionals: { 'COMMAND...': 'the program and its arguments' },
    flags: {
      config: CONFIG,
      log: value('FILE', 'appends the whole log to this file; else warnings go to standard error'),
    },
    exits: ['the command exited with 0', 'the command exited with 1, the config is invalid, or the proxy cannot start'],
    example: 'cambist exec --config cambist.yaml -- python agent.py',
  },
  validate: {
    synopsis: '[--config FILE] [--routes FOLDER --as NAME] [--json]',
    does: 'reports every problem in the config file at once',
    about: `Prints each as file:line:column: key: what is wrong, and how to fix it. The file may be a Kubernetes manifest with the
config in a ConfigMap. Also checks the folders of routes_from. A team checks its own with --routes and --as, against
the config, or a file with its entry of routes_from alone. Sends nothing.`,
    flags: {
      config: CONFIG,
      routes: value('FOLDER', 'checks only this folder, with the files of a team'),
      as: value('NAME', 'the entry of routes_from for --routes'),
      json: JSON_OUTPUT,
    },
    exits: ['the file is valid, possibly with warnings', 'the file has errors'],
    example: 'cambist validate --config cambist.yaml',
  },
  explain: {
    synopsis: "[--config FILE] [--json] [--agent NAME] [-X METHOD] [-H 'NAME: VALUE']... URL",
    does: 'shows which route a request takes, and its token request',
    about: `Also shows why no other route takes it, the upstream URL, and the parts of the cache key. Sends nothing and shows no
secret.`,
    positionals: { URL: 'the URL that the agent calls; a path is enough' },
    flags: {
      config: CONFIG,
      json: JSON_OUTPUT,
      agent: value('NAME', 'the agent that sends the request, as in agents.known'),
      request: { ...value('METHOD', 'the method of the request'), short: 'X', default: 'POST' },
      header: {
        ...value("'NAME: VALUE'", 'a header of the request; Mcp-Method and Mcp-Name describe its message'),
        short: 'H',
        multiple: true,
      },
    },
    exits: ['a route takes the request', 'no route takes it or serves the agent, or the config is invalid'],
    example: 'cambist explain --config cambist.yaml http://127.0.0.1:8180/mine',
  },
  doctor: {
    synopsis: '[--config FILE] [--subject-token-file FILE]... [--route NAME] [--call] [--through URL] [options]',
    does: 'checks authorization servers and backends and explains failures',
    about: `Checks TLS, metadata, clock, client authentication and the keys for subject_token.verify. For each route it checks the
backend without a token, performs one exchange, and checks that the issued token is for the backend. Needs the same
secrets as run. Without a caller's token it skips the exchanges that need one. --through checks a data plane
instead: it sends tokens through it to an echo.`,
    flags: {
      config: CONFIG,
      'subject-token-file': {
        ...value('FILE', "contains a caller's token, at most 64 KiB; - is standard input"),
        multiple: true,
      },
      route: value('NAME', 'checks only this route'),
      call: {
        type: 'boolean',
        help: 'also calls each backend with the issued token: MCP initialize and server/discover',
      },
      through: value('URL', 'checks only the data plane where agents call the route, with one or two tokens'),
      echo: value('ADDRESS', 'where the echo listens; otherwise at the upstream of the route'),
      'agent-token-file': value('FILE', 'contains the token of an agent, which --through sends as well'),
      stopped: { type: 'boolean', help: 'with --through, while cambist is stopped: checks that nothing passes' },
      trust: {
        type: 'boolean',
        help: 'checks only the trust folder of intercept',
      },
      json: JSON_OUTPUT,
    },
    exits: [
      'no problem was found; the output lists what could not be checked',
      'a check failed, or the config is invalid',
    ],
    example: 'cambist doctor --config cambist.yaml --subject-token-file token',
  },
  revoke: {
    synopsis: '[--config FILE] --issuer URL --subject SUB [--session SID]',
    does: "ends a user's tokens at a running cambist, or those of one session",
    about: `Does what a back-channel logout of the issuer does: older tokens are refused, and their open streams end. Needs
signals.revoke in the config, and runs where the running cambist does, on its files.`,
    flags: {
      config: CONFIG,
      issuer: value('URL', "the issuer of the user's tokens, as in a transmitter or a verify of the config"),
      subject: value('SUB', 'the user: "sub" of the tokens'),
      session: value('SID', 'one session of the user: "sid" of the tokens; otherwise all'),
    },
    exits: ['cambist refuses these tokens now', 'it does not, or the config is invalid'],
    example:
      'cambist revoke --config cambist.yaml --issuer https://idp.example.com/realms/agents --subject 248289761001',
  },
  tail: {
    synopsis: '[--config FILE] [--admin ADDRESS] [--agent NAME] [--route NAME] [--code CODE] [--follow] [--json]',
    does: 'shows the last decisions of a running cambist',
    about: `Shows the last requests: their status, their route and why it took them, their agent, the result in the cache, the
time of the exchange, and audience and scope as requested and as issued. Names no caller. Reads the admin listener of
the config, from the same machine or pod. With --admin, it needs no config.`,
    flags: {
      config: CONFIG,
      admin: value('ADDRESS', 'the admin listener, as host:port or unix:/path, in place of the one in the config'),
      agent: value('NAME', 'shows only this agent'),
      route: value('NAME', 'shows only this route'),
      code: value('CODE', 'shows only this status (403), class (5xx) or error code (ERR_STS_UNAVAILABLE)'),
      follow: { type: 'boolean', short: 'f', help: 'also shows further requests, until it is interrupted' },
      json: JSON_OUTPUT,
    },
    exits: ['the decisions were printed', 'the config is invalid, or the admin listener cannot be reached'],
    example: 'cambist tail --config cambist.yaml --code 5xx --follow',
  },
  snippet: {
    synopsis: '[--config FILE] [--route NAME] KIND',
    does: 'prints the config of a data plane that asks cambist for decisions',
    about: `A whole config that runs as it is but for addresses and names: with what cambist sends, what it needs to see, and no way
past it. Contains no secret, only the file that has it. Sends nothing. Standard error names the routes that are left
out, because a data plane cannot use them.`,
    positionals: { KIND: 'envoy, envoy-gateway, istio, nginx, haproxy, caddy or traefik' },
    flags: { config: CONFIG, route: value('NAME', 'only this route') },
    exits: ['the config is on standard output', 'the config is invalid, has no decisions, or no route for them'],
    example: 'cambist snippet --config cambist.yaml envoy > envoy.yaml',
  },
  inject: {
    synopsis: '[--config FILE] [options] FILE...',
    does: 'adds cambist to the pods of Kubernetes manifests',
    about: `Changes every pod and pod template: Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob, and kagent's
Agent (v1alpha2). Reads YAML with any number of documents, JSON and Lists. Everything else is printed unchanged. A pod
that was injected before is updated. Standard error has a line for each object. With --config, it also checks
the config for these pods and prints its ConfigMap. A ConfigMap of the stream is checked too.`,
    positionals: MANIFESTS,
    flags: {
      config: value(
        'FILE',
        'the config of these pods; its ports are the defaults of --port, --admin-port and --inbound',
      ),
    },
    exits: ['the manifests are on standard output', 'an object was refused or cannot be read; nothing is printed'],
    example:
      'cambist inject --image registry.example.com/cambist:0.1.0 --config cambist.yaml --secret cambist agent.yaml',
  },
  uninject: {
    synopsis: 'FILE...',
    does: 'removes from manifests what inject added',
    about: 'Restores what was there before. Objects that were not injected are printed unchanged.',
    positionals: MANIFESTS,
    flags: {},
    exits: ['the manifests are on standard output', 'an object cannot be read or changed; nothing is printed'],
    example: 'cambist uninject agent.yaml',
  },
  webhook: {
    synopsis: '--cert FILE --key FILE [options]',
    does: 'injects cambist into pods as they are created',
    about: `A mutating admission webhook for pods with the label cambist.dev/inject: enabled. Runs until SIGTERM or SIGINT.`,
    flags: {
      cert: value('FILE', 'its certificate in PEM; reloaded when it changes'),
      key: value('FILE', "the certificate's key in PEM"),
      listen: { ...value('ADDRESS', 'HTTPS for the API server: POST /mutate'), default: '[::]:8443' },
      admin: { ...value('ADDRESS', '/livez, /readyz and /metrics'), default: '[::]:9180' },
      drain: { ...value('TIME', 'after SIGTERM, how long to keep serving while not ready'), default: '5s' },
    },
    exits: [
      'a signal stopped it and the shutdown completed',
      'the certificate cannot be used, it cannot listen, or a second signal stopped it',
    ],
    example: 'cambist webhook --cert tls.crt --key tls.key --image registry.example.com/cambist:0.1.0',
  },
  'gen-certs': {
    synopsis: '[options] [FILE...]',
    does: "creates the webhook's certificate, where there is no cert-manager",
    about: `Prints the manifests with caBundle filled in wherever they call the Service, and a Secret with tls.crt, tls.key and
ca.crt. Without a file it prints only the Secret. The authority's own key is discarded.`,
    positionals: MANIFESTS,
    flags: {
      service: { ...value('NAME', "the webhook's Service"), default: 'cambist-webhook' },
      namespace: { ...value('NAME', 'the namespace of the Service'), default: 'cambist-system' },
      secret: { ...value('NAME', 'the name of the Secret'), default: 'cambist-webhook' },
      days: { ...value('N', 'how long the certificate is valid'), default: '365' },
      trust: value('FILE', 'another certificate in PEM to trust: the old ca.crt, when you renew'),
    },
    exits: ['the manifests are on standard output', 'a file cannot be read, or no webhook in it calls the Service'],
    example: 'cambist gen-certs webhook.yaml | kubectl apply -f -',
  },
  schema: {
    synopsis: '[--audit]',
    does: 'prints the JSON Schema of the config file',
    flags: { audit: { type: 'boolean', help: 'the schema of audit records instead' } },
    exits: ['the output is complete'],
    example: 'cambist schema > cambist.schema.json',
  },
  version: {
    synopsis: '',
    does: 'prints the version',
    flags: {},
    exits: ['the output is complete'],
    example: 'cambist version',
  },
} as const satisfies Readonly<Record<string, Usage>>;

export type CommandName = keyof typeof USAGES;
