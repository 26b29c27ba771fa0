import { caddy } from './snippet-caddy.ts';
import { byExtAuthz, envoy } from './snippet-envoy.ts';
import { envoyGateway } from './snippet-envoy-gateway.ts';
import { byExtProc } from './snippet-envoy-grpc.ts';
import type { SnippetFacts } from './snippet-facts.ts';
import { haproxy } from './snippet-haproxy.ts';
import { istio } from './snippet-istio.ts';
import { nginx } from './snippet-nginx.ts';
import { traefik } from './snippet-traefik.ts';

/** The config of each data plane: a whole file that runs as it is but for addresses and names. */
export const SNIPPETS = {
  caddy,
  envoy: (facts) => envoy(facts, facts.isGrpc ? byExtProc(facts) : byExtAuthz(facts)),
  'envoy-gateway': envoyGateway,
  haproxy,
  istio,
  nginx,
  traefik,
} as const satisfies Readonly<Record<string, (facts: SnippetFacts) => string>>;

export type SnippetKind = keyof typeof SNIPPETS;

/** Explains why a data plane cannot ask at the listener of the config. */
export function whyUnable(kind: SnippetKind, { decisions, listen, isGrpc }: SnippetFacts): string | undefined {
  if (isGrpc && kind !== 'envoy') return `${kind} needs decisions by HTTP: add decisions.http`;
  const needsPort = kind === 'traefik' || kind === 'envoy-gateway' || kind === 'istio';
  if (!needsPort || (decisions.socketPath ?? listen.socketPath) === undefined) return undefined;
  return `${kind} cannot connect to a Unix socket: give decisions.http.listen and listen a host and port, with a secret or client certificates for decisions`;
}
