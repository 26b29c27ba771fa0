import * as z from 'zod';
import type { CredentialSource } from '../secrets/credential.ts';
import { ASYMMETRIC_ALGORITHMS, algorithm, HMAC_ALGORITHMS } from './algorithms.ts';
import type { ConfigNode } from './config-node.ts';
import {
  type Key,
  optional,
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
import { choice, credentialSource, duration, fileSource, flag, nonEmptyText, spiffeAgent, text, tls } from './kinds.ts';
import { ABSOLUTE_URI } from './units.ts';
import { checkUrl } from './urls.ts';

/** The servers by name, in the order of the file. One with an error is undefined. */
export type Servers = ReadonlyMap<string, AuthorizationServer | undefined>;

/** Sections that refer to servers are read with it. */
export interface ServerScope extends Scope {
  readonly servers: Servers;
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
  authorization_server: text('Name of the server that issues the assertion by client credentials.', {
    form: 'name',
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

const from: Key<Written<typeof fromKeys>, From> = optional(
  section(
    'The source of the assertion in place of a file: another authorization server, as for agent identities of Entra, or a SPIFFE agent.',
    fromKeys,
    { finish: readFrom },
  ),
);

function readFrom(
  { authorizationServer: name, scope, spiffe }: Values<typeof fromKeys>,
  { node, scope: { servers } }: Place<ServerScope>,
  written: Written<typeof fromKeys>,
): From {
  if ((name === undefined) === (written.spiffe === undefined)) {
    if (!node.broken) node.error('needs either "authorization_server" or "spiffe": set one of them');
    return undefined;
  }
  if (name === undefined) return spiffe === undefined ? undefined : { spiffe };
  const authorizationServer = servers.get(name);
  if (!servers.has(name)) {
    const why = 'must name another authorization server whose own client_auth names no third one: check the name';
    node.at('authorization_server').error(why);
  }
  return authorizationServer && { authorizationServer, scope };
}

const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
/** draft-ietf-oauth-spiffe-client-auth section 3.1 */
export const JWT_SPIFFE = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe';

function readAssertionType(written: string, node: ConfigNode): string {
  if (!ABSOLUTE_URI.test(written)) node.error(`must be a full URN, as in ${JWT_BEARER}`);
  return written;
}

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
    client_assertion_type: valueKey(
      nonEmptyText,
      'URN',
      'Type URN of the client assertion. By default, RFC 7523 `jwt-bearer`, and with `from.spiffe` `urn:ietf:params:oauth:client-assertion-type:jwt-spiffe`.',
      { without: `\`${JWT_BEARER}\`` },
      readAssertionType,
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
    const isReserved = PROTOCOL_PARAMS.has(name);
    const reserved = `"${name}" is reserved for the protocol: remove it, and use the config key for it`;
    if (!isReserved && name !== '') return value === undefined ? [] : [[name, value] as const];
    node.error(isReserved ? reserved : 'empty field name: write the name', { child: name });
    return [];
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
      z.record(z.string(), z.string()),
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
    if (issuer === undefined && token_endpoint === undefined) {
      if (!node.at('issuer').broken && !node.at('token_endpoint').broken) {
        node.error('missing key "issuer" or "token_endpoint": set one, so that cambist finds the token endpoint');
      }
    }
    if (allowInsecureHttp && token_endpoint === undefined && issuer?.startsWith('https:')) {
      const why = 'has no effect: an https issuer must name https endpoints: remove it, or set "token_endpoint"';
      node.at('allow_insecure_http').warn(why);
    }
    const method = client_auth?.method;
    if (client_id === undefined && method !== undefined && method !== 'none' && !node.at('client_id').broken) {
      node.error(`missing key "client_id": method "${method}" needs it`);
    }
    const { client_assertion: file, from: other, assertion_audience: audience } = client_auth ?? {};
    const isBroken = node.at('client_auth').broken;
    const isSvid = other?.spiffe !== undefined;
    if (method === 'tls_client_auth' && !isSvid && files?.certificate === undefined && !node.at('tls').broken) {
      const fix = other === undefined ? 'or set client_auth.from to { spiffe: true }' : 'and no client_auth.from';
      node.error(`missing key "tls": method "tls_client_auth" needs its certificate and private_key, ${fix}`);
    }
    if (method === 'tls_client_auth' && isSvid && files?.certificate !== undefined) {
      node.at('tls', 'certificate').error('conflicts with client_auth.from, whose certificate is the SVID: remove one');
    }
    if (method === 'client_assertion' && audience !== undefined && !isSvid && !isBroken) {
      const why = 'has no meaning without from: { spiffe: true }: remove it, because the audience is in the assertion';
      node.at('client_auth', 'assertion_audience').error(why, 'key');
    }
    if (method === 'client_assertion' && (file === undefined) === (other === undefined) && !isBroken) {
      const why = 'method "client_assertion" needs one of "client_assertion" and "from": set one of them';
      node.at('client_auth').error(why);
    }
  },
  finish({ clientAuth: auth, ...server }): Omit<AuthorizationServer, 'name'> {
    if (auth.method === 'tls_client_auth') {
      const { method, from } = auth;
      const { ca, certificate, privateKey } = server.tls ?? {};
      const tls = from === undefined ? server.tls : { ca, certificate, privateKey, spiffe: true };
      return { ...server, tls, clientAuth: { method } };
    }
    if (auth.method !== 'client_assertion') return { ...server, clientAuth: auth };
    const { method, from, clientAssertion, clientAssertionType: type } = auth;
    if (from === undefined || 'scope' in from) {
      return { ...server, clientAuth: { method, clientAssertion, from, clientAssertionType: type ?? JWT_BEARER } };
    }
    const audience = auth.assertionAudience ?? server.issuer ?? server.tokenEndpoint ?? '';
    const svid = { ...from, audience };
    const clientAssertionType = type ?? JWT_SPIFFE;
    return { ...server, clientAuth: { method, clientAssertion: svid, from: undefined, clientAssertionType } };
  },
});
