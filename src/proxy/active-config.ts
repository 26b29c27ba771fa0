import type { Config } from '../config/config.ts';
import { createRouteTable, type RouteTable } from '../routing/route-table.ts';
import type { CredentialHeaders } from './caller-tokens.ts';
import { type WithheldHeaders, withheldHeaders } from './request-headers.ts';

/** A config, and what every request needs of it. A request keeps the one that was active when it arrived. */
export interface ActiveConfig {
  readonly config: Config;
  readonly table: RouteTable;
  readonly withheld: WithheldHeaders;
  readonly credentialHeaders: CredentialHeaders;
}

/** Derives what can be known before a request arrives. */
export function activate(config: Config): ActiveConfig {
  const credentialHeaders = new Set(['authorization', ...config.routes.map(({ subjectToken }) => subjectToken.header)]);
  return {
    config,
    table: createRouteTable(config.routes),
    withheld: withheldHeaders(config, credentialHeaders),
    credentialHeaders,
  };
}
