import * as z from 'zod';
import type { ConfigNode } from '../documents/config-node.ts';
import type { CredentialSource } from '../secrets/credential.ts';
import { ASYMMETRIC_ALGORITHMS, algorithm, HMAC_ALGORITHMS } from './algorithms.ts';
import {
  type Key,
  optionalSection,
  type Place,
  required,
  type Scope,
  section,
  type ValueOf,
  type Values,
  valueKey,
  variants,
  type Written,
  withFallback,
} from './key.ts';
import {
  choice,
  credentialSource,
  duration,
  fileSource,
  flag,
  nonEmptyText,
  serverName,
  spiffeAgent,
  text,
  tls,
  word,
} from './kinds.ts';
import { ABSOLUTE_URI } from './units.ts';
import { checkUrl } from './urls.ts';

/** The servers by name, in the order of the file. One with an error is undefined. */
export type Servers = ReadonlyMap<string, AuthorizationServer | undefined>;

/** Sections that refer to servers are read with it. */
export interface ServerScope extends Scope {
  readonly servers: Servers;
  readonly serversWithFrom?: ReadonlySet<string>;
  /** May the keys that verify tokens be fetched by plain http? */
  readonly allowInsecureHttp?: boolean;
}

/** Another authorization server issues the client assertion, for cambist's client there. */
export interface AssertionFrom {
  readonly authorizationServer: AuthorizationServer;
  readonly scope: string;
}

const clientSecret = required(
  credentialSource('Client secret, for `client_secret_basic`, `client_secret_post` and `client_secret_jwt`.'),
);

const assertionAudience = text(
  '`aud` of the assertion, always one string. Some servers want their token endpoint. By default, the issuer, or the token endpoint if there is no issuer.',
  { without: 'the issuer, else the token endpoint' },
);

const assertionKeys = {
  assertion_audience: assertionAudience,
  // An assertion with a longer life is worth stealing, and servers refuse it.
  assertion_lifetime: duration('Time from `iat` to `exp` of the assertion, at most 10m.', {
    default: '60s',
    min: '1s',
    max: '10m',
  }),
};

const fromKeys = {
  // The servers known here need no assertion of another server.
  authorization_server: serverName('Name of the server that issues the assertion by client credentials.', {
    page: 'authorization-servers.md#an-assertion-of-another-server',
  }),
  // Entra's audience for tokens that vouch for another identity.
  scope: text('Scope of the assertion.', { default: 'api://AzureADTokenExchange/.default' }),
  spiffe: valueKey(
    z.literal(true, { error: 'must be true' }),
    '`true`',
    'The SVID of cambist: a JWT-SVID as assertion, or the X.509-SVID as certificate of `tls_client_auth`.',
    { page: 'spiffe.md#authorization-servers' },
    (_written: true, node, scope) => spiffeAgent(node, scope),
  ),
};

/** Another server, or the socket of the agent that issues the SVID of cambist. */
type From = AssertionFrom | { readonly spiffe: string } | undefined;

const from: Key<Written<typeof fromKeys>, From> = optionalSection(
  'The source of the assertion in place of a file: another authorization server, as for agent identities of Entra, or a SPIFFE agent.',
  fromKeys,
  { finish: readFrom },
);

function readFrom(
  { authorizationServer: name, scope, spiffe }: Values<typeof fromKeys>,
  { node, scope: { servers } }: Place<ServerScope>,
  written: Written<typeof fromKeys>,
): From {
  if ((name === undefined) === (written.spiffe === undefined)) {
    node.error('needs either "authorization_server" or "spiffe": set one of them');
    return undefined;
  }
  if (name === undefined) return spiffe === undefined ? undefined : { spiffe };
  const authorizationServer = servers.get(name);
  return authorizationServer && { authorizationServer, scope };
}

const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
/** draft-ietf-oauth-spiffe-client-auth section 3.1 */
const JWT_SPIFFE = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe';

const METHODS = {
  client_secret_basic: {
    client_secret: clientSecret,
    basic_encoding: choice(
      ['form', 'raw'],
      '`form` form-urlencodes id and secret before base64, as RFC 6749 requires. `raw` does not, for a server that does not decode them.',
      { default: 'form' },
    ),
  },
  client_secret_post: { client_secret: clientSecret },
  client_secret_jwt: {
    client_secret: clientSecret,
    // Every server supports this one.
    alg: withFallback(algorithm(HMAC_ALGORITHMS, 'a shared secret'), 'HS256'),
    ...assertionKeys,
  },
  private_key_jwt: {
    private_key: required(
      credentialSource('Key that signs the assertion of `private_key_jwt`: PEM (PKCS#8, PKCS#1, SEC1) or JWK.'),
    ),
    alg: algorithm(ASYMMETRIC_ALGORITHMS, 'a private key'),
    key_id: text('`kid` of the assertion. By default, the `kid` of a JWK, else none.', { without: "the JWK's `kid`" }),
    ...assertionKeys,
    certificate: fileSource(
      'PEM: certificate of `private_key`. The assertion then contains its thumbprint, `x5t#S256`, which Entra requires.',
    ),
  },
  client_assertion: {
    client_assertion: fileSource(
      'JWT for `client_assertion` that another program renews, such as a projected token. An expired one is refused.',
      { without: 'required' },
    ),
    from,
    client_assertion_type: word(
      ABSOLUTE_URI,
      `must be a full URN, as in ${JWT_BEARER}`,
      'Type URN of the client assertion. By default, RFC 7523 `jwt-bearer`, and with `from.spiffe` `urn:ietf:params:oauth:client-assertion-type:jwt-spiffe`.',
      { form: 'URN', without: `\`${JWT_BEARER}\`` },
    ),
    assertion_audience: assertionAudience,
  },
  tls_client_auth: { from },
  none: {},
} as const;

const clientAuth = variants(
  'method',
  'Method of client authentication at the token endpoint.',
  'Client authentication of cambist (RFC 6749 section 2.3, RFC 7523 section 2.2).',
  METHODS,
);

type WrittenAuth = ValueOf<typeof clientAuth>;

export type ClientAuth =
  | Exclude<WrittenAuth, { readonly method: 'client_assertion' | 'tls_client_auth' }>
  /** The certificate is that of the server's `tls`. */
  | { readonly method: 'tls_client_auth' }
  | {
      readonly method: 'client_assertion';
      /** A file, or a JWT-SVID. Undefined: another server issues the assertion. */
      readonly clientAssertion: CredentialSource | undefined;
      readonly from: AssertionFrom | undefined;
      readonly clientAssertionType: string;
    };

/** Claims of an assertion that cambist signs. */
export type AssertionRules = Values<typeof assertionKeys>;

/** Form fields of the protocol (RFC 6749, 7521, 8693, 8707). Config keys of their own set them, or nothing does. */
const PROTOCOL_PARAMS = new Set([
  ...['grant_type', 'client_id', 'client_secret', 'client_assertion', 'client_assertion_type', 'subject_token'],
  ...['subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type', 'resource', 'audience', 'scope'],
  ...['assertion', 'code', 'code_verifier', 'redirect_uri', 'refresh_token', 'username', 'password', 'connection'],
]);

function readExtraParams(
  written: Readonly<Record<string, string | undefined>>,
  node: ConfigNode,
): readonly (readonly [name: string, value: string])[] {
  return Object.entries(written).flatMap(([name, value]) => {
    if (PROTOCOL_PARAMS.has(name)) {
      node.error(`"${name}" is reserved for the protocol: remove it, and use the config key for it`, { child: name });
    }
    return value === undefined ? [] : [[name, value] as const];
  });
}

const serverKeys = {
  issuer: text(
    'Issuer identifier, an https URL. Its metadata (RFC 8414, then OpenID discovery) must name exactly this issuer.',
    { examples: ['https://idp.example.com/realms/agents'], form: 'URL' },
  ),
  token_endpoint: text(
    'URL of the token endpoint. It turns discovery off, and makes `issuer` optional. A query is allowed.',
    { form: 'URL', without: 'discovered' },
  ),
  client_id: text('Client identifier of cambist at this server. Optional with method `none`.'),
  client_auth: required(clientAuth),
  grant: choice(
    ['token_exchange', 'jwt_bearer', 'token_vault'],
    'Grant for the subject token: RFC 8693, RFC 7523, or that of Auth0 Token Vault.',
    { default: 'token_exchange', page: 'authorization-servers.md#on-behalf-of-a-caller' },
  ),
  extra_params: withFallback(
    valueKey(
      z.record(nonEmptyText, z.string()),
      'map of text',
      'Form fields added to every token request, as name: value, such as `connector_id` of Dex. Fields of the protocol are refused.',
      {},
      readExtraParams,
    ),
    {},
  ),
  timeout: duration(
    'Time for a complete token request, from connecting to the end of the response, at most 10m. Also for discovery.',
    { default: '5s', min: '1ms', max: '10m' },
  ),
  tls: tls('TLS files for this server.'),
  dpop: flag('Request sender-constrained tokens (RFC 9449) and prove possession.', {
    default: false,
    page: 'authorization-servers.md#proof-of-possession',
  }),
  allow_insecure_http: flag(
    'Allow plain http to any host. Tokens and secrets then cross the network unencrypted. Discovered endpoints of an https issuer must be https in any case.',
    { default: false },
  ),
};

export interface AuthorizationServer extends Omit<Values<typeof serverKeys>, 'clientAuth'> {
  readonly clientAuth: ClientAuth;
  /** Its key in the file, and its label in metrics. */
  readonly name: string;
}

export const authorizationServer = section('An authorization server, and cambist’s client there.', serverKeys, {
  check({ allowInsecureHttp = false, tls: files }, { node }, { issuer, token_endpoint, client_id, client_auth }) {
    checkUrl(issuer, node.at('issuer'), { allowInsecureHttp, allowQuery: false });
    checkUrl(token_endpoint, node.at('token_endpoint'), { allowInsecureHttp, allowQuery: true });
    if (issuer?.includes('/.well-known/'))
      node.at('issuer').warn('is the URL of its metadata: remove "/.well-known/" and everything after it');
    const lacksUrl = issuer === undefined && token_endpoint === undefined;
    if (lacksUrl && !node.at('issuer').broken && !node.at('token_endpoint').broken) {
      node.error('missing key "issuer" or "token_endpoint": set one, so that cambist finds the token endpoint');
    }
    if (allowInsecureHttp && token_endpoint === undefined && issuer?.startsWith('https:')) {
      const why = 'has no effect: an https issuer must name https endpoints: remove it, or set "token_endpoint"';
      node.at('allow_insecure_http').warn(why);
    }
    const { method, client_assertion: file, from: other, assertion_audience: audience } = client_auth ?? {};
    if (client_id === undefined && method !== undefined && method !== 'none') {
      node.missing('client_id', `method "${method}" needs it`);
    }
    if (node.at('client_auth').broken || node.at('tls').broken) return;
    const isSvid = other?.spiffe !== undefined;
    const isOther = other !== undefined && !isSvid;
    if (method === 'tls_client_auth' && (isOther || isSvid === (files?.certificate !== undefined))) {
      const fix = 'set either certificate and private_key in tls, or client_auth.from to { spiffe: true }';
      node.error(`method "tls_client_auth" needs one certificate: ${fix}`);
    }
    if (method !== 'client_assertion') return;
    if (audience !== undefined && !isSvid) {
      const why = 'has no meaning without from: { spiffe: true }: remove it, because the audience is in the assertion';
      node.at('client_auth', 'assertion_audience').error(why, 'key');
    }
    if ((file === undefined) === (other === undefined)) {
      const why = 'method "client_assertion" needs one of "client_assertion" and "from": set one of them';
      node.at('client_auth').error(why);
    }
  },
  finish({ clientAuth: auth, ...server }): Omit<AuthorizationServer, 'name'> {
    if (auth.method === 'tls_client_auth') {
      const svid = { ca: undefined, certificate: undefined, privateKey: undefined, ...server.tls, spiffe: true };
      return { ...server, tls: auth.from === undefined ? server.tls : svid, clientAuth: { method: auth.method } };
    }
    if (auth.method !== 'client_assertion') return { ...server, clientAuth: auth };
    const { method, from, clientAssertion, clientAssertionType: type, assertionAudience } = auth;
    if (from === undefined || 'scope' in from) {
      return { ...server, clientAuth: { method, clientAssertion, from, clientAssertionType: type ?? JWT_BEARER } };
    }
    const svid = { ...from, audience: assertionAudience ?? server.issuer ?? server.tokenEndpoint ?? '' };
    const clientAssertionType = type ?? JWT_SPIFFE;
    return { ...server, clientAuth: { method, clientAssertion: svid, from: undefined, clientAssertionType } };
  },
});
