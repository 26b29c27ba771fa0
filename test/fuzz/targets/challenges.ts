import assert from 'node:assert/strict';
import { insufficientScope, parseChallenges, withResourceMetadata } from '../../../src/proxy/challenges.ts';

/** Longer values are not parsed. */
const MAX_LENGTH = 4096;

const OWN = 'http://127.0.0.1/.well-known/oauth-protected-resource';

/** Positions and values of parameters agree, and no foreign metadata gets through. Input: a `WWW-Authenticate` value. */
export function fuzz(data: Buffer): void {
  const text = data.toString('latin1');
  const challenges = parseChallenges(text);
  let last = 0;
  for (const { scheme, parameters } of challenges ?? []) {
    assert.match(scheme, /^[!#$%&'*+.^_`|~0-9a-z-]+$/);
    for (const { name, value, begin, start, end } of parameters) {
      assert.ok(last <= begin && begin < start && start <= end && end <= text.length);
      last = end;
      assert.equal(text.slice(begin, begin + name.length).toLowerCase(), name);
      const written = text.slice(start, end);
      assert.equal(written.startsWith('"') ? written.slice(1, -1).replace(/\\(.)/gs, '$1') : written, value);
    }
  }
  assert.ok((insufficientScope([text]) ?? []).every((scope) => scope !== '' && !scope.includes(' ')));
  for (const url of [OWN, undefined]) checkReplaced(text, url);
}

function checkReplaced(text: string, url: string | undefined): void {
  const changed = withResourceMetadata(text, url);
  if (changed === undefined || changed.length > MAX_LENGTH || !/resource_metadata/i.test(text)) return;
  const challenges = parseChallenges(changed);
  assert.ok(challenges !== undefined, 'the changed challenge is malformed');
  for (const { name, value } of challenges.flatMap(({ parameters }) => parameters)) {
    assert.ok(name !== 'resource_metadata' || value === url, 'foreign metadata is passed on');
  }
  assert.equal(challenges.length, parseChallenges(text)?.length);
}
