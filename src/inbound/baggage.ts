import { containsToken } from '../proxy/caller-tokens.ts';
import { percentDecoded } from '../secrets/like-a-token.ts';
import { handlesIn } from './handle-text.ts';

/** Name of the header, and of the member that carries a handle in it. */
export const BAGGAGE = 'baggage';
const MEMBER = 'cambist';

/** SDKs of OpenTelemetry drop a header that exceeds these, and with it the handle (W3C Baggage section 3.3.2). */
const MAX_LENGTH = 8192;
const MAX_MEMBERS = 64;
const MAX_MEMBER_LENGTH = 4096;

const KEY = "[!#$%&'*+.^_`|~\\w-]+[ \\t]*";
const PAIR = `${KEY}=[ \\t]*(?:[!#-+\\--:<-[\\]-~]+[ \\t]*)?`;
const WELL_FORMED = new RegExp(`^${PAIR}(?:;[ \\t]*(?:${PAIR}|${KEY}))*$`);

/** The caller's baggage with the handle as its first member. @param tokens of the caller, which no member may repeat */
export function withHandle(values: readonly string[], handle: string, tokens: readonly string[]): string {
  const own = `${MEMBER}=${handle}`;
  const kept = [own];
  let length = own.length;
  for (const member of membersOf(values)) {
    if (isOwn(member) || !isAccepted(member) || repeatsSecret(member, tokens)) continue;
    length += 1 + member.length;
    if (length > MAX_LENGTH || kept.length === MAX_MEMBERS) break;
    kept.push(member);
  }
  return kept.join(',');
}

/** The baggage without members that carry or repeat a handle or a token. Unchanged if it has none, and empty if it has no other. */
export function withoutSecrets(value: string, tokens: readonly string[]): string {
  const members = membersOf([value]);
  const kept = members.filter((member) => !isOwn(member) && !repeatsSecret(member, tokens));
  return kept.length === members.length ? value : kept.join(',');
}

export function handleMembers(value: string): readonly string[] {
  return membersOf([value])
    .filter(isOwn)
    .map((member) => percentDecoded(member.slice(member.indexOf('=') + 1).split(';', 1)[0] ?? '').trim());
}

function membersOf(values: readonly string[]): string[] {
  return values
    .join(',')
    .split(',')
    .map((member) => member.trim())
    .filter((member) => member !== '');
}

/**
 * Does every SDK accept the member? Some drop the whole header for one that they refuse, or throw: Go for a malformed pair or property,
 * Java and JavaScript for an invalid escape or UTF-8. `test/external/inbound/baggage.test.ts` compares with them.
 */
function isAccepted(member: string): boolean {
  return member.length <= MAX_MEMBER_LENGTH && WELL_FORMED.test(member) && isDecodable(member);
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/** Does a text contain a handle, or one of the tokens? */
export function repeatsSecret(text: string, tokens: readonly string[]): boolean {
  return containsToken(text, tokens) || handlesIn(text).length > 0;
}

/** Everything but letters counts for nothing, because SDKs decode names, and trim more than spaces. */
function isOwn(member: string): boolean {
  const [name = ''] = member.split(/[=;]/, 1);
  return (
    percentDecoded(name)
      .replace(/[^a-z]/gi, '')
      .toLowerCase() === MEMBER
  );
}
