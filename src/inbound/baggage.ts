import { containsToken, percentDecoded } from '../proxy/caller-tokens.ts';

/** Name of the header, and of the member that carries a handle in it. */
export const BAGGAGE = 'baggage';
const MEMBER = 'cambist';

/** SDKs of OpenTelemetry drop a header that exceeds these, and with it the handle (W3C Baggage section 3.3.2). */
const MAX_LENGTH = 8192;
const MAX_MEMBERS = 64;

/** `key=value;properties`. Some SDKs drop the whole header for one malformed member. */
const WELL_FORMED = /^[!#$%&'*+.^_`|~\w-]+[ \t]*=[ \t]*(?:[!#-+\--:<-[\]-~]+[ \t]*)?(?:;[!-+\--~ \t]*)?$/;

/** The caller's baggage with the handle as its first member. @param tokens of the caller, which no member may repeat */
export function withHandle(values: readonly string[], handle: string, tokens: readonly string[]): string {
  const own = `${MEMBER}=${handle}`;
  if (values.length === 0) return own;
  const kept = [own];
  let length = own.length;
  for (const member of membersOf(values)) {
    if (isOwn(member) || !WELL_FORMED.test(member) || containsToken(member, tokens)) continue;
    length += 1 + member.length;
    if (length > MAX_LENGTH || kept.length === MAX_MEMBERS) break;
    kept.push(member);
  }
  return kept.join(',');
}

/** The baggage without the member that carries a handle. Unchanged if it has none, and empty if it has no other. */
export function withoutHandle(value: string): string {
  const members = membersOf([value]);
  return members.some(isOwn) ? members.filter((member) => !isOwn(member)).join(',') : value;
}

/** The values of the members that carry a handle, decoded. */
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

/** Everything but letters counts for nothing, because SDKs decode names, and trim more than spaces. */
function isOwn(member: string): boolean {
  const [name = ''] = member.split(/[=;]/, 1);
  return (
    percentDecoded(name)
      .replace(/[^a-z]/gi, '')
      .toLowerCase() === MEMBER
  );
}
