import * as z from 'zod';
import { DEFAULTS } from './defaults.ts';
import { credentialSource, duration, fileSource, text, tls } from './schema-values.ts';

/**
 * JWS algorithms that anybody can check and only the holder of a key can make (RFC 7518 section 3.1, RFC 8037, RFC 9864): for
 * our assertions, and for the tokens of others.
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

/** Those with a client secret for key. */
export const HMAC_ALGORITHMS = ['HS256', 'HS384', 'HS512'] as const;

const clientAuth = z
  .strictObject({
    method: z
      .enum([
        'client_secret_basic',
        'client_secret_post',
        'client_secret_jwt',
        'private_key_jwt',
        'client_assertion',
        'tls_client_auth',
        'none',
      ])
      .meta({ description: 'How cambist proves to the token endpoint which client it is.' }),
    client_secret: credentialSource({
      description: 'The client secret, for `client_secret_basic`, `client_secret_post` and `client_secret_jwt`.',
    }).optional(),
    basic_encoding: z
      .enum(['form', 'raw'])
      .meta({
        description:
          '`form`: id and secret are form-urlencoded before base64, as RFC 6749 wants; `raw`: as they are, for a server that does not decode them.',
        default: DEFAULTS.basicEncoding,
      })
      .optional(),
    private_key: credentialSource({
      description: 'The key that signs the assertion of `private_key_jwt`: PEM (PKCS#8, PKCS#1, SEC1) or JWK.',
    }).optional(),
    alg: z
      .enum([...ASYMMETRIC_ALGORITHMS, ...HMAC_ALGORITHMS])
      .meta({ description: 'JWS algorithm of the assertion. Left out: what the key suggests.' })
      .optional(),
    key_id: text({ description: "`kid` of the assertion. Left out: a JWK's own `kid`, else none." }).optional(),
    assertion_audience: text({
      description: '`aud` of the assertion. Left out: the issuer, or the token endpoint where no issuer is given.',
    }).optional(),
    assertion_lifetime: duration({
      description: 'From `iat` to `exp` of the assertion, at most 10m.',
      default: DEFAULTS.assertionLifetime,
    }).optional(),
    certificate: fileSource({
      description: 'PEM: certificate of `private_key`; the assertion then bears its thumbprint, `x5t#S256`.',
    }).optional(),
    client_assertion: fileSource({
      description:
        'A JWT that others put there and renew, for `client_assertion`: a projected token, a SPIFFE JWT-SVID.',
    }).optional(),
    client_assertion_type: text({
      description: 'Type URN of the client assertion. Left out: RFC 7523 `jwt-bearer`.',
    }).optional(),
  })
  .meta({ description: 'How cambist authenticates itself (RFC 6749 section 2.3, RFC 7523 section 2.2).' });

export const authorizationServer = z
  .strictObject({
    issuer: text({
      description:
        'Issuer identifier, an https URL. Its metadata (RFC 8414, then OpenID discovery) must name the very same issuer.',
      examples: ['https://idp.example.com/realms/agents'],
    }).optional(),
    token_endpoint: text({
      description: 'URL of the token endpoint. Given: nothing is discovered, and `issuer` may be left out.',
    }).optional(),
    client_id: text({
      description: 'Client identifier of cambist at this server. May be left out with method `none`.',
    }).optional(),
    client_auth: clientAuth,
    grant: z
      .enum(['token_exchange', 'jwt_bearer'])
      .meta({ description: 'Grant that trades the subject token: RFC 8693, or RFC 7523.', default: DEFAULTS.grant })
      .optional(),
    extra_params: z
      .record(z.string(), z.string())
      .meta({
        description: 'Form fields added to every token request, as name: value. Not the ones the protocol owns.',
      })
      .optional(),
    timeout: duration({
      description: 'For one whole token request, connection and answer included; also for discovery.',
      default: DEFAULTS.authorizationServerTimeout,
    }).optional(),
    tls: tls('TLS files for this server.').optional(),
    dpop: z
      .boolean()
      .meta({ description: 'Ask for sender-constrained tokens (RFC 9449) and prove possession.', default: false })
      .optional(),
    allow_insecure_http: z
      .boolean()
      .meta({
        description: 'Allow plain http to any host: tokens and secrets cross the network in clear.',
        default: false,
      })
      .optional(),
  })
  .meta({ description: 'One authorization server and our client at it.' });

export type ClientAuthFile = z.infer<typeof clientAuth>;
export type AuthorizationServerFile = z.infer<typeof authorizationServer>;
