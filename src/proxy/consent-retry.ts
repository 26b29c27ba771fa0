import { CambistError } from '../errors.ts';
import type { Session } from '../tokens/session.ts';
import { editMembers, endOfString, jsonMembers, parseJsonObject, skipSpace } from '../tokens/token-text.ts';
import { type NestedState, openState, ownStateKeys } from './consent-state.ts';
import { CONSENT_INPUT, type ElicitationOptions } from './elicitation.ts';
import { type ResponseId, responseIdOf } from './mcp-error.ts';
import { type RequestBody, wholeBody } from './request-body.ts';
import type { Routed } from './steps.ts';

type Json = Readonly<Record<string, unknown>>;

/** No client escapes letters of the key or of the state. */
const STATE_MEMBER = /"requestState"[ \t\r\n]*:[ \t\r\n]*"(cambist-consent\.1\.[\w-]*)/y;

/**
 * Takes cambist's fields out of a retry after a consent, and gives the backend its own ones back. All other bytes stay.
 * @returns undefined if the body has no state of cambist
 * @throws {CambistError} ERR_REQUEST_STATE_INVALID, ERR_CONSENT_REQUIRED if the user declined
 */
export function withoutConsentState(
  { route }: Routed,
  { subject }: Session,
  body: RequestBody,
  { clock, stateKeys = ownStateKeys }: ElicitationOptions,
): RequestBody | undefined {
  const content = body.replay();
  if (!Buffer.isBuffer(content)) return undefined;
  const text = content.toString('utf8');
  const state = findState(text);
  if (state === undefined) return undefined;
  const invalid = (why: string, responseId?: ResponseId): CambistError =>
    new CambistError('ERR_REQUEST_STATE_INVALID', `route "${route.name}": the requestState of the request ${why}`, {
      ...(responseId && { responseId }),
    });
  const nested = subject && openState(state, { subject, route: route.name }, stateKeys, clock.wallMs());
  if (nested === undefined) throw invalid('is altered, too old, or of another caller or route');
  const message = parseJsonObject(text);
  const params = Object(message?.params) as Json;
  const { method } = message ?? {};
  const { requestState, inputResponses } = params;
  const at = message && onlyParams(text);
  if (at === undefined || typeof method !== 'string' || requestState !== state) {
    throw invalid('cannot be read', responseIdOf(content));
  }
  if (!nested.isFor({ method, params })) {
    throw invalid('is of another request, or the request nests too deeply', responseIdOf(content));
  }
  if (isDeclined(inputResponses)) {
    throw new CambistError('ERR_CONSENT_REQUIRED', `route "${route.name}": the user declined to open the URL`, {
      responseId: responseIdOf(content),
    });
  }
  const edited = editMembers(
    text,
    at,
    new Map([
      ['requestState', nested.requestState],
      ['inputResponses', nested.inputResponses],
    ]),
  );
  const restored = withMissing(edited, at, nested);
  return wholeBody(Buffer.from(restored, 'utf8'));
}

/** Finds a state of cambist in an object of the message, without parsing. Those of the arguments of a tool are deeper. */
function findState(text: string): string | undefined {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') depth -= 1;
    else if (character === '"') {
      STATE_MEMBER.lastIndex = at;
      const state = depth === 2 ? STATE_MEMBER.exec(text)?.[1] : undefined;
      if (state !== undefined) return state;
      at = endOfString(text, at) - 1;
    }
  }
  return undefined;
}

/** Offset of the only `params`. Undefined where it, or a field that is edited, occurs twice: servers may read either. */
function onlyParams(text: string): number | undefined {
  const [params, ...more] = jsonMembers(text, skipSpace(text, 0)).filter(({ key }) => key === 'params');
  if (params === undefined || more.length > 0) return undefined;
  const keys = jsonMembers(text, params.valueStart).map(({ key }) => key);
  const isUnique = ['requestState', 'inputResponses'].every((name) => keys.filter((key) => key === name).length <= 1);
  return isUnique ? params.valueStart : undefined;
}

/** A client need not send `inputResponses`, in whose place the backend's would go. */
function withMissing(text: string, at: number, { inputResponses }: NestedState): string {
  if (inputResponses === undefined || jsonMembers(text, at).some(({ key }) => key === 'inputResponses')) return text;
  const separator = jsonMembers(text, at).length === 0 ? '' : ',';
  return `${text.slice(0, at + 1)}"inputResponses":${inputResponses}${separator}${text.slice(at + 1)}`;
}

function isDeclined(inputResponses: unknown): boolean {
  const { action } = Object((Object(inputResponses) as Json)[CONSENT_INPUT]) as Json;
  return action === 'decline' || action === 'cancel';
}
