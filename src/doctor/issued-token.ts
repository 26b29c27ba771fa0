import type { JWTPayload } from 'jose';
import type { AuthorizationServer, TokenTarget } from '../config/config.ts';
import { type Finding, fine, printable, problem, warning } from './finding.ts';
import { jsonBodyOf, type RecordedRequest } from './recorded-request.ts';

/** A token that came back, and what it was asked for with. */
export interface IssuedExchange {
  readonly server: AuthorizationServer;
  readonly target: TokenTarget;
  readonly answer: RecordedRequest;
  /** Undefined where the token is opaque. */
  readonly claims: JWTPayload | undefined;
  readonly subject: JWTPayload | undefined;
  /** Name of the request's value that the token contains. */
  readonly repeated: string | undefined;
}

/** A shorter life makes a token of little use to a cache. */
const SHORT_LIFE_SECONDS = 30;

const SKEW_SECONDS = 5;

/** What an issued token is worth to the route that asked for it. Pure. */
export function issuedFindings(issued: IssuedExchange): Finding[] {
  const { claims, repeated } = issued;
  const first: Finding =
    claims === undefined
      ? warning('token_opaque', 'a token was issued, and it is opaque: whom it is for cannot be seen', {
          why: 'the backend has to ask the server, or cannot use it; cambist lets it through unchecked',
          fix: 'have the server issue JWT access tokens to this client (ZITADEL: also requested_token_type: jwt)',
        })
      : { ...fine('token_issued', 'a token was issued; it claims'), claims };
  return [
    first,
    ...(repeated === undefined ? [] : [unchangedFinding(repeated)]),
    ...audienceFindings(issued),
    ...timeFindings(issued),
    ...actorFindings(issued),
    ...scopeFindings(issued),
  ];
}

function unchangedFinding(repeated: string): Finding {
  return problem('token_unchanged', `the token contains the "${repeated}" of the request`, {
    why: 'the server did not exchange the token; the route returns 502 ERR_STS_RESPONSE_INVALID and forwards nothing',
    fix: 'enable token exchange for this client, and check subject_token_type and requested_token_type of the request',
  });
}

function audienceFindings({ claims, target, server, answer }: IssuedExchange): Finding[] {
  const { expectAudience } = target;
  if (claims === undefined) return [];
  const named = [claims.aud ?? []].flat();
  const said = named.length === 0 ? 'it has no "aud"' : `its "aud" is ${listed(named)}`;
  if (expectAudience === 'any') {
    return [
      warning('audience_not_checked', `${said}, which is not checked`, {
        why: 'expect_audience is any',
        fix: 'set expect_audience to what the backend expects in "aud"',
      }),
    ];
  }
  if (named.some((name) => expectAudience.includes(name))) {
    const others = named.filter((name) => !expectAudience.includes(name));
    const right = fine('audience_matches', `${said}: the backend's audience is in it`);
    return others.length === 0 ? [right] : [right, broadFinding(others)];
  }
  const wanted = listed(expectAudience);
  if (named.every((name) => name === server.clientId) && named.length > 0) {
    return [
      problem(
        'token_for_client',
        `the token is for client "${server.clientId}" itself, not for the backend (${wanted})`,
        {
          why: 'the server did not act on resource and audience: Spring Authorization Server by default, Dex always',
          fix: 'have the server set "aud" from the request (Spring: an OAuth2TokenCustomizer), after it has checked that this client may ask for it; at Dex name the backend in the route\'s scope, as audience:server:client_id:<backend>',
        },
      ),
    ];
  }
  return [
    problem('audience_wrong', `${said}: the backend's audience (${wanted}) is not in it`, {
      why: 'the route would answer 502 ERR_ISSUED_TOKEN_AUDIENCE',
      fix: answer.form.has('audience')
        ? "make the server put it in (Keycloak: an audience mapper on this client); or, if the backend knows itself by another name, set the route's expect_audience to that"
        : "where the server knows no resource (Keycloak), set the route's audience to its own name of the backend, with an audience mapper for that on this client; or, if the backend knows itself by another name, set the route's expect_audience to that",
    }),
  ];
}

function broadFinding(others: readonly string[]): Finding {
  return warning('audience_broad', `it is for ${listed(others)} as well`, {
    why: 'the backend could use it there, which is what an exchange is to prevent',
    fix: "have the server issue it for the one backend (Keycloak: by the route's audience; for client_credentials it adds every mapper's, so give that route a client of its own)",
  });
}

function timeFindings({ claims, answer, subject }: IssuedExchange): Finding[] {
  const nowSeconds = (answer.answeredAtMs ?? answer.sentAtMs) / 1000;
  const { expires_in: expiresIn } = jsonBodyOf(answer);
  const findings: Finding[] = [];
  const notBefore = claims?.nbf;
  if (typeof notBefore === 'number' && notBefore > nowSeconds + SKEW_SECONDS) {
    findings.push(
      problem(
        'token_not_yet_valid',
        `the token is not valid for another ${Math.round(notBefore - nowSeconds)} s ("nbf")`,
        {
          why: "the server's clock is ahead, and a backend with the right time refuses the token",
          fix: 'let both machines take their time from NTP',
        },
      ),
    );
  }
  const byAnswer = expiresIn === undefined || expiresIn === null ? Number.NaN : Number(expiresIn);
  const byToken = typeof claims?.exp === 'number' ? claims.exp - nowSeconds : Number.NaN;
  const lives = [byAnswer, byToken].filter((seconds) => !Number.isNaN(seconds));
  if (lives.length === 0) {
    findings.push(
      warning('lifetime_unknown', 'neither the answer nor the token says how long it lives', {
        why: 'cambist reuses such a token for 60 s',
        fix: 'have the server send expires_in',
      }),
    );
    return findings;
  }
  const seconds = Math.round(Math.min(...lives));
  findings.push(lifeFinding(seconds));
  const subjectEnd = subject?.exp;
  if (typeof subjectEnd === 'number' && nowSeconds + seconds > subjectEnd + SKEW_SECONDS) {
    findings.push(
      warning('outlives_subject', "the token outlives the caller's by its own account", {
        why: "cambist gives it up with the caller's token; whoever else gets hold of it need not",
        fix: 'have the server cap the life of exchanged tokens by that of the subject token, or shorten it',
      }),
    );
  }
  return findings;
}

function lifeFinding(seconds: number): Finding {
  if (seconds <= 0) {
    return problem('token_expired', 'the token had ended before it came', {
      why: 'the clocks differ, or the server gave it no life',
      fix: 'let both machines take their time from NTP, and see how long the server lets tokens of this client live',
    });
  }
  if (seconds >= SHORT_LIFE_SECONDS) return fine('lifetime', `it lives ${seconds} s`);
  return warning('lifetime_short', `it lives ${seconds} s only`, {
    why: 'each use comes close to an exchange of its own',
    fix: 'let tokens of this client live some minutes',
  });
}

function actorFindings({ answer, claims }: IssuedExchange): Finding[] {
  if (!answer.form.has('actor_token') || claims === undefined) return [];
  if (claims.act !== undefined)
    return [fine('actor_named', `it names the actor: act ${printable(JSON.stringify(claims.act))}`)];
  return [
    warning('actor_missing', 'an actor token was sent, and the issued token names no actor ("act")', {
      why: "some servers (Keycloak's standard exchange) ignore actor_token",
      fix: 'leave actor_token out of the route where the server does nothing with it',
    }),
  ];
}

function scopeFindings({ answer, target }: IssuedExchange): Finding[] {
  const { scope: granted } = jsonBodyOf(answer);
  // RFC 6749 section 5.1: left out where it is what was asked for.
  if (typeof granted !== 'string' || target.scope === undefined) return [];
  const missing = target.scope
    .split(' ')
    .filter((scope) => !granted.split(' ').includes(scope) && !scope.endsWith('/.default'));
  if (missing.length === 0) return [];
  return [
    warning('scope_reduced', `not granted of the scope that was asked for: ${listed(missing)}`, {
      fix: 'allow this client and user these scopes at the server, or ask for less',
    }),
  ];
}

function listed(names: readonly string[]): string {
  return names.map((name) => `"${printable(name)}"`).join(', ');
}
