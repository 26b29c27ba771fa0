import { readUnixSocket } from './addresses.ts';
import { type ConfigNode, valueOrReport } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import type { Audit } from './optional-sections.ts';
import type { ConfigFile, Loose } from './schema.ts';
import type { Sources } from './sources.ts';
import { toList } from './targets.ts';

type AuditFile = NonNullable<Loose<ConfigFile>['audit']>;

/** Undefined where the audit trail is off. */
export function resolveAudit(written: AuditFile | undefined, node: ConfigNode, sources: Sources): Audit | undefined {
  if (written === undefined) return undefined;
  const to = readDestination(written.to, node.at('to'), sources);
  const claims = toList(written.claims) ?? DEFAULTS.auditClaims;
  const pseudonyms = readPseudonyms(written.pseudonymize, claims, node.at('pseudonymize'), sources);
  if (to === undefined || (written.pseudonymize !== undefined && pseudonyms === undefined)) return undefined;
  return {
    to,
    claims: [...new Set(claims)],
    tools: written.tools ?? DEFAULTS.auditTools,
    onFull: written.on_full ?? DEFAULTS.auditOnFull,
    pseudonyms,
  };
}

function readDestination(written: AuditFile['to'], node: ConfigNode, sources: Sources): Audit['to'] | undefined {
  if (written === undefined) return undefined;
  if (written === 'stdout' || written === 'otlp') return { kind: written };
  if (typeof written === 'string') {
    const path = valueOrReport(readUnixSocket(written.slice('unix:'.length)), node);
    return path === undefined ? undefined : { kind: 'unix', path };
  }
  if (written.file === undefined) return undefined;
  return { kind: 'file', path: sources.output(written.file, node.at('file')) };
}

function readPseudonyms(
  written: AuditFile['pseudonymize'],
  recorded: readonly string[],
  node: ConfigNode,
  sources: Sources,
): Audit['pseudonyms'] {
  if (written === undefined) return undefined;
  const key = sources.credential(written.key, node.at('key'));
  const claims = toList(written.claims) ?? DEFAULTS.pseudonymizedClaims;
  if (!claims.some((claim) => recorded.includes(claim))) {
    node.warn('has no effect: audit.claims records none of these claims', 'key');
  }
  return key === undefined ? undefined : { key, claims };
}
