import type { Servers } from './authorization-server.ts';
import type { ConfigNode } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import { readAudiences } from './expect-audience.ts';
import { readHeaderName } from './header-names.ts';
import type { Loose } from './loose.ts';
import type { SubjectTokenSource } from './route.ts';
import type { DefaultsFile } from './schema-route.ts';
import type { Sources } from './sources.ts';
import { readScope } from './targets.ts';
import { tokenTypeUrn } from './units.ts';
import type { SubjectVerification } from './verification.ts';
import { checkKeysUrl, introspection as introspectionKey, resolveVerification } from './verification.ts';

/** The keys of `subject_token`. Defaults for the others depend on the route. */
type SubjectKeys = NonNullable<ReturnType<typeof readSubjectToken>>;

type SubjectTokenFile = NonNullable<Loose<DefaultsFile>['subject_token']>;

/** @param allowInsecureHttp the key next to `subject_token` */
export function readSubjectToken(
  written: SubjectTokenFile | undefined,
  allowInsecureHttp: boolean,
  node: ConfigNode,
  sources: Sources,
) {
  if (written === undefined) return undefined;
  if (written.header !== undefined && written.file !== undefined) {
    node.error('has both "header" and "file": keep "header" for the caller\'s token, or "file" for cambist\'s own');
  }
  if (written.scope !== undefined && written.file !== undefined) {
    node
      .at('scope')
      .warn('has no effect with "file": remove it, because the callers of this route need no token', 'key');
  }
  // MCP 2026-07-28, Authorization, "Refresh Tokens": no resource needs it.
  if (written.scope?.split(/\s+/).includes('offline_access') === true) {
    node
      .at('scope')
      .warn(
        'tells clients to request "offline_access": remove it, because clients that want a refresh token add it themselves',
      );
  }
  return {
    header: readHeaderName(written.header ?? DEFAULTS.subjectTokenHeader, node.at('header')),
    type: written.type === undefined ? undefined : tokenTypeUrn(written.type),
    scope: readScope(written.scope, node.at('scope')),
    file: written.file === undefined ? undefined : { file: sources.file(written.file, node.at('file')) },
    verify: readVerify(written.verify, allowInsecureHttp, node.at('verify'), sources),
  };
}

function readVerify(
  written: SubjectTokenFile['verify'],
  allowInsecureHttp: boolean,
  node: ConfigNode,
  sources: Sources,
) {
  if (written?.issuer === undefined) return undefined;
  const { issuer, jwks_uri: jwksUri, introspection: asked } = written;
  const introspection =
    asked === undefined
      ? undefined
      : introspectionKey.read(asked as object, node.at('introspection'), { sources, listeners: new Map() });
  const keys = { issuer, jwksUri, allowInsecureHttp, introspection };
  checkKeysUrl(keys, node);
  return { ...keys, audience: readAudiences(written.audience, node.at('audience')) };
}

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
  const { header = DEFAULTS.subjectTokenHeader, type, file, scope, verify } = keys ?? {};
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
