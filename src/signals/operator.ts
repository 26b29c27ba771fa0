import { randomUUID } from 'node:crypto';
import { errors, jwtVerify, SignJWT } from 'jose';
import type { Clock } from '../clock/clock.ts';
import type { Revoke } from '../config/signals.ts';
import { add, expect } from '../observability/counters.ts';
import type { Logger } from '../observability/logger.ts';
import { counter, samplesOf } from '../observability/metric-families.ts';
import { readKey } from '../secrets/credential.ts';
import type { Secret } from '../secrets/secret.ts';
import type { Revocation } from '../tokens/revocation-list.ts';
import type { Revocations } from '../tokens/revocations.ts';
import { reasonOf } from '../tokens/subject-check.ts';
import { InvalidSignal, LOGOUT_EVENT, readLogout } from './events.ts';
import type { Replicas } from './replicas.ts';

/** Transmitters sign with other keys. This names the only receiver of the operator's tokens. */
const AUDIENCE = 'urn:cambist:revoke';
const LIFETIME_SECONDS = 30;
const CLOCK_TOLERANCE_SECONDS = 5;
const UNKNOWN_ISSUER = 'no transmitter or verify of the config has this issuer';

/** The user whose tokens `cambist revoke` ends. */
export interface Operand {
  readonly issuer: string;
  readonly subject: string;
  /** `sid`. Undefined: all sessions. */
  readonly session: string | undefined;
}

/** The response to `POST /revoke`. */
export interface RevocationReport {
  readonly result: 'applied' | 'unchanged';
  /** The replicas that know it. `this`: without a shared cache. `this_so_far`: the write to the shared cache is pending. */
  readonly known_by: 'all' | 'this' | 'this_so_far';
}

const keyOf = (source: Revoke['secret']): Promise<Secret> => readKey(source, 'signals.revoke.secret');

const bytesOf = (key: Secret): Uint8Array => Buffer.from(key.reveal());

/**
 * Makes a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4) of the operator. The secret signs it and is not sent, because
 * another program may listen in the place of cambist.
 * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE
 */
export async function signRevocation({ secret }: Revoke, { issuer, subject, session }: Operand) {
  return new SignJWT({ events: { [LOGOUT_EVENT]: {} }, ...(session !== undefined && { sid: session }) })
    .setProtectedHeader({ alg: 'HS256', typ: 'logout+jwt' })
    .setIssuer(issuer)
    .setSubject(subject)
    .setAudience(AUDIENCE)
    .setJti(randomUUID())
    .setIssuedAt()
    .setExpirationTime(`${LIFETIME_SECONDS} s`)
    .sign(bytesOf(await keyOf(secret)));
}

export interface OperatorOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly revocations: Pick<Revocations, 'revoke'>;
  readonly replicas: Pick<Replicas, 'settled'> | undefined;
  /** The issuers whose tokens cambist serves. */
  readonly issuers: () => readonly string[];
  /** Records a revocation in the audit trail. */
  readonly onRevoked: (revocation: Revocation, result: RevocationReport['result']) => void;
}

const RESULTS = ['applied', 'unchanged', 'refused', 'failed'] as const;

/** Takes the logout tokens of `cambist revoke`. */
export function createOperator({ secret }: Revoke, options: OperatorOptions) {
  const { clock, logger, revocations, replicas, issuers, onRevoked } = options;
  const results = expect({}, RESULTS);

  async function verify(token: string): Promise<Revocation> {
    const key = bytesOf(await keyOf(secret));
    const { payload } = await jwtVerify(token, key, {
      issuer: [...issuers()],
      audience: AUDIENCE,
      algorithms: ['HS256'],
      requiredClaims: ['iat', 'exp', 'jti', 'sub'],
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
      currentDate: new Date(clock.wallMs()),
    }).catch((error: unknown) => {
      const isIssuer = error instanceof errors.JWTClaimValidationFailed && error.claim === 'iss';
      throw new InvalidSignal('invalid_request', isIssuer ? UNKNOWN_ISSUER : reasonOf(error));
    });
    return readLogout(payload, payload.iss as string).revocations[0] as Revocation;
  }

  return {
    /**
     * Applies a revocation, as that of a back-channel logout.
     * @throws {InvalidSignal} {CambistError} ERR_CREDENTIAL_UNAVAILABLE
     */
    async revoke(token: string): Promise<RevocationReport> {
      try {
        const revocation = await verify(token);
        const result = revocations.revoke(revocation) ? 'applied' : 'unchanged';
        add(results, result);
        logger.info({ result }, 'an operator revoked the tokens of a user');
        onRevoked(revocation, result);
        if (replicas === undefined) return { result, known_by: 'this' };
        return { result, known_by: (await replicas.settled())() ? 'all' : 'this_so_far' };
      } catch (error) {
        const result = error instanceof InvalidSignal ? 'refused' : 'failed';
        add(results, result);
        logger.warn({ result, err: error }, 'a revocation by an operator was not accepted');
        throw error;
      }
    },
    family: counter('cambist_operator_revocations_total', 'Revocations by `cambist revoke`, by result.', () =>
      samplesOf(results, (result) => ({ result })),
    ),
  };
}
