import { clientFinding, isClientRefused, isClientUnwanted, isSwitchedOff } from './client-auth.ts';
import {
  audienceForm,
  audienceNotOne,
  audienceUnknown,
  keycloakMapper,
  notPermitted,
  resourceRefused,
  target,
} from './exchange-errors-target.ts';
import {
  assertionRefused,
  subjectAudience,
  subjectIssuer,
  subjectLacksTarget,
  subjectOfOtherClient,
  subjectRefused,
} from './exchange-errors-token.ts';
import { type Finding, printable, problem } from './finding.ts';
import { place } from './metadata.ts';
import { type Cause, type FailedExchange, isEntra } from './oauth-error.ts';
import { actorToken, onBehalfOf } from './refused-actor.ts';
import { connectorId, requestedTokenType, subjectTokenType } from './refused-types.ts';

/** Why a server refused an exchange, and what to change. Pure: each odd answer of each server is a line in a table of tests. */
export function exchangeErrorFinding(refused: FailedExchange): Finding {
  for (const cause of CAUSES) {
    const finding = cause(refused);
    if (finding !== undefined) return finding;
  }
  return problem('request_refused', `the exchange was refused: ${refused.refusal.shown}`, {
    fix: "see the server's log of this moment: it often says more than its answer",
  });
}

const CAUSES: readonly Cause[] = [
  keycloakMapper,
  audienceUnknown,
  audienceForm,
  notPermitted,
  subjectLacksTarget,
  subjectAudience,
  subjectIssuer,
  onBehalfOf,
  scopeForm,
  resourceRefused,
  consent,
  connectorId,
  actorToken,
  requestedTokenType,
  subjectTokenType,
  ofClient,
  audienceNotOne,
  target,
  scope,
  interaction,
  assertionRefused,
  subjectOfOtherClient,
  withoutReason,
  subjectRefused,
  denied,
];

/** Entra names the backend by scope alone. */
function scopeForm(refused: FailedExchange): Finding | undefined {
  const { answer, refusal } = refused;
  const said = /AADSTS(70011|1002012|28003|500011|900144)\b/.test(refusal.description);
  if (!said && !(isEntra(refused) && refusal.error === 'invalid_scope')) return undefined;
  const sent = answer.form.get('scope');
  return problem(
    'scope_format',
    `the scope ${sent === null ? 'is missing' : `"${printable(sent)}" is refused`}: ${refusal.shown}`,
    {
      why: 'Entra names the backend by its scope alone: the application id URI, a slash, and .default or one scope',
      fix: "set the route's scope: api://<application id of the backend>/.default",
    },
  );
}

function consent({ server, refusal }: FailedExchange): Finding | undefined {
  if (refusal.error !== 'consent_required' && !/AADSTS65001|consent/i.test(refusal.description)) return undefined;
  return problem('consent_missing', `nobody has consented to this exchange: ${refusal.shown}`, {
    fix: `grant admin consent for client "${server.clientId}" on the backend's scope, or list it there as a known client (Auth0: let the API skip user consent)`,
  });
}

function ofClient({ server, answer, refusal }: FailedExchange): Finding | undefined {
  const isOurs = isClientUnwanted(refusal) || isClientRefused(refusal) || isSwitchedOff(refusal);
  return isOurs ? clientFinding(server, answer) : undefined;
}

function scope({ answer, refusal }: FailedExchange): Finding | undefined {
  const sent = answer.form.get('scope');
  if (sent === null) {
    if (refusal.error !== 'invalid_scope' && !/\bscopes?\b/i.test(refusal.description)) return undefined;
    return problem('scope_missing', `the server wants a scope, and none was sent: ${refusal.shown}`, {
      why: 'some servers (Okta, Google) issue no token without one',
      fix: "set the route's scope to one that the server has for this backend (Google: https://www.googleapis.com/auth/cloud-platform)",
    });
  }
  if (refusal.error !== 'invalid_scope') return undefined;
  return problem('scope_refused', `the scope "${printable(sent)}" is refused: ${refusal.shown}`, {
    fix: "allow this client these scopes at the server, or take from the route's scope what it does not know (Dex: list this client in trustedPeers of the backend's)",
  });
}

function interaction({ refusal }: FailedExchange): Finding | undefined {
  if (refusal.error !== 'interaction_required') return undefined;
  return problem('interaction_required', `the user has to act first: ${refusal.shown}`, {
    why: 'a policy of the server wants, say, a second factor; a caller is told so with 401 and the claims',
    fix: 'sign in anew with the claims of the challenge, and give the token of that sign-in',
  });
}

/** LemonLDAP::NG says no more than this, whatever it does not like. */
function withoutReason({ server, answer, refusal }: FailedExchange): Finding | undefined {
  if (refusal.error !== 'invalid_request' || refusal.description !== '') return undefined;
  const asked = answer.form.getAll('audience');
  return problem('refused_without_reason', `the server refused, and did not say why: ${refusal.shown}`, {
    why: 'LemonLDAP::NG does so of a backend that it does not know or that does not list this client, and of types other than access_token',
    fix: `list "${server.clientId}" among those that may exchange for the relying party whose client id is ${asked.map((name) => `"${printable(name)}"`).join(', ') || "the route's audience"}; name one audience; its log says which it was`,
  });
}

function denied({ server, refusal }: FailedExchange): Finding | undefined {
  if (refusal.error !== 'access_denied') return undefined;
  return problem('access_denied', `a policy of the server does not allow this exchange: ${refusal.shown}`, {
    why: 'the client may not act for this user, or not towards this backend',
    fix: `see the server's exchange policies or permissions for the client of ${place(server)}, the user and the backend`,
  });
}
