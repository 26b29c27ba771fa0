import { agentHeaders } from '../config/agents.ts';
import type { Config } from '../config/config.ts';
import { createConfigTable } from '../routing/region-table.ts';
import type { CredentialHeaders } from './caller-tokens.ts';
import { withheldHeaders } from './request-headers.ts';

/** A config, and what every request needs of it. A request keeps the one that was active when it arrived. */
export type ActiveConfig = Readonly<ReturnType<typeof activate>>;

/** Derives what can be known before a request arrives. */
export function activate(config: Config) {
  const identities = agentHeaders(config.agents);
  const credentialHeaders: CredentialHeaders = new Set([
    'authorization',
    ...config.routes.map(({ subjectToken }) => subjectToken.header),
    // While a region is closed, its callers' tokens go to no other backend either.
    ...config.teams.map(({ subjectHeader }) => subjectHeader),
    ...identities,
  ]);
  return {
    config,
    table: createConfigTable(config),
    withheld: withheldHeaders(config, credentialHeaders),
    credentialHeaders,
    /** Lower-case names of the headers that identify agents. */
    agentHeaders: identities,
  };
}
