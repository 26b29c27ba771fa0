import * as z from 'zod';
import { DEFAULTS } from './defaults.ts';
import { choice, credentialSource, duration, fileSource, flag, text, tls } from './schema-values.ts';

/**
 * JWS algorithms with a key pair (RFC 7518 section 3.1, RFC 8037, RFC 9864), for cambist's assertions and for verifying tokens.
 */
export const ASYMMETRIC_ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
] as const;

/** JWS algorithms with the client secret as key. */
export const HMAC_ALGORITHMS = ['HS256', 'HS384', 'HS512'] as const;

const clientAuth = z
  .strictObject({
    method: choice(
      [
        'client_secret_basic',
        'client_secret_post',
        'client_secret_jwt',
        'private_key_jwt',
        'client_assertion',
        'tls_client_auth',
        'none',
      ],
      'Method of client authentication at the token endpoint.',
    ),
    client_secret: credentialSource(
      'Client secret, for `client_secret_basic`, `client_secret_post` and `client_secret_jwt`.',
    ).optional(),
    basic_encoding: choice(
      ['form', 'raw'],
      '`form` form-urlencodes id and secret before base64, as RFC 6749 requires. `raw` does not, for a server that does not decode them.',
      { default: DEFAULTS.basicEncoding },
    ).optional(),
    private_key: credentialSource(
      'Key that signs the assertion of `private_key_jwt`: PEM (PKCS#8, PKCS#1, SEC1) or JWK.',
    ).optional(),
    alg: choice(
      [...ASYMMETRIC_ALGORITHMS, ...HMAC_ALGORITHMS],
      'JWS algorithm of the assertion. By default, derived from the key.',
    ).optional(),
    key_id: text('`kid` of the assertion. By default, the `kid` of a JWK, else none.').optional(),
    assertion_audience: text(
      '`aud` of the assertion. By default, the issuer, or the token endpoint if there is no issuer.',
    ).optional(),
    assertion_lifetime: duration('Time from `iat` to `exp` of the assertion, at most 10m.', {
      default: DEFAULTS.assertionLifetime,
    }).optional(),
    certificate: fileSource(
      'PEM: certificate of `private_key`. The assertion then contains its thumbprint, `x5t#S256`.',
    ).optional(),
    client_assertion: fileSource(
      'JWT for `client_assertion` that another program renews, such as a projected token or a SPIFFE JWT-SVID.',
    ).optional(),
    from: z
      .strictObject({
        authorization_server: text('Name of the server that issues the assertion by client credentials.'),
        scope: text('Scope of the assertion.', { default: DEFAULTS.assertionScope }).optional(),
      })
      .meta({
        description:
          'For `client_assertion`: another authorization server issues the assertion, as for agent identities of Entra.',
      })
      .optional(),
    client_assertion_type: text('Type URN of the client assertion. By default, RFC 7523 `jwt-bearer`.').optional(),
  })
  .meta({ description: 'Client authentication of cambist (RFC 6749 section 2.3, RFC 7523 section 2.2).' });

export const authorizationServer = z
  .strictObject({
    issuer: text(
      'Issuer identifier, an https URL. Its metadata (RFC 8414, then OpenID discovery) must name exactly this issuer.',
      { examples: ['https://idp.example.com/realms/agents'] },
    ).optional(),
    token_endpoint: text('URL of the token endpoint. It turns discovery off, and makes `issuer` optional.').optional(),
    client_id: text('Client identifier of cambist at this server. Optional with method `none`.').optional(),
    client_auth: clientAuth,
    grant: choice(
      ['token_exchange', 'jwt_bearer', 'token_vault'],
      'Grant for the subject token: RFC 8693, RFC 7523, or that of Auth0 Token Vault.',
      { default: DEFAULTS.grant },
    ).optional(),
    extra_params: z
      .record(z.string(), z.string())
      .meta({
        description: 'Form fields added to every token request, as name: value. Fields of the protocol are refused.',
      })
      .optional(),
    timeout: duration(
      'Time for a complete token request, from connecting to the end of the response. Also for discovery.',
      { default: DEFAULTS.authorizationServerTimeout },
    ).optional(),
    tls: tls('TLS files for this server.').optional(),
    dpop: flag('Request sender-constrained tokens (RFC 9449) and prove possession.', { default: false }).optional(),
    allow_insecure_http: flag(
      'Allow plain http to any host. Tokens and secrets then cross the network unencrypted. Discovered endpoints of an https issuer must be https in any case.',
      { default: false },
    ).optional(),
  })
  .meta({ description: 'An authorization server, and cambist’s client there.' });

export type ClientAuthFile = z.infer<typeof clientAuth>;
export type AuthorizationServerFile = z.infer<typeof authorizationServer>;
