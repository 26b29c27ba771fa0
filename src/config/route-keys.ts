import * as z from 'zod';
import { type ConfigNode, readEach, valueOrReport } from '../documents/config-node.ts';
import type { ServerScope } from './authorization-server.ts';
import { checkCredentialHeader } from './header-names.ts';
import {
  optionalSection,
  readAll,
  required,
  section,
  type ValueOf,
  type Values,
  valueKey,
  type Written,
  withFallback,
} from './key.ts';
import * as kind from './kinds.ts';
import { readExpectAudience, readOrigin, readResource, readSingleScope } from './targets.ts';
import { readHttpUrl } from './urls.ts';
import { subjectToken } from './verification.ts';

export const DEFAULT_CONNECT = '5s';
export const DEFAULT_STALL = '60s';

const timeoutKeys = {
  connect: kind.duration('Time to connect to the upstream. 0 means no timeout.', {
    default: DEFAULT_CONNECT,
    max: '24h',
  }),
  response_headers: kind.duration('Time from the request to the response headers. 0 means no timeout.', {
    default: 0,
    max: '24h',
  }),
  // No 0: without this bound, callers that have left could stay in flight.
  stall: kind.duration(
    'How long an upload may wait for the upstream without a byte in either direction, from 1s to 24h.',
    { default: DEFAULT_STALL, min: '1s', max: '24h', page: 'routing.md#callers-that-leave' },
  ),
};

const timeouts = section('Timeouts for the upstream. Responses and event streams have none.', timeoutKeys);

const expectAudience = valueKey(
  z.union(
    [
      kind.nonEmptyText,
      z.array(kind.nonEmptyText),
      z.strictObject({ only: kind.oneOrMany('The `aud` must contain nothing but these.').schema }),
    ],
    { error: 'must be an audience, a list of audiences, any, or { only: … }' },
  ),
  'text, list, `{ only: … }` or `any`',
  'The `aud` of an issued JWT must contain one of these. Another token is 502. By default, one of the values sent as `resource` and `audience`. With `only`, it must contain nothing else. `any` turns the check off.',
  {
    examples: ['https://backend.example.com/mcp', { only: 'https://backend.example.com/mcp' }],
    without: '`resource` and `audience`',
  },
  readExpectAudience,
);

const SEND_HEADER = 'Authorization';

const send = optionalSection(
  'Where the credential goes: an issued token, or the secret of `credential: secret`.',
  {
    header: valueKey(
      kind.headerNameSchema,
      'header name',
      'Header that carries the credential to the upstream.',
      { default: SEND_HEADER, examples: ['X-API-Key'], page: 'third-party.md#where-the-credential-goes' },
      (written: string, node) => {
        checkCredentialHeader(written, node);
        return written;
      },
    ),
    scheme: kind.word(
      /^[!#$%&'*+.^_`|~0-9A-Za-z-]*$/,
      'must be one word, such as Bearer, or an empty text for none',
      'Word before the credential. By default, `Bearer` in `Authorization`, and none in another header. An empty text sends none.',
      { examples: ['Bearer', ''], form: 'word', without: '`Bearer`, or none' },
    ),
  },
  {
    finish({ header, scheme }) {
      const isDefault = header.toLowerCase() === SEND_HEADER.toLowerCase();
      return { header, scheme: scheme ?? (isDefault ? 'Bearer' : '') };
    },
  },
);

/** Where the credential of a route goes. An empty scheme sends the bare value. */
export type SendTo = NonNullable<ValueOf<typeof send>>;

function readConsentUrl(written: string, node: ConfigNode): string {
  const url = valueOrReport(readHttpUrl(written, { allowInsecureHttp: true, allowQuery: true }), node);
  if (url !== undefined && !url.origin.startsWith('https:')) node.error('must be https, because users open it');
  return written;
}

export const CREDENTIALS = ['exchange', 'client_credentials', 'secret', 'passthrough', 'none'] as const;

const keys = {
  authorization_server: kind.serverName(
    'Name of the authorization server that issues the token. Optional if there is only one.',
    { without: 'the only one' },
  ),
  credential: kind.choice(
    CREDENTIALS,
    'Credential for the upstream: a token exchanged for the caller’s, one of cambist’s own client, a secret from a file, the caller’s own token, or none.',
    { default: 'exchange', page: 'tokens.md#credentials' },
  ),
  secret: kind.fileSource(
    'File of an API key or a personal token, for `credential: secret`. Read again when it rotates.',
    { page: 'third-party.md#api-keys' },
  ),
  send,
  resource: valueKey(
    kind.oneOrManySchema,
    'URI or list',
    'RFC 8707 `resource`: absolute URIs, sent as written. By default, the URI of the upstream, unless `audience` is set. `[]` sends none.',
    { without: "the upstream's", page: 'tokens.md#how-the-backend-is-named' },
    readResource,
  ),
  audience: kind.oneOrMany('RFC 8693 `audience`: logical names of the backend, sent as written.', {
    page: 'tokens.md#how-the-backend-is-named',
  }),
  scope: kind.scopes(
    'Requested scopes, separated by spaces. An empty text requests none, even if `defaults` has some.',
  ),
  requested_token_type: kind.tokenType(
    'RFC 8693 `requested_token_type`: a short name or a full URN. Not sent by default.',
    { without: 'not sent' },
  ),
  connection: kind.text('Account provider whose token a vault holds, for the grant `token_vault`.', {
    examples: ['google-oauth2'],
    page: 'third-party.md#token-vault',
  }),
  expect_audience: expectAudience,
  subject_token: subjectToken,
  actor_token: optionalSection(
    'The workload’s own token, sent as RFC 8693 `actor_token` (delegation).',
    {
      file: kind.tokenFile('File of the token, read again when it rotates. A projected service-account token works.'),
      from: kind.choice(
        ['agent', 'spiffe'],
        'In place of a file: the token of the `agent` that sent the request, or a JWT-SVID of cambist.',
        { page: 'agents.md#delegation' },
      ),
      audience: kind.jwtSvidAudience,
      type: kind.tokenType('Sent as `actor_token_type`: a short name or a full URN.', { default: 'jwt' }),
    },
    {
      finish({ type, ...own }, { node, scope }) {
        if (own.file === undefined && own.from === undefined) node.error('needs either "file" or "from": set one');
        const source = own.from === 'agent' ? own.from : kind.ownToken(own, node, scope);
        return source && { source, type };
      },
    },
  ),
  on_missing_subject: kind.choice(
    ['deny', 'client_credentials'],
    'For a request without a subject token: 401, or a token of cambist’s own client.',
    { default: 'deny' },
  ),
  unattended: kind.choice(
    ['client_credentials', 'none'],
    'For handshakes and lists of MCP without a caller’s token: a token of cambist’s own client, or none. Other requests need a caller.',
    { without: '401', page: 'unattended.md' },
  ),
  chain: optionalSection(
    'Exchange in two legs: an assertion from another server, then a token from the server of the route.',
    {
      authorization_server: required(
        kind.serverName('Server of the first leg, which issues the assertion.', { page: 'tokens.md#chains' }),
      ),
      assertion: kind.choice(
        ['id_jag', 'jwt'],
        'Assertion of the first leg: an ID-JAG, or a JWT for identity chaining.',
        { default: 'id_jag' },
      ),
    },
  ),
  // An empty list must not be taken for a missing one, which serves all.
  agents: withFallback(
    valueKey(
      z.array(kind.nonEmptyText).min(1).max(100),
      'list of names',
      'Agents that may use the route, by their names in `agents.known`. By default, all known agents.',
      { examples: [['billing']], without: 'all', page: 'agents.md' },
      (written: readonly (string | undefined)[], node) => readEach(written, node, (value) => ({ value })),
    ),
    [],
  ),
  consent_url: valueKey(
    kind.nonEmptyText,
    'https URL',
    'https URL where a user consents or connects an account, if the authorization server requires it without naming a URL.',
    { examples: ['https://app.example.com/connect/github'], page: 'third-party.md#consent' },
    readConsentUrl,
  ),
  timeouts,
  // Each request in flight may keep a body of this size in memory.
  retry_body_limit: kind.size(
    'Largest request body that is kept for one retry after an upstream 401, at most 16MiB. On a route with `mcp_method` or `mcp_name` also the largest message, at most 1MiB.',
    { default: '64KiB', max: '16MiB' },
  ),
  step_up: kind.list(
    'Scopes that an upstream may request by 403 `insufficient_scope`. cambist then adds them to the token and retries the request.',
    { examples: [['repo:write']], form: 'list of scopes', page: 'tokens.md#step-up' },
    readSingleScope,
    kind.nonEmptyText,
  ),
  allowed_origins: kind.list(
    'Origins of web pages that may call the route without a caller’s token. Others get 403.',
    { examples: [['https://app.example.com']], form: 'list of origins', page: 'routing.md#requests-from-browsers' },
    readOrigin,
  ),
  tls: kind.tls('TLS files for the upstream.'),
  allow_insecure_http: kind.flag(
    'Allow plain http to any host. The issued token then crosses the network unencrypted.',
    { default: false },
  ),
};

export const ROUTE_KEYS = keys;
export type WrittenRouteKeys = Written<typeof keys>;

/** The keys of a route, with all defaults. */
export type RouteKeys = Values<typeof keys>;

export type ChainKeys = NonNullable<RouteKeys['chain']>;
/** The token of the agent, or cambist's own. */
export type ActorTokenSource = NonNullable<RouteKeys['actorToken']>;

/**
 * Reads the keys of a route, or of `defaults`. A key replaces the earlier one as a whole. `timeouts` are replaced one by one.
 * @param earlier the values of keys that are not in the file. Undefined: their defaults
 */
export function readRouteKeys(
  written: WrittenRouteKeys,
  node: ConfigNode,
  scope: ServerScope,
  earlier?: RouteKeys,
): RouteKeys {
  const rules: ServerScope = { ...scope, allowInsecureHttp: written.allow_insecure_http ?? false };
  const read = readAll(keys, { ...written, timeouts: undefined }, node, rules, earlier);
  const timeouts = readAll(timeoutKeys, written.timeouts ?? {}, node.at('timeouts'), scope, earlier?.timeouts);
  // A key without a default is undefined.
  return { ...read, timeouts } as RouteKeys;
}
