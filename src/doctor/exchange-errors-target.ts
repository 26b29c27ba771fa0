import { type Finding, type FindingCode, listed, problem, shortAscii } from './finding.ts';
import { type FailedExchange, inOrder, isEntra } from './oauth-error.ts';

/** Keycloak only filters the audiences that mappers would add. */
export function keycloakMapper({ server, refusal, request }: FailedExchange): Finding | undefined {
  if (!/requested audience not available/i.test(refusal.description)) return undefined;
  const asked = listed(request.form.getAll('audience'));
  return problem('audience_mapper_missing', 'this client may not request the audience', {
    why: `Keycloak only selects from the audiences that the client's own mappers would add, and no mapper adds ${asked}`,
    fix: `give client "${server.clientId}" an audience mapper (oidc-audience-mapper) for ${asked}, or a client scope that has one`,
  });
}

/** The error message of one make of server, and its cause there. */
interface KnownError {
  /** Matches error and description, as in `invalid_client: Audience not found`. */
  readonly pattern: RegExp;
  readonly why: string;
  /** @param asked the requested audiences @param client as in `client "cambist"` */
  readonly fix: (asked: string, client: string) => string;
}

/** The backend is unknown to the server. */
const UNKNOWN: readonly KnownError[] = [
  {
    pattern: /^invalid_client: audience not found/i,
    why: 'at Keycloak "audience" is the client id of the backend',
    fix: (asked) => `register a client named ${asked}, or set the route's audience to the backend's client id`,
  },
  {
    pattern: /service not found/i,
    why: 'at Auth0 "audience" is the identifier of an API',
    fix: (asked) =>
      `create an API with the identifier ${asked}, or set the route's audience to the exact identifier of the API`,
  },
  {
    pattern: /token exchange audience \S+ is invalid/i,
    why: 'at tokendings "audience" is <cluster>:<namespace>:<application>, of an application with tokenx enabled',
    fix: (asked) => `enable tokenx for the application ${asked}, or correct the route's audience`,
  },
  {
    pattern: /"audience" parameters? (is|are) invalid|pool or provider/i,
    why: 'Google knows no such workload identity pool and provider, or the audience has the id of the project, not its number',
    fix: () =>
      'write the number of the project into the audience, and check that the pool and provider exist and are enabled',
  },
];

/** The backend is known, but not allowed for this client. */
const NOT_PERMITTED: readonly KnownError[] = [
  {
    pattern: /policy evaluation failed/i,
    why: 'no access policy rule of this Okta authorization server matches client, grant, user and scope together',
    fix: (_asked, client) =>
      `in the authorization server's access policies, assign ${client} and add a rule with the grant Token Exchange, the users and the scopes`,
  },
  {
    pattern: /not authorized to get token with aud/i,
    why: 'the access policy of the backend does not name this application',
    fix: (asked, client) => `add ${client} to spec.accessPolicy.inbound.rules of the application ${asked}`,
  },
  {
    pattern: /not authorized to access/i,
    why: 'the application has no grant for this API',
    fix: (asked, client) => `authorize ${client} for the API ${asked}, with the scopes that the route requests`,
  },
  {
    pattern: /rejected by the attribute condition/i,
    why: "the caller's token does not meet the attribute condition of the workload identity provider",
    fix: () => "compare the condition of the provider with the claims of the caller's token",
  },
];

export function audienceUnknown(failed: FailedExchange): Finding | undefined {
  return knownError(failed, UNKNOWN, 'audience_unknown', (asked) => `the server does not know ${asked}`);
}

export function notPermitted(failed: FailedExchange): Finding | undefined {
  return knownError(failed, NOT_PERMITTED, 'target_not_permitted', (asked) => `no token for ${asked} is allowed here`);
}

function knownError(
  { server, request, refusal }: FailedExchange,
  known: readonly KnownError[],
  code: FindingCode,
  what: (asked: string) => string,
): Finding | undefined {
  const match = known.find(({ pattern }) => pattern.test(`${refusal.error}: ${refusal.description}`));
  if (match === undefined) return undefined;
  const asked = listed(request.form.getAll('audience'));
  const { why, fix } = match;
  return problem(code, what(asked), { why, fix: fix(asked, `client "${server.clientId}"`) });
}

/** At Google the audience names the identity provider, not a backend. */
export function audienceFormat({ refusal, request }: FailedExchange): Finding | undefined {
  if (!/invalid value for "?audience/i.test(refusal.description)) return undefined;
  const asked = listed(request.form.getAll('audience'));
  return problem('audience_format', `the audience ${asked} has an invalid format`, {
    why: 'Google requires the full resource name of the provider in the workload identity pool',
    fix: "set the route's audience: //iam.googleapis.com/projects/<number>/locations/global/workloadIdentityPools/<pool>/providers/<provider>",
  });
}

export function resourceRefused({ request, refusal }: FailedExchange): Finding | undefined {
  const sent = request.form.getAll('resource');
  if (sent.length === 0) return undefined;
  const named =
    /\bresource\b/i.test(refusal.description) && /invalid_request|invalid_target|INVALID_ARGUMENT/.test(refusal.error);
  if (refusal.error !== 'invalid_target' && !named && !/AADSTS901002/.test(refusal.description)) return undefined;
  return problem('resource_refused', `the resource ${listed(sent)} is refused`, {
    why: 'probably the server does not know this resource, or does not allow it for this user; some servers (ZITADEL, authentik, Entra, Google) refuse any resource',
    fix: "name the backend by the route's audience or scope and set resource: [], or register the resource at the server (PingFederate: among the resource URIs of its access token manager)",
  });
}

const COUNTED = /\b(?:missing|required|repeated|multiple|single|one)\b/i;

export function audienceCount({ request, refusal }: FailedExchange): Finding | undefined {
  const asked = request.form.getAll('audience');
  if (asked.length === 1) return undefined;
  if (!inOrder(refusal, /audience\b/i, COUNTED) && !inOrder(refusal, COUNTED, /audience/i)) return undefined;
  const sent = asked.length === 0 ? 'none was sent' : `${listed(asked)} were sent`;
  return problem('audience_count', `the server requires one audience, but ${sent}`, {
    why: 'Okta, tokendings and LemonLDAP::NG accept exactly one',
    fix: "set the route's audience to one name, and use a separate route for each backend",
  });
}

export function target({ request, refusal }: FailedExchange): Finding | undefined {
  if (refusal.error !== 'invalid_target') return undefined;
  const asked = request.form.getAll('audience');
  return problem('target_refused', `the audience ${listed(asked)} is refused`, {
    why:
      asked.length > 1
        ? 'many servers accept one audience at a time'
        : 'probably the server does not know it, or does not allow it for this client or this user',
    fix: "set the route's audience to the server's name of the backend (Okta: the audience of the authorization server; authentik: the client id of its provider), and allow this client to request it",
  });
}

/** Entra names the backend by its scope only. */
export function scopeFormat(failed: FailedExchange): Finding | undefined {
  const { request, refusal } = failed;
  const stated = /AADSTS(70011|1002012|28003|500011|900144)\b/.test(refusal.description);
  if (!stated && !(isEntra(failed) && refusal.error === 'invalid_scope')) return undefined;
  const sent = request.form.get('scope');
  return problem('scope_format', `the scope ${sent === null ? 'is missing' : `"${shortAscii(sent)}" is refused`}`, {
    why: 'Entra names the backend by its scope only: the application id URI, a slash, and .default or one scope',
    fix: "set the route's scope: api://<application id of the backend>/.default",
  });
}

export function scope({ request, refusal }: FailedExchange): Finding | undefined {
  const sent = request.form.get('scope');
  if (sent === null) {
    if (refusal.error !== 'invalid_scope' && !/\bscopes?\b/i.test(refusal.description)) return undefined;
    return problem('scope_missing', 'the server requires a scope, but none was sent', {
      why: 'some servers (Okta, Google) issue no token without one',
      fix: "set the route's scope to one that the server has for this backend (Google: https://www.googleapis.com/auth/cloud-platform)",
    });
  }
  if (refusal.error !== 'invalid_scope') return undefined;
  return problem('scope_refused', `the scope "${shortAscii(sent)}" is refused`, {
    fix: "allow this client these scopes at the server, or remove unknown scopes from the route's scope (Dex: list this client in trustedPeers of the backend's client)",
  });
}
