import type { Servers } from './authorization-server.ts';
import type { ConfigNode } from './config-node.ts';
import type { SubjectTokenSource } from './route.ts';
import { DEFAULT_SUBJECT_HEADER, type SubjectKeys } from './route-keys.ts';
import { tokenTypeUrn } from './units.ts';
import { resolveVerification, type SubjectVerification } from './verification.ts';

/** How a route uses the subject token. */
export interface SubjectUse {
  /** Short name, for a file without a type. */
  readonly defaultType: string;
  /** Otherwise the token is neither exchanged nor verified. */
  readonly isRead: boolean;
  /** cambist's client at the server that gets the token: the default audience. */
  readonly clientId: string | undefined;
}

/** Reads the subject token of a route. */
export function resolveSubject(
  keys: SubjectKeys | undefined,
  { defaultType, isRead, clientId }: SubjectUse,
  servers: Servers,
  node: ConfigNode,
): SubjectTokenSource {
  const { header = DEFAULT_SUBJECT_HEADER, type, file, scope, verify } = keys ?? {};
  return {
    header,
    type: type ?? tokenTypeUrn(defaultType) ?? '',
    file,
    scope: scope === '' ? undefined : scope,
    verify: verify && isRead ? resolveVerify(verify, clientId, servers, node) : undefined,
  };
}

function resolveVerify(
  keys: NonNullable<SubjectKeys['verify']>,
  clientId: string | undefined,
  servers: Servers,
  node: ConfigNode,
): SubjectVerification {
  if (keys.audience === undefined && clientId === undefined && !node.at('subject_token').broken) {
    node.error(
      'verifies subject tokens without an expected audience: set subject_token.verify.audience to a value or to any',
    );
  }
  const audience = keys.audience ?? [clientId ?? ''];
  return resolveVerification({ ...keys, audience }, servers, node.at('subject_token', 'verify'));
}
