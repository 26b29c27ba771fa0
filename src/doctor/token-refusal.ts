import { decodeProtectedHeader } from 'jose';
import { readClaims } from '../tokens/token-text.ts';
import { type Finding, type FindingCode, listed, problem, type ShowClaim } from './finding.ts';

/** A reason for which a backend refuses a token, recognized by the backend's words. */
interface Reason {
  readonly code: FindingCode;
  readonly pattern: RegExp;
  readonly what: string;
  readonly fix: string;
}

/** The first that applies is reported. */
const REASONS: readonly Reason[] = [
  {
    code: 'backend_wants_sign_in',
    pattern: /insufficient_user_authentication/i,
    what: 'the sign-in behind the issued token: it is too old or too weak',
    fix: 'sign in again with the acr_values and max_age of the challenge, which callers get in a 401, and use the token of that sign-in',
  },
  {
    code: 'backend_refuses_scope',
    pattern: /insufficient_scope|\bscopes?\b/i,
    what: 'the scope of the issued token',
    fix: "set the route's scope, or step_up, to the scope that the backend requires",
  },
  {
    code: 'backend_refuses_type',
    pattern: /\btyp\b|\bat\+jwt\b/i,
    what: 'the type ("typ") of the issued token',
    fix: 'configure the backend to accept this type (RFC 9068: at+jwt), or the authorization server to issue tokens with another',
  },
  {
    code: 'backend_refuses_algorithm',
    pattern: /\balg(orithm)?s?\b/i,
    what: 'the signature algorithm of the issued token',
    fix: 'configure the authorization server to sign access tokens for this backend with an algorithm that the backend accepts',
  },
  {
    code: 'backend_refuses_audience',
    pattern: /\baud(ience)?s?\b|\bnot (?:\w+ )?for (?:this|the) (?:resource|server|service|api)\b/i,
    what: 'the audience of the issued token',
    fix: 'set the route\'s resource or audience to the backend\'s own name, and expect_audience to its "aud"',
  },
  {
    code: 'backend_refuses_issuer',
    pattern: /\biss(uer)?s?\b/i,
    what: 'the issuer of the issued token',
    fix: 'configure the backend to trust this issuer, exactly as written, or use the authorization server that it trusts',
  },
  {
    code: 'backend_refuses_key',
    pattern: /\bkid\b|\bjwks?\b|\bkeys?\b|\bsignature\b/i,
    what: 'the signing key of the issued token',
    fix: "check that the backend reads the keys of this issuer's jwks_uri, and can reach it",
  },
  {
    code: 'backend_refuses_lifetime',
    pattern: /\bexpired?\b|\bexp\b|\bnbf\b|\biat\b|not yet valid|not active|in the future|\bclocks?\b/i,
    what: 'the lifetime of the issued token',
    fix: 'synchronize the clocks of backend, authorization server and cambist with NTP; find the wrong one with `date -u`',
  },
];

/** Explains why a backend refuses an issued token, without the backend's words. @param words its error code and explanation */
export function tokenRefusal(words: string, token: string, show: ShowClaim): Finding {
  const plain = provingWords(words);
  const reason = REASONS.find(({ pattern }) => pattern.test(plain));
  return problem(reason?.code ?? 'backend_refuses_token', `the backend refuses ${reason?.what ?? 'the issued token'}`, {
    why: describeToken(token, show),
    fix:
      reason?.fix ??
      "compare issuer, audience, scope, key, algorithm and clock with the backend's, and check its log for this moment",
  });
}

/**
 * The words that state a reason. URLs may contain any word, and a sentence that lists alternatives ("invalid, expired, or unknown") proves
 * none of them: only error codes of it count.
 */
function provingWords(words: string): string {
  const sentences = words.replace(/https?:\/\/\S+/g, '').split(/[.;\n]/);
  const codesOf = (sentence: string) => sentence.split(' ').filter((word) => word.includes('_'));
  return sentences.map((one) => (/\bor\b/i.test(one) ? codesOf(one).join(' ') : one)).join('.');
}

function describeToken(token: string, show: ShowClaim): string {
  const claims = readClaims(token);
  if (claims === undefined) return 'the token is opaque, and the backend may require a JWT';
  const { alg, kid, typ } = decodeProtectedHeader(token);
  const key = (value: unknown): string => shortened(value, show);
  const properties = { iss: claims.iss, aud: claims.aud, scope: claims.scope, alg, kid, typ };
  const shown = Object.entries(properties).map(
    ([name, value]) => `${name} ${described(value, name === 'kid' ? key : show)}`,
  );
  return `the token has ${shown.join(', ')}`;
}

/** A key id is often a digest, which looks like a token. Its beginning tells keys apart. */
function shortened(value: unknown, show: ShowClaim): string {
  const shown = show(value);
  return shown.includes('[redacted]') && typeof value === 'string' ? `${show(value.slice(0, 8))}…` : shown;
}

function described(value: unknown, show: ShowClaim): string {
  if (value === undefined) return '(none)';
  return Array.isArray(value) ? `[${listed(value, show)}]` : `"${show(value)}"`;
}
