import { caddy } from './snippet-caddy.ts';
import { envoy } from './snippet-envoy.ts';
import { envoyGateway } from './snippet-envoy-gateway.ts';
import type { SnippetFacts } from './snippet-facts.ts';
import { haproxy } from './snippet-haproxy.ts';
import { istio } from './snippet-istio.ts';
import { nginx } from './snippet-nginx.ts';
import { traefik } from './snippet-traefik.ts';

/** The config of each data plane: a whole file that runs as it is but for addresses and names. */
export const SNIPPETS = {
  caddy,
  envoy,
  'envoy-gateway': envoyGateway,
  haproxy,
  istio,
  nginx,
  traefik,
} as const satisfies Readonly<Record<string, (facts: SnippetFacts) => string>>;

export type SnippetKind = keyof typeof SNIPPETS;
