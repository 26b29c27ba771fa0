import { endpointProblem } from '../tokens/metadata.ts';
import { type Finding, printable, problem } from './finding.ts';
import { jsonBodyOf, type RecordedRequest } from './recorded-request.ts';

/** Whose metadata, what of them, and where the config says so. */
export interface MetadataLookup {
  readonly issuer: string;
  /** As in `authorization_servers.main`, which has the keys `issuer` and that of the endpoint. */
  readonly place: string;
  readonly endpoint: 'token_endpoint' | 'jwks_uri';
  /** What to set for an endpoint of plain http, as in `authorization_servers.main.allow_insecure_http: true`. */
  readonly allowInsecure: string;
  readonly allowInsecureHttp: boolean;
}

/**
 * Why there is no endpoint in what an issuer, or whoever answers in its place, says of itself. Pure.
 * @param why the program's own verdict
 */
export function unusableMetadata(lookup: MetadataLookup, answers: readonly RecordedRequest[], why: string): Finding {
  const { endpoint, issuer, place } = lookup;
  const documents = answers.filter((answer) => answer.status === 200 && isObject(answer));
  const other = documents.find((answer) => jsonBodyOf(answer).issuer !== issuer);
  if (other !== undefined) return mismatch(lookup, other);
  const [document] = documents;
  if (document !== undefined) return unusableEndpoint(lookup, document, why);
  const fix = `check ${place}.issuer ("${issuer}"), or set ${endpoint}, with which nothing is discovered`;
  const html = answers.find(({ status }) => status === 200);
  if (html !== undefined) {
    return problem('metadata_unusable', `${html.url} answers 200, and not with JSON`, {
      why: 'some servers answer any address with a web page',
      fix,
    });
  }
  const places = answers.map(({ url, status }) => `${url} (${status ?? 'no answer'})`).join(', ');
  return problem('metadata_not_found', `no metadata at ${places}`, {
    why: 'the issuer may lack a part of its path, as /realms/<realm> at Keycloak or /application/o/<slug>/ at authentik',
    fix,
  });
}

function mismatch({ issuer, place }: MetadataLookup, answer: RecordedRequest): Finding {
  const { issuer: stated } = jsonBodyOf(answer);
  const named = typeof stated === 'string' ? stated : '';
  return problem(
    'issuer_mismatch',
    `${answer.url} is of issuer "${printable(named)}", and the config says "${issuer}"`,
    {
      why: differInSlash(named, issuer)
        ? 'they differ in the slash at the end; RFC 8414 wants them identical'
        : 'the server is reached by another name than it calls itself, or this is another server',
      fix: `set ${place}.issuer to "${printable(named)}", or make the server call itself what the config says (Keycloak: its hostname setting)`,
    },
  );
}

/** Are two issuers one but for the slash at the end? */
export function differInSlash(one: string, other: string): boolean {
  return one.replace(/\/$/, '') === other.replace(/\/$/, '');
}

const INSECURE = {
  token_endpoint: {
    code: 'token_endpoint_insecure',
    what: 'the metadata names a token endpoint of plain http',
    why: 'client secret and tokens would cross the network in clear text',
  },
  jwks_uri: {
    code: 'jwks_uri_insecure',
    what: 'the metadata names keys at a URL of plain http',
    why: 'an attacker on the network could replace the keys',
  },
} as const;

const ON_LOOPBACK = {
  token_endpoint: { code: 'token_endpoint_loopback', what: 'the metadata names a token endpoint on loopback' },
  jwks_uri: { code: 'jwks_uri_loopback', what: 'the metadata names keys on loopback' },
} as const;

function unusableEndpoint(lookup: MetadataLookup, answer: RecordedRequest, verdict: string): Finding {
  const { endpoint: field, place, issuer, allowInsecure, allowInsecureHttp } = lookup;
  const endpoint = jsonBodyOf(answer)[field];
  const url = typeof endpoint === 'string' && URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  const named = printable(String(endpoint));
  switch (url && endpointProblem(url, issuer, allowInsecureHttp)) {
    case 'insecure': {
      const { code, what, why } = INSECURE[field];
      const trusted = issuer.startsWith('http:') ? `, or set ${allowInsecure} if that network is trusted` : '';
      return problem(code, `${what}: ${named}`, {
        why: `${why}; behind a TLS proxy a server often does not know its own scheme`,
        fix: `make the server publish its https address, or set ${place}.${field}${trusted}`,
      });
    }
    case 'loopback': {
      const { code, what } = ON_LOOPBACK[field];
      return problem(code, `${what}: ${named}`, {
        why: 'the issuer is on another host, so this address leads to another program beside cambist',
        fix: `make the server publish its own address, or set ${place}.${field}`,
      });
    }
    default:
      return problem('metadata_unusable', `the metadata at ${answer.url} is unusable: ${verdict}`, {
        fix: `set ${place}.${field}, which skips discovery`,
      });
  }
}

function isObject({ text }: RecordedRequest): boolean {
  return text.trimStart().startsWith('{');
}
