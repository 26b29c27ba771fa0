import { type Finding, type FindingCode, listed, problem } from './finding.ts';
import type { FailedExchange } from './oauth-error.ts';

/** Keycloak only picks among the audiences that mappers would add. */
export function keycloakMapper({ server, refusal, answer }: FailedExchange): Finding | undefined {
  if (!/requested audience not available/i.test(refusal.description)) return undefined;
  const asked = listed(answer.form.getAll('audience'));
  return problem(
    'audience_mapper_missing',
    `the audience is known, but not this client's to ask for: ${refusal.shown}`,
    {
      why: `Keycloak only picks from the audiences that the client's own mappers would add, and none adds ${asked}`,
      fix: `give client "${server.clientId}" an audience mapper (oidc-audience-mapper) for ${asked}, or a client scope that has one`,
    },
  );
}

/** How a make of server says something, and what is behind it there. */
interface Saying {
  /** Matches error and description, as `invalid_client: Audience not found`. */
  readonly says: RegExp;
  readonly why: string;
  /** @param asked the audiences that were asked for @param client as in `client "cambist"` */
  readonly fix: (asked: string, client: string) => string;
}

/** That no such backend is known, and how each names one. */
const UNKNOWN: readonly Saying[] = [
  {
    says: /^invalid_client: audience not found/i,
    why: 'at Keycloak "audience" is the client id of the backend',
    fix: (asked) => `register a client named ${asked}, or write the backend's client id as the route's audience`,
  },
  {
    says: /service not found/i,
    why: 'at Auth0 "audience" is the identifier of an API',
    fix: (asked) =>
      `create an API with the identifier ${asked}, or write the API's own, to the letter, as the route's audience`,
  },
  {
    says: /token exchange audience .* is invalid/i,
    why: 'at tokendings "audience" is <cluster>:<namespace>:<application>, of an application with tokenx enabled',
    fix: (asked) => `enable tokenx for the application ${asked}, or correct the route's audience`,
  },
  {
    says: /"audience" parameters? (is|are) invalid|pool or provider/i,
    why: 'Google knows no such workload identity pool and provider, or not under the id of a project in place of its number',
    fix: () =>
      'write the number of the project into the audience, and see that pool and provider exist and are enabled',
  },
];

/** That this client may have no token for a backend that is known, and where each is told otherwise. */
const NOT_PERMITTED: readonly Saying[] = [
  {
    says: /policy evaluation failed/i,
    why: 'no rule of an access policy of this Okta authorization server fits client, grant, user and scope together',
    fix: (_asked, client) =>
      `in the authorization server's access policies, assign ${client} and add a rule with the grant Token Exchange, the users and the scopes`,
  },
  {
    says: /not authorized to get token with aud/i,
    why: 'the access policy of the backend does not name this application',
    fix: (asked, client) => `add ${client} to spec.accessPolicy.inbound.rules of the application ${asked}`,
  },
  {
    says: /not authorized to access/i,
    why: 'the application has no grant for this API',
    fix: (asked, client) => `authorize ${client} for the API ${asked}, with the scopes that the route asks for`,
  },
  {
    says: /rejected by the attribute condition/i,
    why: "the attribute condition of the workload identity provider does not hold for the caller's token",
    fix: () => "compare the condition of the provider with the claims of the caller's token",
  },
];

export function audienceUnknown(refused: FailedExchange): Finding | undefined {
  return said(refused, UNKNOWN, 'audience_unknown', (asked) => `the server knows no ${asked}`);
}

export function notPermitted(refused: FailedExchange): Finding | undefined {
  return said(refused, NOT_PERMITTED, 'target_not_permitted', (asked) => `no token for ${asked} is allowed here`);
}

function said(
  { server, answer, refusal }: FailedExchange,
  sayings: readonly Saying[],
  code: FindingCode,
  what: (asked: string) => string,
): Finding | undefined {
  const saying = sayings.find(({ says }) => says.test(`${refusal.error}: ${refusal.description}`));
  if (saying === undefined) return undefined;
  const asked = listed(answer.form.getAll('audience'));
  const { why, fix } = saying;
  return problem(code, `${what(asked)}: ${refusal.shown}`, { why, fix: fix(asked, `client "${server.clientId}"`) });
}

/** Google names the provider, and not a backend. */
export function audienceForm({ refusal, answer }: FailedExchange): Finding | undefined {
  if (!/invalid value for "?audience/i.test(refusal.description)) return undefined;
  const asked = listed(answer.form.getAll('audience'));
  return problem('audience_format', `the audience ${asked} has not the form that the server wants: ${refusal.shown}`, {
    why: 'Google wants the full resource name of the provider in the workload identity pool',
    fix: "set the route's audience: //iam.googleapis.com/projects/<number>/locations/global/workloadIdentityPools/<pool>/providers/<provider>",
  });
}

export function resourceRefused({ answer, refusal }: FailedExchange): Finding | undefined {
  const sent = answer.form.getAll('resource');
  if (sent.length === 0) return undefined;
  const named =
    /\bresource\b/i.test(refusal.description) && /invalid_request|invalid_target|INVALID_ARGUMENT/.test(refusal.error);
  if (refusal.error !== 'invalid_target' && !named && !/AADSTS901002/.test(refusal.description)) return undefined;
  return problem('resource_refused', `the resource ${listed(sent)} is refused: ${refusal.shown}`, {
    why: 'the server does not know this resource; some (ZITADEL, authentik, Entra, Google) refuse whatever resource is sent',
    fix: "name the backend by the route's audience or scope and set resource: [], or register the resource at the server (PingFederate: among the resource URIs of its access token manager)",
  });
}

const COUNTED =
  /audience\b.*\b(missing|required|repeated|multiple|single|one)\b|\b(missing|required|repeated|multiple|single|one)\b.*audience/i;

export function audienceNotOne({ answer, refusal }: FailedExchange): Finding | undefined {
  const asked = answer.form.getAll('audience');
  if (asked.length === 1 || !COUNTED.test(refusal.description)) return undefined;
  return problem(
    'audience_count',
    `the server wants one audience, and was sent ${asked.length === 0 ? 'none' : listed(asked)}: ${refusal.shown}`,
    {
      why: 'Okta, tokendings and LemonLDAP::NG take exactly one',
      fix: "set the route's audience to one name, and make a route of its own for each backend",
    },
  );
}

export function target({ answer, refusal }: FailedExchange): Finding | undefined {
  if (refusal.error !== 'invalid_target') return undefined;
  const asked = answer.form.getAll('audience');
  return problem('target_refused', `the audience ${listed(asked)} is refused: ${refusal.shown}`, {
    why:
      asked.length > 1
        ? 'many servers take one audience at a time'
        : 'the server does not know it, or not for this client',
    fix: "write the route's audience as the server knows the backend (Okta: the audience of the authorization server; authentik: the client id of its provider), and let this client ask for it there",
  });
}
