import { clientCertificateRule, type Listen } from './addresses.ts';
import { optionalSection, required, type ValueOf } from './key.ts';
import { choice, fileSource } from './kinds.ts';
import { address } from './listen.ts';

/** A listener that only the data plane can use. */
function listener(name: 'http' | 'grpc', description: string, example: string) {
  return optionalSection(
    description,
    {
      listen: required(
        address('Address that the data plane asks: `host:port` or `unix:/path`.', {
          examples: [example],
          restart: 'change',
          page: 'decisions.md',
          without: `required in \`decisions.${name}\``,
        }),
      ),
      secret: fileSource('File of the secret that the data plane sends in `x-cambist-decision-secret`.', {
        page: 'decisions.md#access',
      }),
    },
    {
      restart: 'presence',
      check({ listen, secret }, { node }) {
        if (listen === undefined || listen.kind === 'unix' || secret !== undefined || node.at('secret').broken) return;
        if (clientCertificateRule(listen.tls) === 'required') return;
        const fix = 'use a Unix socket, require client certificates (tls.client_ca, or tls: spiffe), or set secret';
        node.at('listen').error(`hands out tokens to every client that reaches it: ${fix}`);
      },
    },
  );
}

export const decisions = optionalSection(
  'Decisions for a data plane that forwards the requests itself.',
  {
    http: listener(
      'http',
      'Decisions by HTTP, for Envoy, Traefik, Caddy, nginx and HAProxy.',
      'unix:/run/cambist/decisions.sock',
    ),
    grpc: listener('grpc', 'Decisions by gRPC, for Envoy.', 'unix:/run/cambist/decisions-grpc.sock'),
    routes_by: choice(
      ['name', 'match'],
      'How the route is found. `name`: the data plane names it. `match`: by the host, path and message that the data plane reports.',
      { default: 'name', page: 'decisions.md#the-route-of-a-request' },
    ),
    preflights: choice(['refuse', 'allow'], 'CORS preflights, which have no token. `allow`: without a credential.', {
      default: 'refuse',
      page: 'decisions.md#preflights',
    }),
  },
  {
    restart: 'presence',
    check({ http, grpc }, { node }) {
      if (http !== undefined || grpc !== undefined || node.at('http').broken || node.at('grpc').broken) return;
      node.error('has no listener: set http or grpc');
    },
  },
);

export type Decisions = NonNullable<ValueOf<typeof decisions>>;

export function decisionListeners(decisions: Partial<Decisions> | undefined): Record<string, Listen> {
  const { http, grpc } = decisions ?? {};
  return {
    ...(http && { 'decisions.http.listen': http.listen }),
    ...(grpc && { 'decisions.grpc.listen': grpc.listen }),
  };
}

/** The secrets that data planes send, by their keys. */
export function decisionSecrets({ http, grpc }: Partial<Decisions> = {}) {
  const all = [
    ['decisions.http.secret', http?.secret],
    ['decisions.grpc.secret', grpc?.secret],
  ] as const;
  return all.flatMap(([key, secret]) => (secret === undefined ? [] : [{ key, secret }]));
}
