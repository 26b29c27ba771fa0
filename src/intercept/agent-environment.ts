import { join } from 'node:path';
import type { Config } from '../config/config.ts';
import { javaOptions, OWN_BUNDLE_VARIABLES, proxyVariables, TRUST_FILES, trustVariables } from './agent-variables.ts';

/**
 * The environment of a command whose calls go through the proxy. It does not contain the secrets of cambist itself.
 * @param own the environment without cambist
 */
export function agentEnvironment(own: NodeJS.ProcessEnv, config: Config, trustDir: string, proxyUrl: string) {
  const secrets = new Set(secretVariables(config));
  const bundle = join(trustDir, TRUST_FILES.bundle);
  const ofClients: readonly string[] = OWN_BUNDLE_VARIABLES;
  const kept = Object.entries(own)
    .filter(([name]) => !secrets.has(name))
    .map(([name, value]) => [name, ofClients.includes(name.toUpperCase()) ? bundle : value]);
  const java = [own.JAVA_TOOL_OPTIONS ?? '', javaOptions(trustDir, proxyUrl).JAVA_TOOL_OPTIONS ?? ''].join(' ').trim();
  return {
    ...Object.fromEntries(kept),
    ...proxyVariables(proxyUrl),
    ...trustVariables(trustDir),
    // The bundle contains the certificates that this variable named before.
    NODE_EXTRA_CA_CERTS: bundle,
    JAVA_TOOL_OPTIONS: java,
  };
}

/** The environment variables that contain credentials of cambist. */
function secretVariables(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const own = 'env' in value && typeof value.env === 'string' ? [value.env] : [];
  return [...own, ...Object.values(value).flatMap(secretVariables)];
}
