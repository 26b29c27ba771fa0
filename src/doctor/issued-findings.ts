import type { JWTPayload } from 'jose';
import type { TokenTarget } from '../config/route.ts';
import type { SentValue } from '../tokens/sent-values.ts';
import { type Finding, fine, listed, problem, warning } from './finding.ts';
import type { FailedExchange } from './oauth-error.ts';
import { jsonBodyOf } from './recorded-request.ts';

/** Claims that name or describe a person (OpenID Connect Core 1.0 section 5.1), and Entra's names for some of them. */
const PERSONAL: readonly string[] = (
  'name given_name family_name middle_name nickname preferred_username email phone_number birthdate address ' +
  'profile picture website upn unique_name'
).split(' ');

/** Shorter values occur in ordinary words. */
const MIN_LENGTH = 4;

/** The values of a token's personal claims, for `hideCredentials`: servers and backends may repeat them in an error. */
export function personalValues(claims: JWTPayload | undefined): SentValue[] {
  return PERSONAL.flatMap((name) => {
    const value: unknown = claims?.[name];
    return typeof value === 'string' && value.length >= MIN_LENGTH ? [{ name, value, isCredential: true }] : [];
  });
}

/** Deeper claims are left out. A chain of actors is shorter, and a token could otherwise nest too deeply to be read. */
const MAX_DEPTH = 16;

/** Drops personal claims, also from nested ones such as `act`. */
function withoutPersonal(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (depth === MAX_DEPTH) return undefined;
  if (Array.isArray(value)) return value.map((inner) => withoutPersonal(inner, depth + 1));
  const kept = Object.entries(value).filter(([name]) => !PERSONAL.includes(name));
  return Object.fromEntries(kept.map(([name, inner]) => [name, withoutPersonal(inner, depth + 1)]));
}

interface IssuedExchange extends Pick<FailedExchange, 'server' | 'request' | 'subject' | 'show'> {
  readonly target: TokenTarget;
  /** An opaque token has none. */
  readonly claims: JWTPayload | undefined;
  /** It has the form of a JWT whose audience cannot be checked. */
  readonly ambiguous: boolean;
  /** Name of the request's value that the token contains. */
  readonly repeated: string | undefined;
}

/** Tokens with a shorter lifetime are of little use to a cache. */
const SHORT_LIFETIME_SECONDS = 30;

const SKEW_SECONDS = 5;

/** Claims that are safe to show: they describe the token and its client, not the user. */
const SHOWN_CLAIMS: readonly string[] = 'iss aud azp client_id appid act may_act scope scp roles cnf iat nbf exp'.split(
  ' ',
);

export function issuedFindings(issued: IssuedExchange): Finding[] {
  const { claims, repeated, ambiguous, target } = issued;
  if (ambiguous && target.expectAudience !== 'any') return [AMBIGUOUS];
  const first: Finding =
    claims === undefined
      ? warning('token_opaque', 'an opaque token was issued: its audience cannot be checked', {
          why: 'the backend must introspect it, or cannot use it; cambist forwards it unchecked',
          fix: 'configure the server to issue JWT access tokens to this client (ZITADEL: also requested_token_type: jwt)',
        })
      : { ...fine('token_issued', 'a token was issued, with these claims among others'), claims: shownClaims(claims) };
  const others = [
    repeated === undefined
      ? []
      : problem('token_unchanged', `the token contains the "${repeated}" of the request`, {
          why: 'the server did not exchange the token; the route returns 502 ERR_STS_RESPONSE_INVALID and forwards nothing',
          fix: 'enable token exchange for this client, and check subject_token_type and requested_token_type of the request',
        }),
    audienceFindings(issued),
    notYetValidFinding(issued),
    lifetimeFinding(issued),
    actorFinding(issued),
    scopeFinding(issued),
  ];
  return [first, ...others.flat().filter((finding) => finding !== undefined)];
}

const AMBIGUOUS = problem('token_ambiguous', 'the token has the form of a JWT, but its audience cannot be checked', {
  why: 'its claims are not strict JSON with at most one "aud"; the route returns 502 ERR_ISSUED_TOKEN_AUDIENCE and forwards nothing',
  fix: 'fix the claims at the server (a byte order mark, UTF-16, NaN, a second "aud"), or set expect_audience: any if it issues no JWTs',
});

function shownClaims(claims: JWTPayload): JWTPayload {
  const shown = Object.entries(claims).filter(([name]) => SHOWN_CLAIMS.includes(name));
  return Object.fromEntries(shown.map(([name, value]) => [name, withoutPersonal(value)]));
}

function audienceFindings({ claims, target, server, request, show }: IssuedExchange): Finding | Finding[] {
  const { expectAudience } = target;
  if (claims === undefined) return [];
  const named = [claims.aud ?? []].flat();
  const said = named.length === 0 ? 'it has no "aud"' : `its "aud" is ${listed(named, show)}`;
  if (expectAudience === 'any') {
    return warning('audience_not_checked', `${said}, which is not checked`, {
      why: 'expect_audience is any',
      fix: 'set expect_audience to the "aud" that the backend expects',
    });
  }
  const isExclusive = 'only' in expectAudience;
  const accepted = isExclusive ? expectAudience.only : expectAudience;
  const others = named.filter((name) => !accepted.includes(name));
  if (others.length < named.length) {
    const matches = fine('audience_matches', `${said}, which includes the backend's audience`);
    if (others.length === 0) return matches;
    const what = `the token is also valid at ${listed(others, show)}`;
    if (isExclusive) {
      return problem('audience_not_only', `${what}, which expect_audience.only excludes`, {
        why: REFUSED,
        fix: `${ONE_AUDIENCE}; or add these names to expect_audience.only, if they all belong to this backend`,
      });
    }
    const fix = `${ONE_AUDIENCE}; then refuse other tokens by expect_audience: { only: … }`;
    return [matches, warning('audience_broad', what, { why: 'the backend could use the token there', fix })];
  }
  const wanted = listed(accepted);
  if (named.length > 0 && named.every((name) => name === server.clientId)) {
    const what = `the token is for client "${server.clientId}", not for the backend (${wanted})`;
    return problem('token_for_client', what, {
      why: 'the server ignores resource and audience: Spring Authorization Server by default, Dex always',
      fix: 'configure the server to set "aud" from the request (Spring: an OAuth2TokenCustomizer) after checking that this client may request it; at Dex name the backend in the route\'s scope, as audience:server:client_id:<backend>',
    });
  }
  const ignored = request.form.has('audience')
    ? ''
    : "if the server ignores resource (Keycloak), set the route's audience to its own name of the backend; ";
  return problem('audience_wrong', `${said}, which does not include the backend's audience (${wanted})`, {
    why: REFUSED,
    fix: `${ignored}configure the server to add it (Keycloak: an audience mapper on this client); or, if the backend has another name for itself, set the route's expect_audience to that name`,
  });
}

const REFUSED = 'the route returns 502 ERR_ISSUED_TOKEN_AUDIENCE and forwards nothing';

const ONE_AUDIENCE =
  "configure the server to issue it for this backend alone (Keycloak: by the route's audience; for client_credentials it adds the audience of every mapper, so use a separate client for that route)";

/** Epoch seconds at which the token arrived. */
function arrivedAt({ request }: IssuedExchange): number {
  return (request.respondedAtMs ?? request.sentAtMs) / 1000;
}

function notYetValidFinding(issued: IssuedExchange) {
  const notBefore = issued.claims?.nbf;
  const seconds = typeof notBefore === 'number' ? notBefore - arrivedAt(issued) : 0;
  if (seconds <= SKEW_SECONDS) return undefined;
  return problem('token_not_yet_valid', `the token is not valid for another ${Math.round(seconds)} s ("nbf")`, {
    why: "the server's clock is ahead, and a backend with a correct clock refuses the token",
    fix: 'synchronize both machines with NTP',
  });
}

/** A server may cap the issued token by the subject token. */
function lifetimeFinding(issued: IssuedExchange): Finding {
  const nowSeconds = arrivedAt(issued);
  const { expires_in: expiresIn } = jsonBodyOf(issued.request);
  const left = (claims: JWTPayload | undefined) =>
    typeof claims?.exp === 'number' ? claims.exp - nowSeconds : Number.NaN;
  const stated = [expiresIn === undefined || expiresIn === null ? Number.NaN : Number(expiresIn), left(issued.claims)];
  const lifetimes = stated.filter((seconds) => !Number.isNaN(seconds));
  if (lifetimes.length === 0) {
    return warning('lifetime_unknown', 'neither the response nor the token says when it expires', {
      why: 'cambist reuses such a token for 60 s',
      fix: 'configure the server to send expires_in',
    });
  }
  const seconds = Math.round(Math.min(...lifetimes));
  if (seconds <= 0) {
    return problem('token_expired', 'the token had expired before it arrived', {
      why: 'the clocks differ, or the server issues tokens without a lifetime',
      fix: 'synchronize both machines with NTP, and check the token lifetime of this client at the server',
    });
  }
  if (Math.abs(seconds - left(issued.subject)) <= SKEW_SECONDS) {
    return fine('lifetime', `it expires in ${seconds} s, with the subject token`);
  }
  if (seconds >= SHORT_LIFETIME_SECONDS) return fine('lifetime', `it expires in ${seconds} s`);
  return warning('lifetime_short', `it expires in only ${seconds} s`, {
    why: 'almost every request needs its own exchange',
    fix: 'give tokens of this client a lifetime of some minutes',
  });
}

function actorFinding({ request, claims }: IssuedExchange) {
  if (!request.form.has('actor_token') || claims === undefined || claims.act !== undefined) return undefined;
  return warning('actor_missing', 'an actor token was sent, but the issued token names no actor ("act")', {
    why: "some servers (Keycloak's standard exchange) ignore actor_token",
    fix: 'remove actor_token from the route if the server ignores it',
  });
}

function scopeFinding({ request, target }: IssuedExchange) {
  const { scope: granted } = jsonBodyOf(request);
  // RFC 6749 section 5.1: the response omits the scope if it is identical to the requested one.
  if (typeof granted !== 'string' || target.scope === undefined) return undefined;
  const missing = target.scope
    .split(' ')
    .filter((scope) => !granted.split(' ').includes(scope) && !scope.endsWith('/.default'));
  if (missing.length === 0) return undefined;
  return warning('scope_reduced', `these requested scopes were not granted: ${listed(missing)}`, {
    fix: 'allow this client and user these scopes at the server, or request fewer',
  });
}
