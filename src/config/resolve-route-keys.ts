import type { Servers } from './authorization-server.ts';
import { type ConfigNode, valueOrReport } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import { readExpectAudience } from './expect-audience.ts';
import { checkCredentialHeader } from './header-names.ts';
import type { Loose } from './loose.ts';
import { nearest } from './nearest.ts';
import { readOrigins } from './origins.ts';
import { readDuration, readSize } from './quantities.ts';
import { readChain } from './resolve-chain.ts';
import { readSubjectToken } from './resolve-subject.ts';
import type { ActorTokenSource, SendTo } from './route.ts';
import type { DefaultsFile } from './schema-route.ts';
import type { Sources } from './sources.ts';
import { readResource, readScope, readScopes, toList } from './targets.ts';
import { tokenTypeUrn } from './units.ts';
import { readHttpUrl } from './urls.ts';

/** The keys of a route that `defaults` may also set. Undefined: not set, or reported as an error. */
export type RouteKeys = ReturnType<typeof readRouteKeys>;

const MAX_TIMEOUT = '24h';
/** No 0: without this bound, callers that have left could stay in flight. */
const MIN_STALL = '1s';
/** Each request in flight may keep a body of this size in memory. */
const MAX_RETRY_BODY = '16MiB';

export function readRouteKeys(written: Loose<DefaultsFile>, node: ConfigNode, servers: Servers, sources: Sources) {
  refuseServer(written.authorization_server, node.at('authorization_server'), servers);
  refuseServer(written.chain?.authorization_server, node.at('chain', 'authorization_server'), servers);
  const duration = (key: 'connect' | 'response_headers' | 'stall', min = '0') => {
    const text = written.timeouts?.[key];
    return text === undefined ? undefined : readDuration(text, node.at('timeouts', key), { min, max: MAX_TIMEOUT });
  };
  const limit = written.retry_body_limit;
  return {
    authorizationServer: written.authorization_server,
    credential: written.credential,
    secret: sources.credential(written.secret, node.at('secret')),
    send: readSend(written.send, node.at('send')),
    resource: readResource(written.resource, node.at('resource')),
    audience: toList(written.audience),
    /** `''`: not sent. */
    scope: readScope(written.scope, node.at('scope')),
    requestedTokenType: urn(written.requested_token_type),
    connection: written.connection,
    expectAudience: readExpectAudience(written.expect_audience, node.at('expect_audience')),
    subjectToken: readSubjectToken(
      written.subject_token,
      written.allow_insecure_http ?? false,
      node.at('subject_token'),
      sources,
    ),
    actorToken: readActorToken(written.actor_token, node.at('actor_token'), sources),
    chain: readChain(written.chain),
    consentUrl: readConsentUrl(written.consent_url, node.at('consent_url')),
    onMissingSubject: written.on_missing_subject,
    connectMs: duration('connect'),
    responseHeadersMs: duration('response_headers'),
    stallMs: duration('stall', MIN_STALL),
    retryBodyLimitBytes:
      limit === undefined ? undefined : readSize(limit, node.at('retry_body_limit'), { max: MAX_RETRY_BODY }),
    stepUp: readScopes(written.step_up, node.at('step_up')),
    allowedOrigins: readOrigins(written.allowed_origins, node.at('allowed_origins')),
    tls: sources.tls(written.tls, node.at('tls')),
    allowInsecureHttp: written.allow_insecure_http,
  };
}

/** Refuses the name of an undefined server. */
function refuseServer(written: string | undefined, node: ConfigNode, servers: Servers) {
  if (written === undefined || servers.has(written)) return;
  const names = [...servers.keys()];
  const meant = nearest(written, names);
  const known = names.length === 0 ? 'define it under authorization_servers' : `known servers are ${names.join(', ')}`;
  const fix = meant === undefined ? known : `did you mean "${meant}"?`;
  if (!node.broken) node.error(`unknown authorization server: ${fix}`);
}

function readConsentUrl(written: string | undefined, node: ConfigNode): string | undefined {
  if (written === undefined) return undefined;
  const url = valueOrReport(readHttpUrl(written, { allowInsecureHttp: true, allowQuery: true }), node);
  if (url !== undefined && !url.origin.startsWith('https:')) node.error('must be https, because users open it');
  return written;
}

function readSend(written: Loose<DefaultsFile>['send'], node: ConfigNode): SendTo | undefined {
  if (written === undefined) return undefined;
  const header = written.header ?? DEFAULTS.sendHeader;
  checkCredentialHeader(header, node.at('header'));
  const isDefault = header.toLowerCase() === DEFAULTS.sendHeader.toLowerCase();
  return { header, scheme: written.scheme ?? (isDefault ? 'Bearer' : '') };
}

function readActorToken(
  written: Loose<DefaultsFile>['actor_token'],
  node: ConfigNode,
  sources: Sources,
): ActorTokenSource | undefined {
  if (written?.file === undefined) return undefined;
  return {
    source: { file: sources.file(written.file, node.at('file')) },
    type: urn(written.type ?? DEFAULTS.actorTokenType) ?? '',
  };
}

function urn(type: string | undefined): string | undefined {
  return type === undefined ? undefined : tokenTypeUrn(type);
}
